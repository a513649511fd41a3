"""Cross-entropy from logits (chapter 3, section 3)."""

from __future__ import annotations

from typing import Any

from companion.activations.groups import _exponentials
from companion.backend import entries, is_torch, namespace, pick, replaced, total, vectorwise
from companion.losses.base import divisor, labels, pair, reduced


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
    at = entries(t, labels(target, logits))
    log_own = pick(d, at) + (pick(e, at) if hasattr(e, "dtype") else e)
    others = replaced(t, at, 0.0)
    return log_own, namespace(t).exp(log_own), total(others), others, at


def _cross_entropy(log_own: Any, own: Any, rest: Any, reduction: str) -> Any:
    # where the target is the largest, own - 1 is 0, and nothing of the rest is lost
    loss = namespace(own).log1p(rest + (own - 1)) - log_own
    return reduced(loss, reduction, -1)


def _cross_entropy_grad(own: Any, rest: Any, others: Any, at: Any, reduction: str) -> Any:
    scale = (own + rest) * divisor(reduction, own.shape[-1])
    return replaced(others, at, -rest) / scale[..., None]


pair(cross_entropy, cross_entropy_grad, _cross_entropy_both)
