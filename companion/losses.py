"""Losses and, beside each, its derivative with respect to the prediction.

Leading axes are replicas: a loss over ``(..., n, k)`` has shape ``(...)``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.activations.groups import _exponentials
from companion.backend import (
    as_float,
    entries,
    inspectable,
    is_torch,
    largest,
    namespace,
    pick,
    replaced,
    smallest,
    total,
    vectorwise,
)


@vectorwise("logits")
def cross_entropy(logits: Any, target: Any, *, reduction: str = "mean") -> Any:
    r"""Softmax cross-entropy from logits, :math:`-\log p_t=\log\sum_j e^{z_j}-z_t`.

    Core signature ``(n,k),(n)->()``; leading axes are replicas.

    As :math:`\log(1+s)` with s the sum of all other exponentials, so that a right answer that is
    nearly certain has its small loss: ``logsumexp(z) - z_t`` gives 0 there.

    Parameters
    ----------
    logits : array, shape (..., n, k)
    target : integer array, shape (..., n)
        Classes 0 to k-1; leading axes may be left out where the replicas share them.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples.

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction.

    Raises
    ------
    TypeError
        If `target` does not hold integers.
    ValueError
        If the shapes do not fit, or a label is out of range. The labels themselves are looked at
        on the CPU only, and not inside a compiled graph.

    References
    ----------
    Bridle (1990), "Training stochastic model recognition algorithms as networks can lead to
    maximum mutual information estimation of parameters".

    Examples
    --------
    >>> cross_entropy([[2.0, 0.0], [0.0, 40.0]], [0, 1], reduction="none")
    array([1.26928011e-01, 4.24835426e-18])
    """
    return _cross_entropy(*_odds(logits, target)[:3], reduction)


@vectorwise("logits")
def cross_entropy_grad(logits: Any, target: Any, *, reduction: str = "mean") -> Any:
    r"""Derivative of :func:`cross_entropy` in the logits, :math:`p-e_t`, over n for the mean.

    The entry of the target, :math:`p_t-1`, is minus the sum of the other probabilities: the
    subtraction would give 0 once :math:`p_t` rounds to 1.

    Examples
    --------
    >>> cross_entropy_grad([[0.0, 40.0]], [1])
    array([[ 4.24835426e-18, -4.24835426e-18]])
    """
    return _cross_entropy_grad(*_odds(logits, target)[1:], reduction)


@vectorwise("logits")
def _cross_entropy_both(logits: Any, target: Any, *, reduction: str = "mean") -> tuple[Any, Any]:
    log_own, own, rest, others, at = _odds(logits, target)
    value = _cross_entropy(log_own, own, rest, reduction)
    return value, _cross_entropy_grad(own, rest, others, at, reduction)


def _odds(logits: Any, target: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return log(t) and t = exp(z - max z) at the target, the sum of t over all other classes,
    these t with 0 at the target, and where that is.
    """
    d, e, t = _exponentials(logits, -1, 1.0, exact=not is_torch(logits))
    at = entries(t, _labels(target, logits))
    log_own = pick(d, at) + (pick(e, at) if hasattr(e, "dtype") else e)
    others = replaced(t, at, 0.0)
    return log_own, namespace(t).exp(log_own), total(others), others, at


def _cross_entropy(log_own: Any, own: Any, rest: Any, reduction: str) -> Any:
    # where the target is the largest, own - 1 is 0, and nothing of the rest is lost
    loss = namespace(own).log1p(rest + (own - 1)) - log_own
    return _reduce(loss, reduction, -1)


def _cross_entropy_grad(own: Any, rest: Any, others: Any, at: Any, reduction: str) -> Any:
    scale = (own + rest) * _count(reduction, own.shape[-1])
    return replaced(others, at, -rest) / scale[..., None]


@vectorwise("prediction")
def mse_loss(prediction: Any, target: Any, *, reduction: str = "mean", axis: Any = None) -> Any:
    r"""Mean squared error, :math:`\frac1m\sum_i(\hat y_i-y_i)^2` over all :math:`m` entries.

    Parameters
    ----------
    prediction : array, shape (...)
    target : array
        In the shape of `prediction`, whose leading axes it may lack.
    reduction : {"mean", "sum", "none"}, default "mean"
    axis : int or tuple of int, optional
        The axes to reduce; default all. The others are replicas.

    Returns
    -------
    array
        A scalar, or one loss for each replica.

    Examples
    --------
    >>> float(mse_loss([1.0, 2.0], [0.0, 4.0]))
    2.5
    """
    error = _error(prediction, target)
    return _reduce(error * error, reduction, axis)


@vectorwise("prediction")
def mse_loss_grad(
    prediction: Any, target: Any, *, reduction: str = "mean", axis: Any = None
) -> Any:
    r"""Derivative of :func:`mse_loss` in the prediction, :math:`\frac2m(\hat y-y)`.

    Examples
    --------
    >>> mse_loss_grad([1.0, 2.0], [0.0, 4.0])
    array([ 1., -2.])
    """
    return _mse_loss_grad(_error(prediction, target), reduction, axis)


def _mse_loss_grad(error: Any, reduction: str, axis: Any) -> Any:
    return 2 * error / _count(reduction, _size(error, axis))


@vectorwise("prediction")
def _mse_loss_both(
    prediction: Any, target: Any, *, reduction: str = "mean", axis: Any = None
) -> tuple[Any, Any]:
    error = _error(prediction, target)
    return _reduce(error * error, reduction, axis), _mse_loss_grad(error, reduction, axis)


#: loss -> its gradient, and both in one pass
_GRADS = {
    cross_entropy: (cross_entropy_grad, _cross_entropy_both),
    mse_loss: (mse_loss_grad, _mse_loss_both),
}


def grad_of(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Find the derivative that belongs to a loss; a ``functools.partial`` keeps its options.

    Examples
    --------
    >>> grad_of(cross_entropy).__name__
    'cross_entropy_grad'
    """
    return _found(loss, 0)


def value_and_grad(loss: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """Return a function that gives a loss and its derivative, with what they share computed once.

    Both have the bits of the loss and of :func:`grad_of`; a ``functools.partial`` keeps its
    options.

    Examples
    --------
    >>> value_and_grad(mse_loss)([1.0, 2.0], [0.0, 4.0])
    (np.float64(2.5), array([ 1., -2.]))
    """
    return _found(loss, 1)


def _found(loss: Callable[..., Any], which: int) -> Callable[..., Any]:
    if isinstance(loss, functools.partial):
        return functools.partial(_found(loss.func, which), *loss.args, **loss.keywords)
    if loss not in _GRADS:
        names = ", ".join(f.__name__ for f in _GRADS)
        raise ValueError(f"loss must be one of {names}; got {loss!r}")
    return _GRADS[loss][which]


def _labels(target: Any, logits: Any) -> Any:
    """Return the labels on the device of the logits, once they are checked."""
    if not hasattr(target, "dtype"):
        target = np.asarray(target)
    labels = namespace(target)
    kind = target.dtype
    if not (kind.kind in "iu" if labels is np else labels.isdtype(kind, "integral")):
        raise TypeError(f"target must hold integer labels; got dtype {target.dtype}")
    shape, n_shape = tuple(logits.shape), tuple(target.shape)
    if len(shape) < 2 or not n_shape or n_shape != shape[-1 - len(n_shape) : -1]:
        raise ValueError(
            f"logits must have shape (..., n, k) and target (..., n); got {shape} and {n_shape}"
        )
    if inspectable(target) and math.prod(n_shape):
        low, high = int(smallest(target, None)), int(largest(target, None))
        if low < 0 or high >= shape[-1]:
            raise ValueError(f"target must hold labels 0 to {shape[-1] - 1}; got {low} to {high}")
    return namespace(logits).asarray(target, device=logits.device)


def _error(prediction: Any, target: Any) -> Any:
    target = as_float(target, "target")[0]
    shape, wanted = tuple(prediction.shape), tuple(target.shape)
    if wanted != shape[len(shape) - len(wanted) :]:
        raise ValueError(
            f"target must have the shape of prediction, but for leading axes; "
            f"got {wanted} for {shape}"
        )
    return prediction - namespace(prediction).asarray(
        target, dtype=prediction.dtype, device=prediction.device
    )


def _reduce(loss: Any, reduction: str, axis: Any) -> Any:
    if _check_reduction(reduction) == "none":
        return loss
    found = total(loss, axis)
    return found / _size(loss, axis) if reduction == "mean" else found


def _count(reduction: str, count: int) -> int:
    return count if _check_reduction(reduction) == "mean" else 1


def _size(x: Any, axis: Any) -> int:
    """Count the entries along the axes, all for None."""
    if isinstance(axis, int):
        return x.shape[axis]
    return math.prod(x.shape if axis is None else [x.shape[i] for i in axis])


def _check_reduction(reduction: str) -> str:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none'; got {reduction!r}")
    return reduction
