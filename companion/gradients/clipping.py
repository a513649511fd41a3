"""How large a gradient is, a bound on that, and how far a step goes for the weights it changes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from companion.backend import (
    as_float,
    check_shape,
    constant,
    fits,
    inspectable,
    largest,
    like,
    namespace,
    to_numpy,
    total,
    vectorwise,
)


@vectorwise("grad")
def clip_grad_value(grad: Any, clip_value: Any) -> Any:
    r"""Bound each entry, :math:`\max(-c,\min(g,c))`.

    It turns the gradient: large entries are cut, small ones are not. As torch's
    ``clip_grad_value_``, Keras's ``clipvalue`` and optax's ``clip``. What is nan stays nan.

    Parameters
    ----------
    grad : array, shape (..., P)
    clip_value : float or array
        The bound c, not negative: a number, ``(..., 1)`` or ``(P,)``.

    Returns
    -------
    array, in the shape of grad

    Raises
    ------
    ValueError
        If `clip_value` is negative or nan, or does not broadcast into the shape of grad.

    Examples
    --------
    >>> clip_grad_value(np.array([10.0, 0.1]), 1.0)
    array([1. , 0.1])
    """
    xp, bound = namespace(grad), _bound(clip_value, grad, "clip_value")
    # a larger number is cut, so that nan, which is not larger, stays
    grad = xp.where(grad > bound, bound, grad)
    return xp.where(grad < -bound, -bound, grad)


@vectorwise("grad")
def clip_grad_norm(grad: Any, max_norm: Any, *, eps: float = 1e-6, net: Any = None) -> Any:
    r"""Scale gradients down to a norm, :math:`g\min\bigl(1,\frac{c}{\|g\|_2+\epsilon}\bigr)`.

    The norm is that of a whole network, one for each replica, or with `net` that of each layer.
    The formula is torch's, whose :math:`\epsilon` keeps the result just below c; the paper's, with
    :math:`\epsilon=0`, is Keras's ``global_clipnorm`` and optax's ``clip_by_global_norm``. Keras's
    ``clipnorm`` takes the norm of each array alone. The norm does not overflow: a gradient of 1e200
    comes out at norm c. A gradient of 0 stays 0, and one that is not finite becomes nan.

    Parameters
    ----------
    grad : array, shape (..., P)
    max_norm : float or array, shape (..., 1)
        The largest norm c, not negative.
    eps : float, default 1e-6
        :math:`\epsilon`.
    net : Sequential, optional
        Clip each layer's parameters, weight and bias together, to c on their own. A block, or
        an attention, is one layer.

    Returns
    -------
    array, in the shape of grad

    Raises
    ------
    ValueError
        If `max_norm` or `eps` is negative or nan, has a value for each entry, which would turn the
        gradient, or does not broadcast into its shape; or if grad does not fit the network.

    References
    ----------
    Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks".

    Examples
    --------
    >>> clip_grad_norm(np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0).round(3)
    array([[0.6, 0.8],
           [0.3, 0.4]])
    """
    bound, small = _bound(max_norm, grad, "max_norm"), _bound(eps, grad, "eps")
    for name, value in (("max_norm", bound), ("eps", small)):
        if value.ndim and value.shape[-1] != 1:
            shape = tuple(value.shape)
            raise ValueError(f"{name} must be a number or have shape (..., 1); got shape {shape}")
    if net is None:
        return _clipped(grad, bound, small)
    layers = itertools.groupby(net.unpack(grad).items(), lambda item: item[0].partition(".")[0])
    parts, start, replicas = [], 0, grad.ndim - 1
    for _, params in layers:
        stop = start + sum(int(np.prod(value.shape[replicas:])) for _, value in params)
        parts.append(_clipped(grad[..., start:stop], bound, small))
        start = stop
    return namespace(grad).concat(parts, axis=-1)


@vectorwise("grad")
def grad_norm(grad: Any) -> Any:
    r"""Return :math:`\|g\|_2`, which does not overflow where the norm itself is representable.

    Torch's ``get_total_norm`` and optax's ``global_norm`` square first: theirs is inf from entries
    of 1e154 on, 1e19 in float32.

    Parameters
    ----------
    grad : array, shape (..., P)

    Returns
    -------
    array, shape (...)

    Examples
    --------
    >>> grad_norm(np.array([[3.0, 4.0], [3e200, 4e200]]))
    array([5.e+000, 5.e+200])
    """
    top, _, root = _scaled(grad)
    return namespace(grad).where(namespace(grad).isinf(top), top, top * root)[..., 0]


def update_ratio(net: Any, before: Any, after: Any) -> dict[str, Any]:
    r"""How far a step went for the weights it changed, :math:`\|\Delta\theta_i\|/\|\theta_i\|`.

    A rule of thumb for SGD asks for about 1e-3. It is inf where all weights were 0, as biases are
    at the start, and nan where they also stayed.

    Parameters
    ----------
    net : Sequential
    before, after : array, shape (..., P)
        The parameters before and after the step.

    Returns
    -------
    dict
        For each name of ``net.unpack`` an array of the replicas' shape.

    References
    ----------
    Karpathy (2016), "CS231n: neural networks 3", Stanford course notes.

    Examples
    --------
    >>> from companion.layers import Linear
    >>> from companion.network import Sequential
    >>> net = Sequential(Linear(1, 2))
    >>> before = np.array([3.0, 4.0, 1.0, 0.0])
    >>> ratios = update_ratio(net, before, before - np.array([0.0, 5e-3, 0.0, 0.1]))
    >>> {name: float(ratio.round(6)) for name, ratio in ratios.items()}
    {'0.weight': 0.001, '0.bias': 0.1}
    """
    before, _ = as_float(before, "before")
    after = like(as_float(after, "after")[0], before)
    check_shape(after, before.shape, "after")
    pairs = zip(net.unpack(before).items(), net.unpack(after).values(), strict=True)
    ratios = {}
    with np.errstate(all="ignore"):
        for (name, old), new in pairs:
            shape = (*before.shape[:-1], -1)
            xp = namespace(old)
            top, _, root = _scaled(xp.reshape(old, shape))
            own_top, _, own_root = _scaled(xp.reshape(new - old, shape))
            ratios[name] = (own_top / top * (own_root / root))[..., 0]
    return ratios


def _scaled(x: Any) -> tuple[Any, Any, Any]:
    """Return the largest size m of the entries, x/m, and the norm of that, which is at least 1.

    For x = 0, and without entries, they are 0, 0 and 1, which gives autograd no root of 0. To
    autograd m is a constant: the norm, m times that of x/m, does not depend on it.
    """
    xp = namespace(x)
    if 0 in x.shape[-1:]:
        top = like(np.zeros((*x.shape[:-1], 1)), x)
    else:
        top = constant(largest(xp.abs(x), keepdims=True))
    u = x / xp.where(top == 0, 1, top)
    return top, u, xp.sqrt(xp.where(top == 0, 1, total(u * u, keepdims=True)))


def _clipped(grad: Any, bound: Any, eps: Any) -> Any:
    xp = namespace(grad)
    top, u, root = _scaled(grad)
    m = xp.where(top == 0, 1, top)
    # c/(|g| + eps) is length/m; the first form does not overflow, the second not underflow
    length = xp.where(m > 1, bound / (root + eps / m), bound * (m / (m * root + eps)))
    is_long = ~(length >= m) & (top != 0)  # so that what is not finite becomes nan
    return xp.where(is_long, u * length, grad)


def _bound(value: Any, grad: Any, name: str) -> Any:
    """Return a bound as an array like grad, or say what it is not.

    It must be a number or numbers, not negative, not nan, and leave grad its shape.
    """
    is_number = isinstance(value, (int, float))
    if not is_number:
        value, _ = as_float(value, name)
    known = value >= 0 if is_number else not inspectable(value) or np.all(to_numpy(value) >= 0)
    if not known:
        raise ValueError(f"{name} must not be negative; got {value}")
    bound = like(value, grad)
    own, shape = tuple(bound.shape), tuple(grad.shape)
    if not fits(own, shape):
        raise ValueError(f"{name} must broadcast into grad's shape {shape}; got shape {own}")
    return bound
