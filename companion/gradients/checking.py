"""Checking a gradient against the function it is said to belong to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import as_float, check_shape, generator, like, positive, to_numpy
from companion.gradients.clipping import grad_norm


def numerical_gradient(f: Callable[[Any], Any], x: Any, *, h: float | None = None) -> Any:
    r"""Central differences in every entry, :math:`(f(x+he_i)-f(x-he_i))/2h`.

    Two calls of f for each entry of x. With the default step about two thirds of the digits that
    f is computed to are right: an error near 1e-10 in float64, 1e-4 in float32. Where f has a
    kink between the two points, the result is a mean of the slopes on its sides.

    Parameters
    ----------
    f : callable
        Takes an array like x and returns one number.
    x : array, any shape
    h : float, optional
        Default: the cube root of the dtype's eps, times :math:`|x_i|` where that is above 1.

    Returns
    -------
    array, in the shape of x

    Raises
    ------
    ValueError
        If f returns more than one number, or h is not positive, or too small to change x.

    References
    ----------
    Nocedal and Wright (2006), "Numerical Optimization", section 8.1.

    Examples
    --------
    >>> numerical_gradient(lambda x: x[0] ** 2 * x[1], np.array([3.0, 2.0])).round(8)
    array([12.,  9.])
    """
    x, _ = as_float(x)
    at = np.asarray(to_numpy(x))
    steps = np.full_like(at, _step(at, h))
    if h is None:
        steps *= np.maximum(1, np.abs(at))
    grad = np.empty_like(at)
    for i in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[i] += steps[i]
        down[i] -= steps[i]
        rise = _value(f, like(up, x)) - _value(f, like(down, x))
        # x + h is rounded: divide by the distance that was gone
        grad[i] = rise / float(up[i] - down[i])
    return like(grad, x)


def gradient_check(
    f: Callable[[Any], Any],
    x: Any,
    grad: Any,
    *,
    rng: Any,
    directions: int = 3,
    h: float | None = None,
) -> float:
    r"""Estimate how wrong a gradient is, from differences along random directions.

    For normal directions :math:`v` the mean of :math:`(g\cdot v-\nabla f\cdot v)^2` is
    :math:`\lVert g-\nabla f\rVert^2`, however many entries there are. With :math:`d_j` the central
    difference of f along :math:`v_j`, the estimate of
    :math:`\lVert g-\nabla f\rVert/\max(\lVert g\rVert,\lVert\nabla f\rVert)` is

    .. math:: \Bigl(\frac1k\sum_j(g\cdot v_j-d_j)^2\Bigr)^{1/2}\Big/
              \max\Bigl(\lVert g\rVert,\Bigl(\frac1k\sum_jd_j^2\Bigr)^{1/2}\Bigr).

    A right gradient gives about 1e-9 in float64 and 1e-3 in float32; a part of it whose norm is
    smaller than that share of the whole goes unseen and needs a check of its own.

    Parameters
    ----------
    f : callable
        Takes an array like x and returns one number; twice for each direction.
    x : array, any shape
    grad : array, in the shape of x
        The gradient g that is to be checked.
    rng : numpy.random.Generator
    directions : int, default 3
    h : float, optional
        Distance from x to the two points. Default: the cube root of the dtype's eps, times
        :math:`\lVert x\rVert` where that is above 1.

    Returns
    -------
    float
        0 for two gradients of 0, and for empty ones.

    Raises
    ------
    ValueError
        If grad has not the shape of x, f returns more than one number, h or `directions` is not
        positive, or h is too small to change x: an entry moves by about h over the root of their
        number.
    TypeError
        If rng is no generator.

    Examples
    --------
    >>> x, rng = np.arange(1.0, 1001.0), np.random.default_rng(0)
    >>> f = lambda x: (x**3).sum()
    >>> gradient_check(f, x, 3 * x**2, rng=rng) < 1e-8
    True
    >>> round(gradient_check(f, x, 2 * x**2, rng=rng, directions=1000), 1)
    0.3
    """
    (x, _), (grad, _) = as_float(x), as_float(grad, "grad")
    check_shape(grad, x.shape, "grad")
    if directions < 1:
        raise ValueError(f"directions must be positive; got {directions}")
    rng = generator(rng)
    at, g = np.asarray(to_numpy(x)), np.asarray(to_numpy(grad), np.float64)
    if not at.size:
        return 0.0
    distance = _step(at, h, 1 / math.sqrt(at.size))
    if h is None:
        distance *= max(1.0, float(grad_norm(at.ravel())))
    slopes, errors = [], []
    for _ in range(directions):
        v = rng.standard_normal(at.shape)
        length = float(np.linalg.norm(v))
        move = distance / length * v
        rise = _value(f, like(at + move, x)) - _value(f, like(at - move, x))
        slopes.append(rise / (2 * distance) * length)
        errors.append(float((g * v).sum()) - slopes[-1])
    root = math.sqrt(directions)
    # NumPy's norm of entries of 1e155 is inf, and any error over that is 0
    size = max(float(grad_norm(g.ravel())), math.hypot(*slopes) / root)
    return math.hypot(*errors) / root / size if size else 0.0


def _step(x: Any, h: float | None, share: float = 1.0) -> float:
    """Return h or its default, of which an entry moves by a share."""
    if h is None:
        return float(np.finfo(x.dtype).eps) ** (1 / 3)
    move = share * positive(h, "h")
    if (np.isfinite(x) & (x + move == x - move)).any():
        raise ValueError(f"h must be large enough to change every entry of x; got {h}")
    return h


def _value(f: Callable[[Any], Any], x: Any) -> float:
    value = to_numpy(f(x))
    if np.size(value) != 1:
        raise ValueError(f"f must return one number; got shape {np.shape(value)}")
    return float(np.reshape(value, ()))
