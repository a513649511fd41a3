"""Initial values of weights.

An initializer takes ``(shape, *, rng, ...)`` and returns float64 NumPy values, whatever the
backend: the network casts and moves the whole vector at once, so each backend starts from the same
numbers. The shape is ``(n_in, n_out)``, with any kernel axes before these two; torch keeps the
transposes, ``(n_out, n_in, ...)``. :class:`~companion.layers.Conv2d` has torch's layout as well,
and transposes what it has drawn.

Where torch has an initializer, its name is torch's, less the underscore, and so are most defaults;
but there is `gain` in place of `a` and `nonlinearity`, `constant` has a default, and `dirac` has no
groups. ``lecun_*``, :func:`variance_scaling` and the names after Glorot and He are those of Keras,
and :func:`lsuv` and :func:`fixup` are in neither.

A layer takes an initializer for its weight and one for its bias,
``Linear(64, 32, init=xavier_uniform, gain=5 / 3, bias_init=zeros)``. A whole network is drawn by
another rule with ``net.init(rng, draw=pytorch)``, a function ``(layer, rng) -> arrays``.
"""

from companion.initializers.frameworks import keras, pytorch
from companion.initializers.independent import (
    calculate_gain,
    constant,
    fans,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    trunc_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from companion.initializers.mean_field import correlation_map, susceptibility, variance_map
from companion.initializers.networks import fixup, lsuv
from companion.initializers.structured import dirac, eye, orthogonal, sparse, stacked

__all__ = [
    "calculate_gain",
    "constant",
    "correlation_map",
    "dirac",
    "eye",
    "fans",
    "fixup",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "keras",
    "lecun_normal",
    "lecun_uniform",
    "lsuv",
    "normal",
    "ones",
    "orthogonal",
    "pytorch",
    "sparse",
    "stacked",
    "susceptibility",
    "trunc_normal",
    "uniform",
    "variance_map",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
