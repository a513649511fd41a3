"""Activations of a group of inputs: maxout, softmax and log-softmax (chapter 1, section 5)."""

from __future__ import annotations

import functools
from typing import Any

from companion.backend import (
    _cast,
    axis_index,
    check_shape,
    is_torch,
    largest,
    namespace,
    product,
    total,
    vectorwise,
    widen,
)


def _groups(x: Any, num_pieces: int, axis: int) -> Any:
    """Cut `axis` into groups of `num_pieces` consecutive entries, the last axis of the result."""
    axis = axis_index(x, axis)
    if num_pieces < 1 or x.shape[axis] % num_pieces:
        raise ValueError(
            f"x must have a multiple of num_pieces={num_pieces} entries on axis {axis}; "
            f"got shape {tuple(x.shape)}"
        )
    xp = namespace(x)
    x = xp.moveaxis(x, axis, -1)
    return xp.reshape(x, (*x.shape[:-1], x.shape[-1] // num_pieces, num_pieces))


def _first_maximum(x: Any, axis: int = -1) -> Any:
    """Return a mask of the first maximum along `axis`."""
    xp = namespace(x)
    axis = axis_index(x, axis)
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    index = xp.reshape(xp.arange(x.shape[axis], device=x.device), tuple(shape))
    return index == xp.argmax(x, axis=axis, keepdims=True)


@vectorwise("x")
def maxout(x: Any, num_pieces: int, axis: int = -1) -> Any:
    r"""Maximum of each group of `num_pieces` consecutive entries, ``(d k)->(d)``.

    :math:`f(x)_i=\max_{j<k}x_{ik+j}`, where the entries are linear maps :math:`w_{ij}^Tu+b_{ij}` of
    the layer's input.

    Parameters
    ----------
    x : array of real numbers
    num_pieces : int
        Group size :math:`k`; it must divide the length of `axis`.
    axis : int, default -1

    Returns
    -------
    array
        In the dtype and library of `x`, with a k-th of the entries on `axis`.

    References
    ----------
    Goodfellow, Warde-Farley, Mirza, Courville and Bengio (2013), "Maxout networks".

    Examples
    --------
    >>> maxout([1.0, 3.0, -2.0, -1.0], 2)
    array([ 3., -1.])
    """
    xp = namespace(x)
    groups = _groups(x, num_pieces, axis)
    # several times as fast as the maximum over a short last axis
    largest = functools.reduce(xp.maximum, [groups[..., i] for i in range(num_pieces)])
    return xp.moveaxis(largest, -1, axis)


@vectorwise("dy", "x")
def maxout_vjp(dy: Any, x: Any, num_pieces: int, axis: int = -1) -> Any:
    r"""Pull a gradient back through :func:`maxout`: all to the largest entry, ``(d),(d k)->(d k)``.

    At a tie the first takes it, as with NumPy's argmax; torch's ``amax`` shares it equally.

    Examples
    --------
    >>> maxout_vjp([5.0, 7.0], [1.0, 3.0, -2.0, -2.0], 2)
    array([0., 5., 7., 0.])
    """
    xp = namespace(x)
    groups = _groups(x, num_pieces, axis)
    shape = list(x.shape)
    shape[axis] //= num_pieces
    check_shape(dy, tuple(shape), "dy")
    dy = xp.moveaxis(dy, axis, -1)
    dx = dy[..., None] * xp.astype(_first_maximum(groups), x.dtype)
    dx = xp.reshape(dx, (*dx.shape[:-2], dx.shape[-2] * num_pieces))  # -1 fails on no entries
    return xp.moveaxis(dx, -1, axis)


def _exponentials(x: Any, axis: int, temperature: float, exact: bool) -> tuple[Any, Any, Any]:
    """Return d = (x - max x)/T, its rounding error e where `exact`, and exp(d + e).

    For float32 on NumPy they are float64, in which e does not matter.
    """
    axis_index(x, axis)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive; got {temperature!r}")
    wide = widen(x)
    exact = exact and wide is x
    x = wide
    xp = namespace(x)
    m = largest(x, axis, True)
    d = x - m
    q = d if temperature == 1 else d / temperature
    if not exact:
        return q, 0.0, xp.exp(q)
    b = d - x
    e = (x - (d - b)) - (m + b)
    if temperature != 1:
        p, rest = product(q, temperature)
        e = ((d - p) - rest + e) / temperature
    e = xp.where(xp.isfinite(e), e, xp.zeros_like(e))
    return q, e, xp.exp(q) * (1 + e)


def _softmax(x: Any, axis: int, temperature: float, exact: bool = True) -> Any:
    t = _exponentials(x, axis, temperature, exact)[2]
    return t / total(t, axis, True)


@vectorwise("x")
def softmax(x: Any, axis: int = -1, temperature: float = 1.0) -> Any:
    r"""Softmax, :math:`p_i=e^{x_i/T}/\sum_j e^{x_j/T}`, ``(k)->(k)``.

    Shifted by the maximum, so that nothing overflows, and on NumPy the difference's rounding
    error is put back: at offsets of 1e3 that error alone is hundreds of ULP.

    Parameters
    ----------
    x : array of real numbers
        Entries of -inf get probability 0. A slice with +inf, or with -inf only, is nan.
    axis : int, default -1
    temperature : float, default 1.0
        :math:`T>0`; large values even out, small ones sharpen.

    Returns
    -------
    array
        Probabilities in the shape, dtype and library of `x`.

    References
    ----------
    Bridle (1990), "Probabilistic interpretation of feedforward classification network outputs".

    Examples
    --------
    >>> softmax([1000.0, 1001.0, 1002.0]).round(4)
    array([0.09  , 0.2447, 0.6652])
    """
    return _softmax(x, axis, temperature, exact=not is_torch(x))


@vectorwise("dy", "x")
def softmax_vjp(dy: Any, x: Any, axis: int = -1, temperature: float = 1.0) -> Any:
    r"""Pull a gradient back through :func:`softmax`, ``(k),(k)->(k)``.

    :math:`dx=p\odot(dy-p^Tdy)/T` with :math:`p` the softmax of `x`.

    The result does not change when a constant is added to `dy`; with the entry of the largest
    probability as that constant nothing cancels when p is nearly one-hot.

    Examples
    --------
    >>> softmax_vjp([1.0, 0.0], [0.0, 0.0])
    array([ 0.25, -0.25])
    """
    check_shape(dy, x.shape, "dy")
    xp = namespace(x)
    p = _softmax(x, axis, temperature)
    top = xp.astype(_first_maximum(x, axis), x.dtype)
    dy = dy - xp.sum(dy * top, axis=axis, keepdims=True)
    return p * (dy - xp.sum(p * dy, axis=axis, keepdims=True)) / temperature


@vectorwise("x")
def log_softmax(x: Any, axis: int = -1, temperature: float = 1.0) -> Any:
    r"""Logarithm of softmax, :math:`x_i/T-\log\sum_j e^{x_j/T}`, ``(k)->(k)``.

    With :math:`d=(x-\max x)/T` it is :math:`d-\log(1+s)`, s the sum of :math:`e^{d_j}` over all
    but the largest entry: that entry's own value, -log(1 + s), is then right even where p is 1
    to the last bit and ``torch.log_softmax`` returns 0.

    Parameters
    ----------
    x : array of real numbers
        As in :func:`softmax`.
    axis : int, default -1
    temperature : float, default 1.0

    Returns
    -------
    array
        In the shape, dtype and library of `x`.

    Examples
    --------
    >>> log_softmax([100.0, 0.0])
    array([-3.72007598e-44, -1.00000000e+02])
    """
    return _log_softmax(*_exponentials(x, axis, temperature, exact=not is_torch(x)), axis)


def _log_softmax(d: Any, e: Any, t: Any, axis: int) -> Any:
    """Return the logarithm of softmax from what :func:`_exponentials` gives."""
    xp = namespace(t)
    top = _cast(d == 0, t.dtype)  # where t is 1
    others = total(t - top, axis, True)
    others = others + (total(top, axis, True) - 1)  # in a tie, all but one
    return d + (e - xp.log1p(others))


@vectorwise("dy", "x")
def log_softmax_vjp(dy: Any, x: Any, axis: int = -1, temperature: float = 1.0) -> Any:
    r"""Pull a gradient back through :func:`log_softmax`, ``(k),(k)->(k)``.

    :math:`dx=(dy-p\sum_jdy_j)/T` with :math:`p` the softmax of `x`.

    The entries add up to 0. This gives the one of the largest probability, where the formula
    would subtract equal numbers when p is nearly one-hot.

    Examples
    --------
    >>> log_softmax_vjp([1.0, 0.0], [0.0, 0.0])
    array([ 0.5, -0.5])
    """
    check_shape(dy, x.shape, "dy")
    xp = namespace(x)
    p = _softmax(x, axis, temperature)
    dx = (dy - p * xp.sum(dy, axis=axis, keepdims=True)) / temperature
    top = _first_maximum(x, axis)
    rest = xp.where(top, xp.zeros_like(dx), dx)
    return xp.where(top, -xp.sum(rest, axis=axis, keepdims=True), dx)
