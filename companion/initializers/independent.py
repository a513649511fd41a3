r"""Values drawn independently of each other: only their distribution matters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    r"""Return the factor on a weight's scale that suits the activation after it, as torch does.

    Parameters
    ----------
    nonlinearity : {"linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"}
    param : float, optional
        The negative slope :math:`a` of ``"leaky_relu"``, default 0.01: gain
        :math:`\sqrt{2/(1+a^2)}`.

    References
    ----------
    The rectifiers' gains keep :math:`E[a^2]` from layer to layer (He, Zhang, Ren and Sun 2015);
    5/3 for tanh is torch's choice.

    Examples
    --------
    >>> calculate_gain("tanh"), round(calculate_gain("leaky_relu", 0.2), 4)
    (1.6666666666666667, 1.3868)
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        names = ", ".join([*_GAINS, "leaky_relu"])
        raise ValueError(f"nonlinearity must be one of {names}; got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def constant(shape: Any, *, rng: Any = None, value: float = 0.0) -> Any:
    """Fill with one value; `rng` is not used.

    Examples
    --------
    >>> constant((2,), value=0.25)
    array([0.25, 0.25])
    """
    return np.full(shape, float(value))


def normal(shape: Any, *, rng: Any, mean: float = 0.0, std: float = 1.0) -> Any:
    r"""Draw from :math:`N(\mu,\sigma^2)`.

    Examples
    --------
    >>> normal((2, 3), rng=np.random.default_rng(0), std=0.01).shape
    (2, 3)
    """
    return mean + std * rng.standard_normal(shape)


def uniform(shape: Any, *, rng: Any, low: float = 0.0, high: float = 1.0) -> Any:
    r"""Draw from :math:`U(l,h)`.

    Examples
    --------
    >>> uniform((2, 3), rng=np.random.default_rng(0), low=-1).shape
    (2, 3)
    """
    return rng.uniform(low, high, shape)


def kaiming_normal(
    shape: Any, *, rng: Any, gain: float = math.sqrt(2), mode: str = "fan_in"
) -> Any:
    r"""Draw from :math:`N(0, g^2/n)` with the fan :math:`n`; for ReLU, :math:`N(0,2/n_{in})`.

    Parameters
    ----------
    shape : tuple ``(..., n_in, n_out)``
    rng : numpy.random.Generator
    gain : float, default √2
        That of ReLU; for others see :func:`calculate_gain`.
    mode : {"fan_in", "fan_out"}, default "fan_in"
        ``"fan_in"`` keeps the scale of what goes forward, ``"fan_out"`` of what comes back.

    References
    ----------
    He, Zhang, Ren and Sun (2015), "Delving deep into rectifiers".

    Examples
    --------
    >>> w = kaiming_normal((200, 500), rng=np.random.default_rng(0))
    >>> round(float(w.std()), 2)
    0.1
    """
    return normal(shape, rng=rng, std=gain / math.sqrt(_fan(shape, mode)))


def kaiming_uniform(
    shape: Any, *, rng: Any, gain: float = math.sqrt(2), mode: str = "fan_in"
) -> Any:
    r"""Draw from :math:`U(-b,b)`, :math:`b=g\sqrt{3/n}`: the variance of :func:`kaiming_normal`.

    Examples
    --------
    >>> w = kaiming_uniform((6, 500), rng=np.random.default_rng(0))
    >>> bool(abs(w).max() <= 1)
    True
    """
    bound = gain * math.sqrt(3 / _fan(shape, mode))
    return uniform(shape, rng=rng, low=-bound, high=bound)


def xavier_normal(shape: Any, *, rng: Any, gain: float = 1.0) -> Any:
    r"""Draw from :math:`N\bigl(0, 2g^2/(n_{in}+n_{out})\bigr)`.

    References
    ----------
    Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural
    networks".

    Examples
    --------
    >>> w = xavier_normal((300, 500), rng=np.random.default_rng(0))
    >>> round(float(w.std()), 2)
    0.05
    """
    return normal(shape, rng=rng, std=gain / math.sqrt(_fan(shape, "average")))


def xavier_uniform(shape: Any, *, rng: Any, gain: float = 1.0) -> Any:
    r"""Draw from :math:`U(-b,b)`, :math:`b=g\sqrt{6/(n_{in}+n_{out})}`.

    Examples
    --------
    >>> w = xavier_uniform((2, 4), rng=np.random.default_rng(0))
    >>> bool(abs(w).max() <= 1)
    True
    """
    bound = gain * math.sqrt(3 / _fan(shape, "average"))
    return uniform(shape, rng=rng, low=-bound, high=bound)


def lecun_normal(shape: Any, *, rng: Any) -> Any:
    r"""Draw from :math:`N(0,1/n_{in})`, which SELU asks for.

    References
    ----------
    LeCun, Bottou, Orr and Müller (1998), "Efficient backprop".

    Examples
    --------
    >>> w = lecun_normal((400, 500), rng=np.random.default_rng(0))
    >>> round(float(w.std()), 2)
    0.05
    """
    return kaiming_normal(shape, rng=rng, gain=1.0)


def _fan(shape: Any, mode: str) -> float:
    if len(shape) < 2:
        raise ValueError(f"shape must be (..., n_in, n_out) to have fans; got {tuple(shape)}")
    *kernel, n_in, n_out = shape
    fans = {"fan_in": n_in, "fan_out": n_out, "average": (n_in + n_out) / 2}
    if mode not in fans:
        raise ValueError(f"mode must be 'fan_in' or 'fan_out'; got {mode!r}")
    return math.prod(kernel) * fans[mode]


he_normal = kaiming_normal
he_uniform = kaiming_uniform
glorot_normal = xavier_normal
glorot_uniform = xavier_uniform
