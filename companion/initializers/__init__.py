"""Initial values of weights.

An initializer takes ``(shape, *, rng, ...)`` and returns float64 NumPy values, whatever the
backend: the network casts and moves the whole vector at once, so each backend starts from the same
numbers. A weight has shape ``(n_in, n_out)``, with any kernel axes before these two.
"""

from companion.initializers.independent import (
    calculate_gain,
    constant,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    normal,
    uniform,
    xavier_normal,
    xavier_uniform,
)

__all__ = [
    "calculate_gain",
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
]
