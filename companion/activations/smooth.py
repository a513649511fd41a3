"""The smooth rectifiers: softplus, ELU to GELU, and the gated units (chapter 1, section 4)."""

from __future__ import annotations

import math
from typing import Any

from companion.activations import squashing
from companion.activations.squashing import exponentials, unit_step
from companion.backend import (
    check_shape,
    clip,
    elementwise,
    gaussian,
    is_torch,
    namespace,
    ndtr,
    negative_part,
    pieces,
    positive,
    positive_part,
    product,
    vectorwise,
    widen,
)

# In a formula x is a float array already.
hardsigmoid = squashing.hardsigmoid.inner
sigmoid, sigmoid_grad = squashing.sigmoid.inner, squashing.sigmoid_grad.inner

#: The pair that makes mean 0 and variance 1 a fixed point (Klambauer et al. 2017).
SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848


def _bounded(x: Any) -> Any:
    """Bound x where every exponential here has long reached 0, so that no inf meets a 0."""
    return clip(x, -2000.0, 2000.0)


def _finite(x: Any) -> Any:
    """Bound x so that the halves in :func:`product` do not overflow."""
    return clip(x, -1e30, 1e30)


def _times(x: Any, gate: Any) -> Any:
    """Multiply x by a gate that vanishes in the left tail, where x may be -inf."""
    return clip(x, -2000.0, math.inf) * gate


@elementwise
def softplus(x: Any) -> Any:
    r"""Softplus, :math:`f(x)=\log(1+e^x)`, a smooth ReLU whose derivative is the sigmoid.

    Computed as :math:`\max(x,0)+\log(1+e^{-|x|})`.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        In the shape, dtype and library of `x`. ``torch.nn.functional.softplus`` returns x above
        its threshold of 20, an error of 6e5 ULP in float64.

    References
    ----------
    Dugas, Bengio, Bélisle, Nadeau and Garcia (2001), "Incorporating second-order functional
    knowledge for better option pricing".

    Examples
    --------
    >>> softplus([-1000.0, 0.0, 1000.0])
    array([0.00000000e+00, 6.93147181e-01, 1.00000000e+03])
    """
    xp = namespace(x)
    return positive_part(x) + xp.log1p(xp.exp(-xp.abs(x)))


@elementwise
def softplus_grad(x: Any) -> Any:
    r"""Derivative of :func:`softplus`, the sigmoid.

    Examples
    --------
    >>> softplus_grad([0.0, 2.0])
    array([0.5       , 0.88079708])
    """
    return sigmoid(x)


@elementwise
def elu(x: Any, alpha: Any = 1.0) -> Any:
    r"""Exponential linear unit, :math:`f(x)=x` for :math:`x>0`, else :math:`\alpha(e^x-1)`.

    Parameters
    ----------
    x : array of real numbers
    alpha : float, default 1.0
        The value approached on the left is :math:`-\alpha`. Where it is not 1, 0 is a kink.

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    See Also
    --------
    celu : smooth at 0 for every alpha

    References
    ----------
    Clevert, Unterthiner and Hochreiter (2016), "Fast and accurate deep network learning by
    exponential linear units".

    Examples
    --------
    >>> elu([-1000.0, -1.0, 2.0])
    array([-1.        , -0.63212056,  2.        ])
    """
    return positive_part(x) + alpha * namespace(x).expm1(negative_part(x))


@elementwise
def elu_grad(x: Any, alpha: Any = 1.0) -> Any:
    r"""Derivative of :func:`elu`: 1 for :math:`x>0`, else :math:`\alpha e^x=f(x)+\alpha`, α at 0.

    The literal :math:`f(x)+\alpha` cancels to 0 below -17 in float32.

    Examples
    --------
    >>> elu_grad([-1.0, 0.0, 2.0], alpha=0.5)
    array([0.18393972, 0.5       , 1.        ])
    """
    xp = namespace(x)
    positive = xp.astype(x > 0, x.dtype)
    return positive + alpha * (xp.exp(negative_part(x)) - positive)


@elementwise
def celu(x: Any, alpha: Any = 1.0) -> Any:
    r"""Continuously differentiable ELU, :math:`f(x)=\max(x,0)+\min(0,\alpha(e^{x/\alpha}-1))`.

    Parameters
    ----------
    x : array of real numbers
    alpha : float, default 1.0
        Must be positive. At 1 it is :func:`elu`.

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    Barron (2017), "Continuously differentiable exponential linear units".

    Examples
    --------
    >>> celu([-1.0, 2.0], alpha=2.0)
    array([-0.78693868,  2.        ])
    """
    alpha = positive(alpha, "alpha")
    return positive_part(x) + alpha * namespace(x).expm1(negative_part(x) / alpha)


@elementwise
def celu_grad(x: Any, alpha: Any = 1.0) -> Any:
    r"""Derivative of :func:`celu`: 1 for :math:`x>0`, else :math:`e^{x/\alpha}`.

    Examples
    --------
    >>> celu_grad([-1.0, 0.0, 2.0], alpha=2.0)
    array([0.60653066, 1.        , 1.        ])
    """
    return namespace(x).exp(negative_part(x) / positive(alpha, "alpha"))


@elementwise
def selu(x: Any) -> Any:
    r"""Scaled ELU, :math:`f(x)=\lambda\,\mathrm{ELU}_\alpha(x)`.

    With :math:`\lambda=1.0507`, :math:`\alpha=1.6733` and weights of mean 0 and variance
    :math:`1/n_{in}` the means and variances of the layers are drawn to 0 and 1.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    Klambauer, Unterthiner, Mayr and Hochreiter (2017), "Self-normalizing neural networks".

    Examples
    --------
    >>> selu([-1000.0, 1.0])
    array([-1.75809934,  1.05070099])
    """
    return SELU_SCALE * elu.inner(x, SELU_ALPHA)


@elementwise
def selu_grad(x: Any) -> Any:
    r"""Derivative of :func:`selu`: λ for :math:`x>0`, else :math:`\lambda\alpha e^x`.

    Examples
    --------
    >>> selu_grad([0.0, 1.0])
    array([1.75809934, 1.05070099])
    """
    return SELU_SCALE * elu_grad.inner(x, SELU_ALPHA)


@elementwise
def silu(x: Any) -> Any:
    r"""Sigmoid linear unit, :math:`f(x)=x\,\sigma(x)`.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        In the shape, dtype and library of `x`; 0 at -inf, where torch has nan.

    See Also
    --------
    swish : with a slope in the gate

    References
    ----------
    Hendrycks and Gimpel (2016); Elfwing, Uchibe and Doya (2018), "Sigmoid-weighted linear units".

    Examples
    --------
    >>> silu([-1000.0, 0.0, 2.0])
    array([-0.        ,  0.        ,  1.76159416])
    """
    return _times(x, sigmoid(x))


@elementwise
def silu_grad(x: Any) -> Any:
    r"""Derivative of :func:`silu`, :math:`\sigma(x)\,(1+x\,\sigma(-x))`.

    Examples
    --------
    >>> silu_grad([0.0, 2.0])
    array([0.5       , 1.09078425])
    """
    x = _bounded(widen(x))
    return _gated_slope(x, 0.0, x)


def _gate(z: Any, e: Any) -> Any:
    """Return the sigmoid of z + e, where e is the rounding error of z."""
    if type(e) is float:
        return sigmoid(z)
    p, q = exponentials(z)
    return p / (p + q) * (1 + e * (q / (p + q)))


def _gated_slope(z: Any, e: Any, w: Any) -> Any:
    """Return (x σ(z + e))' = σ(z)(1 + w σ(-z)), where w = x z'(x)."""
    p, q = exponentials(z)
    r = p + q
    slope = p * (p + q * (1 + w)) / (r * r)
    return slope if type(e) is float else slope * (1 + e * q / r)


@elementwise
def swish(x: Any, beta: Any = 1.0) -> Any:
    r"""Swish, :math:`f(x)=x\,\sigma(\beta x)`.

    It is :math:`x/2` at :math:`\beta=0` and tends to ReLU as :math:`\beta\to\infty`.

    Parameters
    ----------
    x : array of real numbers
    beta : float or array that broadcasts against `x`, default 1.0
        Slope of the gate, fixed or learned. torch and Keras have β = 1 only, as ``SiLU``.

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    Ramachandran, Zoph and Le (2017), "Searching for activation functions".

    Examples
    --------
    >>> swish([-1.0, 2.0], beta=2.0)
    array([-0.11920292,  1.96402758])
    """
    xp = namespace(x)
    gate = _gate(*product(_finite(x), beta))
    return xp.where(gate == 0, xp.zeros_like(gate), x) * gate


@elementwise
def swish_grad(x: Any, beta: Any = 1.0) -> Any:
    r"""Derivative of :func:`swish` in `x`, :math:`\sigma(z)(1+z\,\sigma(-z))` at :math:`z=\beta x`.

    Examples
    --------
    >>> swish_grad([0.0, 2.0], beta=2.0)
    array([0.5       , 1.05266461])
    """
    z, e = product(_finite(x), beta)
    p, q = exponentials(z)
    s = p + q
    slope = p * (p + q * (1 + z)) / (s * s)
    if type(e) is float:
        return slope
    return slope + e * (p * q / (s * s)) * (2 + z * ((q - p) / s))  # e f'' of the silu


@elementwise
def swish_grad_beta(x: Any, beta: Any = 1.0) -> Any:
    r"""Derivative of :func:`swish` in β, :math:`x^2\sigma(z)\,\sigma(-z)` at :math:`z=\beta x`.

    Computed as :math:`(x/(2\cosh(z/2)))^2`, which loses nothing in the tail.

    Examples
    --------
    >>> swish_grad_beta([0.0, 2.0], beta=1.0)
    array([0.        , 0.41997434])
    """
    xp = namespace(x)
    x = _finite(x)
    z, e = product(x, beta)
    root = x / (2 * xp.cosh(0.5 * z))
    return root * root * (1 - e * xp.tanh(0.5 * z))


@elementwise
def hardswish(x: Any) -> Any:
    r"""Hard swish, :math:`f(x)=x\,\min(\max(x+3,0),6)/6`.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    Howard et al. (2019), "Searching for MobileNetV3".

    Examples
    --------
    >>> hardswish([-4.0, 1.0, 4.0])
    array([-0.        ,  0.66666667,  4.        ])
    """
    return clip(x, -3.0, math.inf) * hardsigmoid(x)


@elementwise
def hardswish_grad(x: Any) -> Any:
    r"""Derivative of :func:`hardswish`: :math:`(2x+3)/6` for :math:`-3<x<3`, else 0 or 1.

    At the kinks it has the outer piece's value, 0 at -3 and 1 at 3.

    Examples
    --------
    >>> hardswish_grad([-3.0, 0.0, 3.0])
    array([0. , 0.5, 1. ])
    """
    xp = namespace(x)
    inside = unit_step(3 - xp.abs(x))
    return inside * (2 * clip(x, -3.0, 3.0) + 3) / 6 + xp.astype(x >= 3, x.dtype)


@elementwise
def mish(x: Any) -> Any:
    r"""Mish, :math:`f(x)=x\tanh(\log(1+e^x))`.

    With :math:`e^x=p/q` (see :func:`sigmoid`) the gate is :math:`n/(n+2q^2)`, :math:`n=p(p+2q)`.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    Misra (2020), "Mish: a self regularized non-monotonic activation function".

    Examples
    --------
    >>> mish([-1000.0, 0.0, 2.0])
    array([-0.        ,  0.        ,  1.94395896])
    """
    p, q = exponentials(x)
    n = p * (p + 2 * q)
    return _times(x, n / (n + 2 * q * q))


@elementwise
def mish_grad(x: Any) -> Any:
    r"""Derivative of :func:`mish`, :math:`t+x\,\sigma(x)(1-t^2)` with :math:`t=\tanh(\log(1+e^x))`.

    With p, q and n of :func:`mish` and :math:`m=n+2q^2` it is
    :math:`\tfrac pm\bigl(2q(1+x)+p(1-\tfrac{2xpq}m)\bigr)`, in which nothing cancels but at the
    root, x = -1.19.

    Examples
    --------
    >>> mish_grad([0.0, 2.0])
    array([0.6       , 1.06931793])
    """
    x = _bounded(widen(x))
    p, q = exponentials(x)
    m = p * (p + 2 * q) + 2 * q * q
    return p / m * (2 * q * (1 + x) + p * (1 - 2 * x * p * q / m))


def gelu(x: Any, approximate: str = "none") -> Any:
    r"""Gaussian error linear unit, :math:`f(x)=x\,\Phi(x)`, Φ the normal distribution function.

    Parameters
    ----------
    x : array of real numbers
    approximate : {"none", "tanh", "sigmoid"}, default "none"
        ``"tanh"``: :math:`\tfrac x2(1+\tanh(\sqrt{2/\pi}(x+0.044715x^3)))`, off by at most 4.8e-4.
        ``"sigmoid"``: :math:`x\,\sigma(1.702x)`, off by at most 0.021. torch and Keras have the
        first two and take ``"none"`` by default; JAX takes the tanh form by default.

    Returns
    -------
    array
        In the shape, dtype and library of `x`. torch's own kernel is 0 below -8.3 (float64)
        and 17 % off at -5 in float32; this one is right in the whole tail.

    References
    ----------
    Hendrycks and Gimpel (2016), "Gaussian error linear units".

    Examples
    --------
    >>> gelu([-10.0, 0.0, 1.0])
    array([-7.61985302e-23,  0.00000000e+00,  8.41344746e-01])
    """
    return _form(approximate)[0](x)


def gelu_grad(x: Any, approximate: str = "none") -> Any:
    r"""Derivative of :func:`gelu`; for the exact form :math:`\Phi(x)+x\,\varphi(x)`.

    Examples
    --------
    >>> gelu_grad([0.0, 1.0])
    array([0.5       , 1.08331547])
    """
    return _form(approximate)[1](x)


def _form(approximate: str) -> Any:
    if approximate not in _GELU:
        raise ValueError(f"approximate must be one of {', '.join(_GELU)}; got {approximate!r}")
    return _GELU[approximate]


@elementwise
def _gelu(x: Any) -> Any:
    return _times(x, ndtr(x))


@elementwise
def _gelu_grad(x: Any) -> Any:
    x = _bounded(x)
    return ndtr(x) + x * (gaussian(x) / math.sqrt(2 * math.pi))


#: 2 sqrt(2/pi) as a double and its rounding error
_C, _C_REST = 1.5957691216057308, -9.96930880911092e-17
_CUBIC = 0.044715


def _cubic(x: Any) -> tuple[Any, Any]:
    """Return z + e = 2 sqrt(2/pi) (x + 0.044715 x^3), rounded value and rounding error."""
    if is_torch(x) or x.dtype == namespace(x).float32:
        x = widen(x)
        return x * (_C + _C * _CUBIC * (x * x)), 0.0
    square, e_square = product(x, x)
    w, e_w = product(square, _CUBIC)
    v = 1 + w
    b = v - 1
    e_v = (1 - (v - b)) + (w - b) + e_w + _CUBIC * e_square
    y, e_y = product(v, x)
    z, e_z = product(y, _C)
    return z, e_z + _C * (e_y + e_v * x) + _C_REST * y


@elementwise
def _gelu_tanh(x: Any) -> Any:
    # (1 + tanh(u))/2 = sigma(2u), and the tail is not lost
    return _times(x, _gate(*_cubic(_bounded(x))))


@elementwise
def _gelu_tanh_grad(x: Any) -> Any:
    x = _bounded(x)
    return _gated_slope(*_cubic(x), x * (_C + 3 * _C * _CUBIC * (x * x)))


def _gelu_sigmoid(x: Any) -> Any:
    return swish(x, 1.702)


def _gelu_sigmoid_grad(x: Any) -> Any:
    return swish_grad(x, 1.702)


_GELU = {
    "none": (_gelu, _gelu_grad),
    "tanh": (_gelu_tanh, _gelu_tanh_grad),
    "sigmoid": (_gelu_sigmoid, _gelu_sigmoid_grad),
}


def _gated_vjp(dy: Any, x: Any, axis: int, gate: Any, gate_grad: Any) -> Any:
    a, b = pieces(x, 2, axis)
    check_shape(dy, a.shape, "dy")
    return namespace(x).concat([dy * gate(b), dy * a * gate_grad(b)], axis=axis)


@vectorwise("x")
def glu(x: Any, axis: int = -1) -> Any:
    r"""Gated linear unit, :math:`f([a,b])=a\,\sigma(b)` of the halves of an axis, ``(2d)->(d)``.

    Parameters
    ----------
    x : array of real numbers
        The halves are two linear maps of one input; the second is the gate, as in torch.
    axis : int, default -1

    Returns
    -------
    array
        In the dtype and library of `x`, with half the entries on `axis`.

    References
    ----------
    Dauphin, Fan, Auli and Grangier (2017), "Language modeling with gated convolutional networks".

    Examples
    --------
    >>> glu([2.0, 0.0])
    array([1.])
    """
    a, b = pieces(x, 2, axis)
    return a * sigmoid(b)


@vectorwise("dy", "x")
def glu_vjp(dy: Any, x: Any, axis: int = -1) -> Any:
    r"""Pull a gradient back through :func:`glu`, ``(d),(2d)->(2d)``.

    Examples
    --------
    >>> glu_vjp([1.0], [2.0, 0.0])
    array([0.5, 0.5])
    """
    return _gated_vjp(dy, x, axis, sigmoid, sigmoid_grad)


@vectorwise("x")
def geglu(x: Any, axis: int = -1) -> Any:
    r"""GELU-gated linear unit, :math:`f([a,b])=a\,\mathrm{GELU}(b)`, ``(2d)->(d)``.

    Parameters
    ----------
    x : array of real numbers
        The second half is the gate, as in :func:`glu`; Shazeer writes the gate first.
    axis : int, default -1

    Returns
    -------
    array
        In the dtype and library of `x`, with half the entries on `axis`.

    References
    ----------
    Shazeer (2020), "GLU variants improve transformer".

    Examples
    --------
    >>> geglu([2.0, 1.0])
    array([1.68268949])
    """
    a, b = pieces(x, 2, axis)
    return a * gelu(b)


@vectorwise("dy", "x")
def geglu_vjp(dy: Any, x: Any, axis: int = -1) -> Any:
    r"""Pull a gradient back through :func:`geglu`, ``(d),(2d)->(2d)``.

    Examples
    --------
    >>> geglu_vjp([1.0], [2.0, 0.0])
    array([0., 1.])
    """
    return _gated_vjp(dy, x, axis, gelu, gelu_grad)


@vectorwise("x")
def swiglu(x: Any, axis: int = -1) -> Any:
    r"""SiLU-gated linear unit, :math:`f([a,b])=a\,\mathrm{SiLU}(b)`, ``(2d)->(d)``.

    Parameters
    ----------
    x : array of real numbers
        The second half is the gate, as in :func:`glu`; Shazeer, and LLaMA's code, put it first.
    axis : int, default -1

    Returns
    -------
    array
        In the dtype and library of `x`, with half the entries on `axis`.

    References
    ----------
    Shazeer (2020), "GLU variants improve transformer".

    Examples
    --------
    >>> swiglu([2.0, 1.0])
    array([1.46211716])
    """
    a, b = pieces(x, 2, axis)
    return a * silu.inner(b)


@vectorwise("dy", "x")
def swiglu_vjp(dy: Any, x: Any, axis: int = -1) -> Any:
    r"""Pull a gradient back through :func:`swiglu`, ``(d),(2d)->(2d)``.

    Examples
    --------
    >>> swiglu_vjp([1.0], [2.0, 0.0])
    array([0., 1.])
    """
    return _gated_vjp(dy, x, axis, silu.inner, silu_grad.inner)
