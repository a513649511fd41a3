"""Activations that squash: the step, the sigmoid and its relatives (chapter 1, section 2)."""

from __future__ import annotations

from typing import Any

from companion.backend import clip, elementwise, namespace, product, zeros_like

#: Scale and slope of LeCun's tanh: f(1) = 1 and f(-1) = -1, with the bend of f'' near them.
LECUN_SCALE, LECUN_SLOPE = 1.7159, 2 / 3
#: 4/3 as a double and its rounding error
_FOUR_THIRDS, _FOUR_THIRDS_REST = 1.3333333333333333, 7.401486830834377e-17


@elementwise
def identity(x: Any) -> Any:
    r"""Identity, :math:`f(x)=x`: the activation of an output layer that is to be linear.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        A copy of `x`, in its shape, dtype and library.

    Examples
    --------
    >>> identity([-1.0, 2.0])
    array([-1.,  2.])
    """
    return x + 0


@elementwise
def identity_grad(x: Any) -> Any:
    r"""Derivative of :func:`identity`, 1 everywhere.

    Examples
    --------
    >>> identity_grad([-1.0, 2.0])
    array([1., 1.])
    """
    return namespace(x).ones_like(x)


def unit_step(x: Any) -> Any:
    """Return 1 where x > 0, 0 where x <= 0 and nan at nan."""
    return namespace(x).ceil(clip(x, 0.0, 1.0))


@elementwise
def heaviside(x: Any, values: Any = 1.0) -> Any:
    r"""Unit step, :math:`f(x)=1` for :math:`x>0`, 0 for :math:`x<0` and `values` at 0.

    Parameters
    ----------
    x : array of real numbers
    values : float or array, default 1.0
        The value at 0, a convention: 1 in McCulloch and Pitts' neuron, ½ in symmetric texts.
        ``torch.heaviside`` and ``numpy.heaviside`` ask for it.

    Returns
    -------
    array
        In the shape, dtype and library of `x`; nan stays nan.

    References
    ----------
    McCulloch and Pitts (1943), "A logical calculus of the ideas immanent in nervous activity".

    Examples
    --------
    >>> heaviside([-2.0, 0.0, 3.0])
    array([0., 1., 1.])
    """
    xp = namespace(x)
    return xp.where(x == 0, xp.zeros_like(x) + values, unit_step(x))


def heaviside_grad(x: Any, values: Any = 1.0, *, estimator: str = "none") -> Any:
    r"""Derivative of :func:`heaviside`, or what a straight-through estimator puts in its place.

    Parameters
    ----------
    x : array of real numbers
    values : float or array, default 1.0
        As in :func:`heaviside`; the derivative does not depend on it.
    estimator : {"none", "identity", "hardtanh"}, default "none"
        ``"none"``: the true derivative, 0 (at 0 it does not exist; 0 by convention).
        ``"identity"``: 1, the gradient goes straight through (Bengio et al. 2013).
        ``"hardtanh"``: 1 where :math:`|x|\le1`, else 0 (Hubara et al. 2016).

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    Examples
    --------
    >>> heaviside_grad([-2.0, 0.5])
    array([0., 0.])
    >>> heaviside_grad([-2.0, 0.5], estimator="hardtanh")
    array([0., 1.])
    """
    if estimator not in _ESTIMATORS:
        raise ValueError(f"estimator must be one of {', '.join(_ESTIMATORS)}; got {estimator!r}")
    return _ESTIMATORS[estimator](x)


@elementwise
def _inside_unit(x: Any) -> Any:
    xp = namespace(x)
    return 1 - unit_step(xp.abs(x) - 1)


@elementwise
def _zero(x: Any) -> Any:
    return namespace(x).zeros_like(x)


_ESTIMATORS = {"none": _zero, "identity": identity_grad, "hardtanh": _inside_unit}


def exponentials(x: Any) -> tuple[Any, Any]:
    r"""Return :math:`p=e^{\min(x,0)}` and :math:`q=e^{\min(-x,0)}`: one is 1, the other at most 1.

    Since :math:`e^x=p/q`, every function of :math:`e^x` can be written in them so that nothing
    overflows and nothing cancels: :math:`\sigma(x)=p/(p+q)`.
    """
    xp, zero = namespace(x), zeros_like(x)
    return xp.exp(xp.minimum(x, zero)), xp.exp(xp.minimum(-x, zero))


@elementwise
def sigmoid(x: Any) -> Any:
    r"""Logistic function, :math:`\sigma(x)=1/(1+e^{-x})`, with values in (0, 1).

    Written :math:`p/(p+q)` with :math:`p=e^{\min(x,0)}` and :math:`q=e^{\min(-x,0)}`, which is
    right over the whole range: the literal formula overflows in the left tail.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        In the shape, dtype and library of `x`. In floating point the value reaches 1
        (from 16.6 on in float32, 36.7 in float64) and, below -103 and -745, 0.

    See Also
    --------
    softplus : its integral
    hardsigmoid : a piecewise linear stand-in

    References
    ----------
    Rumelhart, Hinton and Williams (1986), "Learning representations by back-propagating errors".

    Examples
    --------
    >>> sigmoid([-1000.0, 0.0, 2.0])
    array([0.        , 0.5       , 0.88079708])
    """
    p, q = exponentials(x)
    return p / (p + q)


@elementwise
def sigmoid_grad(x: Any) -> Any:
    r"""Derivative of :func:`sigmoid`, :math:`\sigma'(x)=\sigma(x)\,\sigma(-x)\le\tfrac14`.

    Computed as :math:`t/(1+t)^2` with :math:`t=e^{-|x|}`. The usual :math:`\sigma(1-\sigma)` is 0
    from x = 17 on in float32, where the derivative is 4e-8.

    Examples
    --------
    >>> sigmoid_grad([0.0, 100.0])
    array([2.50000000e-01, 3.72007598e-44])
    """
    xp = namespace(x)
    t = xp.exp(-xp.abs(x))
    return t / ((1 + t) * (1 + t))


@elementwise
def hardsigmoid(x: Any) -> Any:
    r"""Piecewise linear sigmoid, :math:`f(x)=\min(\max(x+3,0),6)/6`.

    Keras (before version 3) and Theano used :math:`0.2x+0.5` clipped to [0, 1] under this name.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    Courbariaux, Bengio and David (2015), "BinaryConnect"; Howard et al. (2019), "MobileNetV3".

    Examples
    --------
    >>> hardsigmoid([-4.0, 0.0, 1.5])
    array([0.  , 0.5 , 0.75])
    """
    return clip(x + 3, 0.0, 6.0) / 6


@elementwise
def hardsigmoid_grad(x: Any) -> Any:
    r"""Derivative of :func:`hardsigmoid`: 1/6 for :math:`-3<x<3`, else 0, and 0 at the kinks.

    Examples
    --------
    >>> hardsigmoid_grad([-3.0, 0.0])
    array([0.        , 0.16666667])
    """
    return unit_step(3 - namespace(x).abs(x)) / 6


@elementwise
def tanh(x: Any) -> Any:
    r"""Hyperbolic tangent, :math:`\tanh x=(e^x-e^{-x})/(e^x+e^{-x})=2\sigma(2x)-1`.

    The library's own: the literal quotient is nan beyond 710.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        Values in [-1, 1], in the shape, dtype and library of `x`.

    References
    ----------
    LeCun, Bottou, Orr and Müller (1998), "Efficient BackProp".

    Examples
    --------
    >>> tanh([-1000.0, 0.0, 0.5])
    array([-1.        ,  0.        ,  0.46211716])
    """
    return namespace(x).tanh(x)


@elementwise
def tanh_grad(x: Any) -> Any:
    r"""Derivative of :func:`tanh`, :math:`1-\tanh^2x=4\,\sigma'(2x)`.

    Computed from :math:`t=e^{-2|x|}`; :math:`1-\tanh^2x` is 0 from x = 9 on in float32.

    Examples
    --------
    >>> tanh_grad([0.0, 100.0])
    array([1.00000000e+00, 5.53558611e-87])
    """
    xp = namespace(x)
    t = xp.exp(-2 * xp.abs(x))
    return 4 * t / ((1 + t) * (1 + t))


@elementwise
def lecun_tanh(x: Any) -> Any:
    r"""LeCun's scaled tanh, :math:`f(x)=1.7159\tanh(\tfrac23x)`, with :math:`f(\pm1)\approx\pm1`.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    LeCun, Bottou, Orr and Müller (1998), "Efficient BackProp", section 4.4.

    Examples
    --------
    >>> lecun_tanh([-1.0, 0.0, 1.0]).round(4)
    array([-1.,  0.,  1.])
    """
    return LECUN_SCALE * namespace(x).tanh(LECUN_SLOPE * x)


@elementwise
def lecun_tanh_grad(x: Any) -> Any:
    r"""Derivative of :func:`lecun_tanh`, :math:`1.7159\cdot\tfrac23\,(1-\tanh^2(\tfrac23x))`.

    Examples
    --------
    >>> lecun_tanh_grad([0.0]).round(4)
    array([1.1439])
    """
    xp = namespace(x)
    # e^(-z - e) with z + e = (4/3)|x| unrounded: the tail's relative error is that of z
    size = xp.abs(clip(x, -1e4, 1e4))
    z, e = product(size, _FOUR_THIRDS)
    e = e + _FOUR_THIRDS_REST * size
    t = xp.exp(-z)
    return LECUN_SCALE * LECUN_SLOPE * 4 * t / ((1 + t) * (1 + t)) * (1 - e * (1 - t) / (1 + t))


@elementwise
def softsign(x: Any) -> Any:
    r"""Softsign, :math:`f(x)=x/(1+|x|)`: like tanh, with polynomial tails.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        Values in [-1, 1], in the shape, dtype and library of `x`.

    References
    ----------
    Bergstra, Desjardins, Lamblin and Bengio (2009), "Quadratic polynomials learn better image
    features"; Glorot and Bengio (2010).

    Examples
    --------
    >>> softsign([-1.0, 0.0, 3.0])
    array([-0.5 ,  0.  ,  0.75])
    """
    x = clip(x, -1e18, 1e18)  # where f is 1 to the last bit; inf/inf would be nan
    return x / (1 + namespace(x).abs(x))


@elementwise
def softsign_grad(x: Any) -> Any:
    r"""Derivative of :func:`softsign`, :math:`1/(1+|x|)^2`.

    Examples
    --------
    >>> softsign_grad([0.0, 1.0])
    array([1.  , 0.25])
    """
    r = 1 / (1 + namespace(x).abs(x))
    return r * r
