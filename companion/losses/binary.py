"""Cross-entropy of two classes from one logit (chapter 3, section 3)."""

from __future__ import annotations

import math
from typing import Any

from companion.activations.smooth import softplus
from companion.activations.squashing import sigmoid
from companion.backend import as_float, inspectable, largest, namespace, smallest, vectorwise
from companion.losses.base import divisor, matched, pair, reduced, size


@vectorwise("logits")
def binary_cross_entropy_with_logits(
    logits: Any,
    target: Any,
    *,
    pos_weight: Any = None,
    reduction: str = "mean",
    axis: Any = None,
) -> Any:
    r"""Cross-entropy of yes or no, :math:`-c\,y\log\sigma(z)-(1-y)\log\sigma(-z)`, elementwise.

    As :math:`c\,y\,\mathrm{softplus}(-z)+(1-y)\,\mathrm{softplus}(z)`, two terms that are never
    negative: torch's :math:`(1-y)z+\dots` cancels for a sure and right answer, and is 0 in
    float32 for a target of 0 at a logit of -17.

    Parameters
    ----------
    logits : array, shape (...)
    target : array
        Labels 0 and 1, or probabilities; in the shape of `logits`, whose leading axes it may lack.
    pos_weight : float or array, optional
        Weight c of the positive answers, such as one for each of k questions in ``(..., n, k)``;
        default 1. The mean divides by the number of entries whatever their weights, as in torch.
    reduction : {"mean", "sum", "none"}, default "mean"
    axis : int or tuple of int, optional
        The axes to reduce; default all. The others are replicas.

    Returns
    -------
    array
        A scalar, or one loss for each replica.

    Raises
    ------
    ValueError
        If the shapes do not fit, a target is not within 0 to 1, or a weight is negative. Values
        are looked at on the CPU only, and not inside a compiled graph.

    Examples
    --------
    >>> binary_cross_entropy_with_logits([-40.0, 2.0], [0, 1], reduction="none")
    array([4.24835426e-18, 1.26928011e-01])
    """
    yes, no = _sides(logits, target, pos_weight)
    return _bce(logits, yes, no, reduction, axis)


@vectorwise("logits")
def binary_cross_entropy_with_logits_grad(
    logits: Any,
    target: Any,
    *,
    pos_weight: Any = None,
    reduction: str = "mean",
    axis: Any = None,
) -> Any:
    r"""Derivative of the loss in the logits, :math:`(1-y)\sigma(z)-c\,y\,\sigma(-z)`.

    Not :math:`\sigma(z)-y`, which is 0 for a target of 1 once :math:`\sigma(z)` rounds to 1.

    Examples
    --------
    >>> binary_cross_entropy_with_logits_grad([-40.0, 40.0], [0, 1], reduction="sum")
    array([ 4.24835426e-18, -4.24835426e-18])
    """
    yes, no = _sides(logits, target, pos_weight)
    return _bce_grad(logits, yes, no, reduction, axis)


@vectorwise("logits")
def _bce_both(
    logits: Any,
    target: Any,
    *,
    pos_weight: Any = None,
    reduction: str = "mean",
    axis: Any = None,
) -> tuple[Any, Any]:
    yes, no = _sides(logits, target, pos_weight)
    found = _bce(logits, yes, no, reduction, axis)
    return found, _bce_grad(logits, yes, no, reduction, axis)


def _sides(logits: Any, target: Any, pos_weight: Any) -> tuple[Any, Any]:
    """Return the weights of the answers yes and no, once they are checked."""
    target = matched(target, logits)
    if inspectable(target) and math.prod(target.shape):
        low, high = float(smallest(target, None)), float(largest(target, None))
        if not 0 <= low <= high <= 1:
            raise ValueError(f"target must hold numbers 0 to 1; got {low} to {high}")
    if pos_weight is None:
        return target, 1 - target
    pos_weight = as_float(pos_weight, "pos_weight")[0]
    sizes = zip(pos_weight.shape[::-1], logits.shape[::-1], strict=False)
    if pos_weight.ndim > logits.ndim or any(a not in (1, b) for a, b in sizes):
        raise ValueError(
            f"pos_weight must broadcast to the shape of logits, {tuple(logits.shape)}; "
            f"got {tuple(pos_weight.shape)}"
        )
    if inspectable(pos_weight) and not float(smallest(pos_weight, None)) >= 0:
        raise ValueError(
            f"pos_weight must hold numbers of at least 0; got {float(smallest(pos_weight, None))}"
        )
    weight = namespace(logits).asarray(pos_weight, dtype=logits.dtype, device=logits.device)
    return weight * target, 1 - target


def _bce(logits: Any, yes: Any, no: Any, reduction: str, axis: Any) -> Any:
    # an infinite loss with a weight of 0 is no loss
    up, down = softplus.inner(logits), softplus.inner(-logits)
    xp = namespace(logits)
    up = xp.where(no == 0, xp.zeros_like(up), no * up)
    down = xp.where(yes == 0, xp.zeros_like(down), yes * down)
    return reduced(up + down, reduction, axis)


def _bce_grad(logits: Any, yes: Any, no: Any, reduction: str, axis: Any) -> Any:
    xp = namespace(logits)
    down = sigmoid.inner(-logits)
    far = no * sigmoid.inner(logits) - yes * down
    # near 0 the two may nearly cancel, as for a target of 1/2
    near = down * (no * xp.expm1(logits) + (no - yes))
    grad = xp.where(xp.abs(logits) < 1, near, far)
    return grad / divisor(reduction, size(logits, axis))


pair(binary_cross_entropy_with_logits, binary_cross_entropy_with_logits_grad, _bce_both)
