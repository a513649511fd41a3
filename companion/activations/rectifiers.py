"""The rectifiers: ReLU and the piecewise linear functions around it (chapter 1, section 3)."""

from __future__ import annotations

from typing import Any

from companion.activations.squashing import unit_step
from companion.backend import (
    as_float,
    axis_index,
    check_shape,
    clip,
    elementwise,
    like,
    namespace,
    negative_part,
    pieces,
    positive_part,
    vectorwise,
)


@elementwise(silent=True)
def relu(x: Any) -> Any:
    r"""Rectified linear unit, :math:`f(x)=\max(x,0)`.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        In the shape, dtype and library of `x`; nan stays nan.

    References
    ----------
    Fukushima (1969); Nair and Hinton (2010); Glorot, Bordes and Bengio (2011), "Deep sparse
    rectifier neural networks".

    Examples
    --------
    >>> relu([-1.0, 0.0, 2.0])
    array([0., 0., 2.])
    """
    return positive_part(x)


@elementwise(silent=True)
def relu_grad(x: Any) -> Any:
    r"""Derivative of :func:`relu`: 1 for :math:`x>0`, else 0; :math:`f'(0)=0`, as in torch and JAX.

    Examples
    --------
    >>> relu_grad([-1.0, 0.0, 2.0])
    array([0., 0., 1.])
    """
    return unit_step(x)


@elementwise
def relu6(x: Any) -> Any:
    r"""ReLU capped at 6, :math:`f(x)=\min(\max(x,0),6)`.

    Parameters
    ----------
    x : array of real numbers

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    Krizhevsky (2010), "Convolutional deep belief networks on CIFAR-10"; Howard et al. (2017).

    Examples
    --------
    >>> relu6([-1.0, 2.0, 8.0])
    array([0., 2., 6.])
    """
    return clip(x, 0.0, 6.0)


@elementwise
def relu6_grad(x: Any) -> Any:
    r"""Derivative of :func:`relu6`: 1 for :math:`0<x<6`, else 0, and 0 at both kinks.

    Examples
    --------
    >>> relu6_grad([0.0, 2.0, 6.0])
    array([0., 1., 0.])
    """
    return unit_step(x * (6 - x))


@elementwise
def leaky_relu(x: Any, negative_slope: Any = 0.01) -> Any:
    r"""Leaky ReLU, :math:`f(x)=\max(x,0)+a\min(x,0)` with a fixed slope :math:`a`.

    The form :math:`\max(ax,x)` found in many notes is the same for :math:`a\le1` only.

    Parameters
    ----------
    x : array of real numbers
    negative_slope : float, default 0.01
        Slope :math:`a` for negative inputs: 0.01 in Maas et al. and torch; 0.3 in Keras' layer
        and 0.2 in its function; 0.2 in DCGAN; 0.1 in Darknet.

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    Maas, Hannun and Ng (2013), "Rectifier nonlinearities improve neural network acoustic models".

    Examples
    --------
    >>> leaky_relu([-1.0, 2.0])
    array([-0.01,  2.  ])
    """
    return positive_part(x) + negative_slope * negative_part(x)


@elementwise
def leaky_relu_grad(x: Any, negative_slope: Any = 0.01) -> Any:
    r"""Derivative of :func:`leaky_relu`: 1 for :math:`x>0`, else :math:`a`, at 0 too, as in torch.

    Examples
    --------
    >>> leaky_relu_grad([-1.0, 0.0, 2.0])
    array([0.01, 0.01, 1.  ])
    """
    positive = unit_step(x)
    return positive + negative_slope * (1 - positive)


@elementwise
def prelu(x: Any, weight: Any) -> Any:
    r"""Parametric ReLU, :math:`f(x)=\max(x,0)+a\min(x,0)` with a learned slope :math:`a`.

    Parameters
    ----------
    x : array of real numbers
    weight : float or array that broadcasts against `x`
        The slope, one for all or one a channel. He et al. start at 0.25 and use no weight decay
        on it; so does ``torch.nn.PReLU``, which puts the channels on axis 1. Keras starts at 0.

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    He, Zhang, Ren and Sun (2015), "Delving deep into rectifiers".

    Examples
    --------
    >>> prelu([-1.0, 2.0], 0.25)
    array([-0.25,  2.  ])
    """
    return positive_part(x) + weight * negative_part(x)


@elementwise
def prelu_grad(x: Any, weight: Any) -> Any:
    r"""Derivative of :func:`prelu` in `x`: 1 for :math:`x>0`, else :math:`a`.

    Examples
    --------
    >>> prelu_grad([-1.0, 2.0], 0.25)
    array([0.25, 1.  ])
    """
    positive = unit_step(x)
    return positive + weight * (1 - positive)


@elementwise
def prelu_grad_weight(x: Any, weight: Any) -> Any:
    r"""Derivative of :func:`prelu` in the slope, :math:`\partial f/\partial a=\min(x,0)`.

    In the shape of `x`: whoever shares one slope among several inputs adds them up.

    Examples
    --------
    >>> prelu_grad_weight([-1.0, 2.0], 0.25)
    array([-1.,  0.])
    """
    return negative_part(x)


def sample_rrelu(
    rng: Any, x: Any, lower: float = 1 / 8, upper: float = 1 / 3, *, convention: str = "torch"
) -> Any:
    r"""Draw the random slopes of a randomised leaky ReLU in training, one for each input.

    Parameters
    ----------
    rng : numpy.random.Generator
    x : array of real numbers
    lower, upper : float
        Bounds of the slope.
    convention : {"torch", "paper"}, default "torch"
        ``"torch"``: the slope is uniform, :math:`a\sim U(l,u)`. ``"paper"``: its reciprocal is,
        :math:`1/a\sim U(1/u,1/l)`, that is :math:`U(3,8)` for the defaults.

    Returns
    -------
    array
        Slopes in the shape, dtype and library of `x`, to be passed to :func:`rrelu`.

    References
    ----------
    Xu, Wang, Chen and Li (2015), "Empirical evaluation of rectified activations".

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([-1.0, 2.0])
    >>> slope = sample_rrelu(np.random.default_rng(0), x)
    >>> rrelu(x, slope=slope).round(3)
    array([-0.258,  2.   ])
    """
    _check_rrelu(lower, upper, convention)
    x = as_float(x)[0]
    if convention == "torch":
        return like(rng.uniform(lower, upper, x.shape), x)
    return like(1 / rng.uniform(1 / upper, 1 / lower, x.shape), x)


def rrelu(
    x: Any,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    *,
    slope: Any = None,
    convention: str = "torch",
) -> Any:
    r"""Randomised leaky ReLU, :math:`f(x)=\max(x,0)+a\min(x,0)` with a random slope :math:`a`.

    Parameters
    ----------
    x : array of real numbers
    lower, upper : float
        Bounds of the slope, 1/8 and 1/3.
    slope : array, optional
        The slopes drawn by :func:`sample_rrelu`, in training. Without them the fixed slope of
        inference is taken.
    convention : {"torch", "paper"}, default "torch"
        Slope at inference: torch takes the mean of the bounds, 11/48; the paper divides by the
        mean of their reciprocals, 2/11.

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    References
    ----------
    Xu, Wang, Chen and Li (2015), "Empirical evaluation of rectified activations".

    Examples
    --------
    >>> rrelu([-48.0, 2.0])
    array([-11.,   2.])
    >>> rrelu([-11.0, 2.0], convention="paper")
    array([-2.,  2.])
    """
    return leaky_relu(x, _slope(lower, upper, slope, convention))


def rrelu_grad(
    x: Any,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    *,
    slope: Any = None,
    convention: str = "torch",
) -> Any:
    r"""Derivative of :func:`rrelu` in `x` at the given slopes: 1 for :math:`x>0`, else :math:`a`.

    Examples
    --------
    >>> rrelu_grad([-1.0, 2.0], slope=0.2)
    array([0.2, 1. ])
    """
    return leaky_relu_grad(x, _slope(lower, upper, slope, convention))


def _slope(lower: float, upper: float, slope: Any, convention: str) -> Any:
    _check_rrelu(lower, upper, convention)
    if slope is not None:
        return slope
    return (lower + upper) / 2 if convention == "torch" else 2 / (1 / lower + 1 / upper)


def _check_rrelu(lower: float, upper: float, convention: str) -> None:
    if not 0 < lower <= upper:
        raise ValueError(f"lower and upper must satisfy 0 < lower <= upper; got {lower}, {upper}")
    if convention not in ("torch", "paper"):
        raise ValueError(f"convention must be 'torch' or 'paper'; got {convention!r}")


@vectorwise("x")
def crelu(x: Any, axis: int = -1) -> Any:
    r"""Concatenated ReLU, :math:`f(x)=[\max(x,0),\,\max(-x,0)]`: loses nothing, doubles the width.

    Core signature ``(d)->(2d)``.

    Parameters
    ----------
    x : array of real numbers
    axis : int, default -1
        The axis that doubles. torch has no such function.

    Returns
    -------
    array
        :math:`x` is the difference of the two halves and :math:`|x|` their sum.

    References
    ----------
    Shang, Sohn, Almeida and Lee (2016), "Understanding and improving convolutional neural
    networks via concatenated rectified linear units".

    Examples
    --------
    >>> crelu([-1.0, 2.0])
    array([0., 2., 1., 0.])
    """
    axis_index(x, axis)
    return namespace(x).concat([positive_part(x), positive_part(-x)], axis=axis)


@vectorwise("dy", "x")
def crelu_vjp(dy: Any, x: Any, axis: int = -1) -> Any:
    r"""Pull a gradient back through :func:`crelu`, ``(2d),(d)->(d)``.

    :math:`dx=dy_1[x>0]-dy_2[x<0]` with the two halves of `dy`.

    Examples
    --------
    >>> crelu_vjp([1.0, 1.0, 5.0, 5.0], [-1.0, 2.0])
    array([-5.,  1.])
    """
    shape = list(x.shape)
    shape[axis_index(x, axis)] *= 2
    check_shape(dy, tuple(shape), "dy")
    first, second = pieces(dy, 2, axis)
    return first * unit_step(x) - second * unit_step(-x)
