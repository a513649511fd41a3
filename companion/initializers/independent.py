r"""Values drawn independently of each other: only their distribution matters."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import generator

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
#: of a standard normal variable between -2 and 2: sqrt(1 - 4 φ(2) / (2 Φ(2) - 1))
_STD_OF_CUT = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


def check_real(value: Any, name: str) -> None:
    """Say so if a value is no number."""
    if np.ndim(value) or np.asarray(value).dtype.kind not in "fiu":
        raise TypeError(f"{name} must be a number; got {value!r}")


def _check_number(value: Any, name: str, *, positive: bool = False) -> None:
    check_real(value, name)
    if not (value > 0 if positive else value >= 0):
        least = "positive" if positive else "0 or more"
        raise ValueError(f"{name} must be {least}; got {value}")


def sides(shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple, or say that it is none."""
    try:
        return tuple(map(operator.index, shape))
    except TypeError:
        raise TypeError(f"shape must be a tuple of whole numbers; got {shape!r}") from None


def checked(init: Callable[..., Any]) -> Callable[..., Any]:
    """Have an initializer say so if its shape, generator or gain is none, or the gain negative."""

    @functools.wraps(init)
    def checking(shape: Any, *, rng: Any = None, **options: Any) -> Any:
        _check_number(options.get("gain", 1.0), "gain")
        return init(sides(shape), rng=generator(rng), **options)

    return checking


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    r"""Return the factor on a weight's scale that suits the activation after it, as torch does.

    Parameters
    ----------
    nonlinearity : {"linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"}
    param : float, optional
        The negative slope :math:`a` of ``"leaky_relu"``, default 0.01: gain
        :math:`\sqrt{2/(1+a^2)}`.

    Notes
    -----
    ================  ==========================
    linear, sigmoid   1
    tanh              5/3
    relu              :math:`\sqrt2`
    leaky_relu        :math:`\sqrt{2/(1+a^2)}`
    selu              3/4
    ================  ==========================

    The rectifiers' gains keep :math:`E[a^2]` from layer to layer; 5/3 for tanh and 3/4 for SELU are
    torch's choices. SELU's own fixed point, mean 0 and variance 1, asks for the gain 1, which is
    :func:`lecun_normal`: with it the size stays at 1, with 3/4 it falls to about 0.2 in thirty
    layers.

    References
    ----------
    He, Zhang, Ren and Sun (2015), "Delving deep into rectifiers". Klambauer, Unterthiner, Mayr and
    Hochreiter (2017), "Self-normalizing neural networks".

    Examples
    --------
    >>> calculate_gain("tanh"), round(calculate_gain("leaky_relu", 0.2), 4)
    (1.6666666666666667, 1.3868)

    Thirty SELU layers with two gains:

    >>> from companion.activations import selu
    >>> for gain in (calculate_gain("selu"), 1.0):
    ...     rng = np.random.default_rng(0)
    ...     a = rng.standard_normal((20, 300))
    ...     for _ in range(30):
    ...         a = selu(a @ kaiming_normal((300, 300), rng=rng, gain=gain))
    ...     print(f"{(a**2).mean() ** 0.5:.1f}")
    0.2
    1.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        check_real(slope, "param")
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        names = ", ".join([*_GAINS, "leaky_relu"])
        raise ValueError(f"nonlinearity must be one of {names}; got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def fans(shape: Any) -> tuple[int, int]:
    r"""Return ``(fan_in, fan_out)``: how many products a sum goes over, forward and backward.

    Parameters
    ----------
    shape : tuple ``(..., n_in, n_out)``
        Kernel axes come first; they count in both fans, since a window of k entries and c
        channels makes a sum of k c products.

    Raises
    ------
    ValueError
        If the shape has fewer than two axes.

    Notes
    -----
    The layout is Keras'. torch keeps ``(n_out, n_in, ...)``: of a weight's transpose it finds the
    same fans. Recurrent weights that hold the gates side by side, ``(h, 4h)``, have the fan-in of
    each gate but four times its fan-out; :func:`stacked` draws gate by gate.

    With a stride s the sums backward have :math:`1/s^2` of the products that the fan-out counts,
    and at the border of an image there are fewer; neither is in the fans, here or elsewhere.

    Examples
    --------
    >>> fans((64, 10)), fans((3, 3, 16, 32))
    ((64, 10), (144, 288))
    """
    shape = sides(shape)
    if len(shape) < 2:
        raise ValueError(f"shape must be (..., n_in, n_out) to have fans; got {shape}")
    *kernel, n_in, n_out = shape
    area = math.prod(kernel)
    return area * n_in, area * n_out


def zeros(shape: Any, *, rng: Any = None) -> Any:
    """Fill with 0; `rng` is not used.

    Examples
    --------
    >>> zeros((2,))
    array([0., 0.])
    """
    return np.zeros(shape)


def ones(shape: Any, *, rng: Any = None) -> Any:
    """Fill with 1; `rng` is not used.

    Examples
    --------
    >>> ones((2,))
    array([1., 1.])
    """
    return np.ones(shape)


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
    check_real(mean, "mean")
    _check_number(std, "std")
    return mean + std * generator(rng).standard_normal(shape)


def uniform(shape: Any, *, rng: Any, low: float = 0.0, high: float = 1.0) -> Any:
    r"""Draw from :math:`U(l,h)`.

    Examples
    --------
    >>> uniform((2, 3), rng=np.random.default_rng(0), low=-1).shape
    (2, 3)
    """
    check_real(low, "low")
    check_real(high, "high")
    return generator(rng).uniform(low, high, shape)


def trunc_normal(
    shape: Any, *, rng: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Any:
    r"""Draw from :math:`N(\mu,\sigma^2)` under the condition that the value lies in [a, b].

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator
    mean, std : float
        Of the normal distribution before it is cut.
    a, b : float, default -2 and 2
        The bounds themselves, as in torch, not multiples of `std`: with ``std=0.02`` the default
        cuts at a hundred standard deviations, which cuts nothing.

    Raises
    ------
    ValueError
        If a is not below b, or std not positive.

    Notes
    -----
    Cut at two standard deviations, what is left has a standard deviation of 0.8796 σ.
    :func:`variance_scaling` makes up for that, as Keras does; neither torch nor this function does.
    Keras' ``TruncatedNormal`` cuts at :math:`\mu\pm2\sigma`.

    Each value is the inverse distribution function of a uniform number, on the side of the mean
    where that function has all its digits, so one draw of the generator gives one value.

    Examples
    --------
    >>> w = trunc_normal((200, 500), rng=np.random.default_rng(0))
    >>> bool(abs(w).max() <= 2), round(float(w.std()), 2)
    (True, 0.88)
    """
    from scipy.special import ndtr, ndtri

    _check_number(std, "std", positive=True)
    for name, value in (("mean", mean), ("a", a), ("b", b)):
        check_real(value, name)
    if not a < b:
        raise ValueError(f"a must be less than b; got a={a}, b={b}")
    low, high = (a - mean) / std, (b - mean) / std
    sign = -1.0 if low + high > 0 else 1.0
    if sign < 0:
        low, high = -high, -low
    start, end = ndtr(low), ndtr(high)
    if not start < end:
        raise ValueError(f"a and b must leave something of the distribution; got a={a}, b={b}")
    drawn = ndtri(start + (end - start) * generator(rng).random(shape))
    # the two functions are inverses but for rounding, which can lead out of narrow bounds
    return np.clip(mean + std * sign * drawn, a, b)


def variance_scaling(
    shape: Any,
    *,
    rng: Any,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
) -> Any:
    r"""Draw with mean 0 and variance ``scale`` / n, n being a fan: what most initializers are.

    Parameters
    ----------
    shape : tuple ``(..., n_in, n_out)``
    rng : numpy.random.Generator
    scale : float, default 1.0
        The square of what others call the gain.
    mode : {"fan_in", "fan_out", "fan_avg"}, default "fan_in"
        ``"fan_avg"`` is the mean of both.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        The first is cut at two standard deviations, and made wider beforehand by 1/0.8796, so that
        what is left has the variance asked for.

    Raises
    ------
    ValueError
        If the scale is not positive, or a name is not one of these.

    Notes
    -----
    Names and defaults are those of Keras. ``jax.nn.initializers`` has no defaults, calls the second
    distribution ``"normal"``, and has a fourth mode, ``"fan_geo_avg"``. In both ``lecun_normal``,
    ``he_normal`` and ``glorot_normal`` are truncated; here, as in torch, they are not.

    Examples
    --------
    >>> w = variance_scaling((50, 2000), rng=np.random.default_rng(0), scale=2.0)
    >>> round(float(w.std()), 2)
    0.2
    """
    _check_number(scale, "scale", positive=True)
    std = math.sqrt(scale / _fan(shape, mode))
    if distribution == "truncated_normal":
        return std / _STD_OF_CUT * trunc_normal(shape, rng=rng)
    if distribution == "untruncated_normal":
        return normal(shape, rng=rng, std=std)
    if distribution == "uniform":
        return uniform(shape, rng=rng, low=-math.sqrt(3) * std, high=math.sqrt(3) * std)
    raise ValueError(
        "distribution must be 'truncated_normal', 'untruncated_normal' or 'uniform'; "
        f"got {distribution!r}"
    )


@checked
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
    mode : {"fan_in", "fan_out", "fan_avg"}, default "fan_in"
        ``"fan_in"`` keeps the scale of what goes forward, ``"fan_out"`` of what comes back.

    Notes
    -----
    torch has `a` and `nonlinearity` in place of `gain`: its ``a=0.2`` is
    ``gain=calculate_gain("leaky_relu", 0.2)`` here. torch's weights are the transposes of ours;
    each library counts the fan-in along its own input axis. Keras' ``he_normal`` is truncated, see
    :func:`variance_scaling`.

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


@checked
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


@checked
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
    return normal(shape, rng=rng, std=gain / math.sqrt(_fan(shape, "fan_avg")))


@checked
def xavier_uniform(shape: Any, *, rng: Any, gain: float = 1.0) -> Any:
    r"""Draw from :math:`U(-b,b)`, :math:`b=g\sqrt{6/(n_{in}+n_{out})}`.

    Examples
    --------
    >>> w = xavier_uniform((2, 4), rng=np.random.default_rng(0))
    >>> bool(abs(w).max() <= 1)
    True
    """
    bound = gain * math.sqrt(3 / _fan(shape, "fan_avg"))
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


def lecun_uniform(shape: Any, *, rng: Any) -> Any:
    r"""Draw from :math:`U(-b,b)`, :math:`b=\sqrt{3/n_{in}}`: the variance of :func:`lecun_normal`.

    Not to be taken for what torch's layers do by default, :math:`b=\sqrt{1/n_{in}}`: that is a
    third of this variance, see :func:`pytorch`.

    Examples
    --------
    >>> w = lecun_uniform((3, 500), rng=np.random.default_rng(0))
    >>> bool(abs(w).max() <= 1)
    True
    """
    return kaiming_uniform(shape, rng=rng, gain=1.0)


def _fan(shape: Any, mode: str) -> float:
    fan_in, fan_out = fans(shape)
    found = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    if mode not in found:
        raise ValueError(f"mode must be 'fan_in', 'fan_out' or 'fan_avg'; got {mode!r}")
    if not found[mode]:
        raise ValueError(f"shape must have no empty axis to have fans; got {tuple(shape)}")
    return found[mode]


he_normal = kaiming_normal
he_uniform = kaiming_uniform
glorot_normal = xavier_normal
glorot_uniform = xavier_uniform
