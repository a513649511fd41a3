"""What the losses share: reductions, checks, and how a loss finds its derivative."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import (
    _cast,
    as_float,
    inspectable,
    largest,
    namespace,
    smallest,
    to_numpy,
    total,
)

#: How far the probabilities of a sample may add up to something else than 1: bfloat16 has 8 bits.
TOLERANCE = 1e-2

#: loss -> its gradient, both in one pass, and the weights of a mean
_PAIRS: dict[Any, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {}


def pair(
    loss: Callable[..., Any],
    grad: Callable[..., Any],
    both: Callable[..., Any] | None = None,
    weights: Callable[..., Any] | None = None,
) -> None:
    """Make known that `grad` is the derivative of `loss`, and `both` gives the two in one pass.

    A mean that does not divide by the number of its samples has a function of what it divides by
    the sum of: ``weights(target, like, **options)`` in the shape of the labels and the dtype of
    the array `like`, or None where the options make it a plain mean.
    """

    def one_after_the_other(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return loss(*args, **kwargs), grad(*args, **kwargs)

    def all_alike(target: Any, like: Any, **options: Any) -> None:
        return None

    _PAIRS[loss] = grad, both or one_after_the_other, weights or all_alike


def grad_of(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Find the derivative that belongs to a loss; a ``functools.partial`` keeps its options.

    Examples
    --------
    >>> from companion.losses import cross_entropy
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
    >>> from companion.losses import mse_loss
    >>> value_and_grad(mse_loss)([1.0, 2.0], [0.0, 4.0])
    (np.float64(2.5), array([ 1., -2.]))
    """
    return _found(loss, 1)


def weights_of(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that says what weight each label has in the mean (see :func:`pair`)."""
    return _found(loss, 2)


def _found(loss: Callable[..., Any], which: int) -> Callable[..., Any]:
    if isinstance(loss, functools.partial):
        return functools.partial(_found(loss.func, which), *loss.args, **loss.keywords)
    if loss not in _PAIRS:
        names = ", ".join(f.__name__ for f in _PAIRS)
        raise ValueError(f"loss must be one of {names}; got {loss!r}")
    return _PAIRS[loss][which]


def as_array(target: Any) -> Any:
    """Return a list as an array, an empty one of labels; an array as it is, NumPy's labels wide."""
    if not hasattr(target, "dtype"):
        target = np.asarray(target)
        return target if target.size else target.astype(np.int64)
    if isinstance(target, np.ndarray) and target.dtype.kind in "iu":
        return target.astype(np.int64, copy=False)
    return target


def holds_labels(target: Any) -> bool:
    """Tell class indices from probabilities, by their dtype."""
    kind, xp = target.dtype, namespace(target)
    return bool(kind.kind in "iu" if xp is np else xp.isdtype(kind, "integral"))


def labels(target: Any, logits: Any, ignore_index: int | None = None) -> Any:
    """Return the labels on the device of the logits, once they are checked; 0 for the ignored."""
    target = as_array(target)
    xp = namespace(target)
    if not holds_labels(target):
        raise TypeError(f"target must hold integer labels; got dtype {target.dtype}")
    shape, n_shape = tuple(logits.shape), tuple(target.shape)
    if len(shape) < 2 or not n_shape or n_shape != shape[-1 - len(n_shape) : -1]:
        raise ValueError(
            f"logits must have shape (..., n, k) and target (..., n); got {shape} and {n_shape}"
        )
    if ignore_index is not None:
        target = xp.where(target == ignore_index, xp.zeros_like(target), target)
    in_range(target, shape[-1])
    xp = namespace(logits)  # its gathers want one kind of integer
    return xp.asarray(target, dtype=xp.int64, device=logits.device)


def of_classes(values: Any, index: Any) -> Any:
    """Return for each label the value of its class, ``(k,),(...)->(...)``."""
    xp = namespace(values)
    return xp.reshape(xp.take(values, xp.reshape(index, (-1,)), axis=0), tuple(index.shape))


def in_range(target: Any, k: int) -> None:
    """Say so if labels are not 0 to k-1."""
    if inspectable(target) and math.prod(target.shape):
        low, high = int(smallest(target, None)), int(largest(target, None))
        if low < 0 or high >= k:
            raise ValueError(f"target must hold labels 0 to {k - 1}; got {low} to {high}")


def difference(prediction: Any, target: Any) -> Any:
    """Return prediction - target, once their shapes are checked."""
    return prediction - matched(target, prediction)


def matched(target: Any, prediction: Any, names: tuple[str, str] = ("target", "prediction")) -> Any:
    """Return the target in dtype and on device of the prediction, once its shape is checked."""
    target = as_float(target, names[0])[0]
    shape, wanted = tuple(prediction.shape), tuple(target.shape)
    if wanted != shape[len(shape) - len(wanted) :]:
        raise ValueError(
            f"{names[0]} must have the shape of {names[1]}, but for leading axes; "
            f"got {wanted} for {shape}"
        )
    if namespace(target) is namespace(prediction):  # asarray would cut the autograd graph
        return _cast(target, prediction.dtype)
    return namespace(prediction).asarray(target, dtype=prediction.dtype, device=prediction.device)


def fractions(target: Any, prediction: Any) -> Any:
    """Return the target in the same way, once it is seen to hold numbers from 0 to 1."""
    target = matched(target, prediction)
    if inspectable(target) and math.prod(target.shape):
        low, high = _number(smallest(target, None)), _number(largest(target, None))
        if not 0 <= low <= high <= 1:
            raise ValueError(f"target must hold numbers from 0 to 1; got {low} to {high}")
    return target


def distribution(p: Any, axis: Any, name: str) -> Any:
    """Return p, once it is seen to hold probabilities that sum to one along `axis`."""
    if inspectable(p) and math.prod(p.shape):
        if not (low := _number(smallest(p, None))) >= 0:
            raise ValueError(f"{name} must hold probabilities, 0 or more; got {low}")
        sums_to_one(total(p, axis), name, "probabilities")
    return p


def sums_to_one(sums: Any, name: str, what: str) -> None:
    """Say so if one of the sums is not 1."""
    low, high = _number(smallest(sums, None)), _number(largest(sums, None))
    worst = low if 1 - low > high - 1 else high
    if not abs(worst - 1) <= TOLERANCE:
        raise ValueError(f"{name} must hold {what} that sum to 1; got a sum of {worst:.6g}")


def _number(x: Any) -> float:
    return float(to_numpy(x))  # torch warns where a gradient would be lost


def reduced(loss: Any, reduction: str, axis: Any, count: Any = None) -> Any:
    """Reduce the losses of the samples, or of all entries, along `axis`; None for all axes.

    The mean divides by `count`, if that is not how many there are.
    """
    if _check(reduction) == "none":
        return loss
    found = total(loss, axis)
    if reduction == "sum":
        return found
    if count is None:
        count = size(loss, axis) or 1  # the mean over nothing is 0
    return found / count


def divisor(reduction: str, count: int) -> int:
    """Return what a reduction over `count` losses divides the gradient by."""
    return count if _check(reduction) == "mean" else 1


def size(x: Any, axis: Any) -> int:
    """Count the entries along the axes, all for None."""
    if isinstance(axis, int):
        return x.shape[axis]
    return math.prod(x.shape if axis is None else [x.shape[i] for i in axis])


def _check(reduction: str) -> str:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none'; got {reduction!r}")
    return reduction
