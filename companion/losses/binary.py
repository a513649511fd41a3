"""Cross-entropy of two classes from one logit (chapter 3, section 3)."""

from __future__ import annotations

from typing import Any

from companion.backend import (
    as_float,
    by_rows,
    inspectable,
    namespace,
    smallest,
    vectorwise,
)
from companion.losses.base import divisor, fractions, pair, reduced, size


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

    As :math:`c\,y\,\mathrm{softplus}(-z)+(1-y)\,\mathrm{softplus}(z)`, terms that are never
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
    loss, _ = by_rows(_bce, logits, *_sides(logits, target, pos_weight), 1, "value", axes=0)
    return reduced(loss, reduction, axis)


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
    count = divisor(reduction, size(logits, axis))
    return by_rows(_bce, logits, *_sides(logits, target, pos_weight), count, "grad", axes=0)[1]


@vectorwise("logits")
def _bce_both(
    logits: Any,
    target: Any,
    *,
    pos_weight: Any = None,
    reduction: str = "mean",
    axis: Any = None,
) -> tuple[Any, Any]:
    count = divisor(reduction, size(logits, axis))
    sides = _sides(logits, target, pos_weight)
    loss, grad = by_rows(_bce, logits, *sides, count, "both", axes=0)
    return reduced(loss, reduction, axis), grad


def _sides(logits: Any, target: Any, pos_weight: Any) -> tuple[Any, Any]:
    """Return the weights of the answers yes and no, once they are checked."""
    target = fractions(target, logits)
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


def _bce(x: Any, yes: Any, no: Any, count: int, wanted: str) -> tuple[Any, Any]:
    """Return the losses and their gradient over `count`; None for what is not wanted."""
    # without `where`, which takes as long as two logarithms
    xp, big = namespace(x), float(namespace(x).finfo(x.dtype).max)
    up = xp.astype(x >= 0, x.dtype)
    down = 1 - up
    s = up - down
    a = s * x  # |x|, with the derivative 1 at 0: that of abs would be 0
    against, for_it = no * up + yes * down, yes * up + no * down
    t = xp.exp(-a)
    loss = grad = None
    if wanted != "grad":
        # an infinite loss with a weight of 0 is no loss: a is cut at 0, else at infinity
        linear = against * xp.minimum(a, against * big * big)
        loss = linear + (yes + no) * xp.log1p(t)
    if wanted != "value":
        # against - for_it t, where neither a small t nor equal weights cancel
        grad = (against - for_it) * t - against * xp.expm1(-a)
        grad = s * grad / ((1 + t) * count)
    return loss, grad


pair(binary_cross_entropy_with_logits, binary_cross_entropy_with_logits_grad, _bce_both)
