"""Cross-entropy from logits and what belongs to it (chapter 3, section 3)."""

from __future__ import annotations

import functools
import math
from typing import Any

from companion.backend import (
    _cast,
    as_float,
    by_rows,
    entries,
    inspectable,
    largest,
    namespace,
    pick,
    replaced,
    smallest,
    total,
    vectorwise,
    zeros_like,
)
from companion.losses.base import (
    as_array,
    distribution,
    divisor,
    holds_labels,
    in_range,
    labels,
    matched,
    of_classes,
    pair,
    reduced,
)


@vectorwise("logits")
def cross_entropy(
    logits: Any,
    target: Any,
    *,
    weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    r"""Softmax cross-entropy from logits, :math:`-\log p_t=\log\sum_j e^{z_j}-z_t`.

    Core signature ``(n,k),(n)->()`` for labels and ``(n,k),(n,k)->()`` for probabilities q, with
    which it is :math:`-\sum_jq_j\log p_j`; leading axes are replicas.

    As :math:`\log(1+s)` with s the sum of all other exponentials, so that a right answer that is
    nearly certain has its small loss: ``logsumexp(z) - z_t`` gives 0 there.

    Parameters
    ----------
    logits : array, shape (..., n, k)
    target : integer array, shape (..., n), or array of probabilities, shape (..., n, k)
        Classes 0 to k-1; leading axes may be left out where the replicas share them.
    weight : array, shape (k,), optional
        Weight of each class, :math:`-\sum_jw_jq_j\log p_j`. With labels the mean divides by the
        sum of the targets' weights, with probabilities by n: both are torch's.
    label_smoothing : float, default 0.0
        Mix the targets with the uniform distribution, :math:`(1-\varepsilon)q+\varepsilon/k`, as
        Szegedy and torch do; for the other convention see :func:`smooth_labels`.
    ignore_index : int, optional
        Samples with this label add nothing, and the mean is over the rest. Torch's default is
        -100, ours that no label is left out.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples. The mean over no sample, or over weights of 0, is 0, so that it adds
        nothing to a larger batch; torch gives nan.

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction.

    Raises
    ------
    TypeError
        If `target` holds neither integers nor real numbers, or `ignore_index` comes with
        probabilities.
    ValueError
        If the shapes do not fit, a label is out of range, a weight or probability is negative, or
        a sample's probabilities do not add up to 1 (to 0.01). Values are looked at on the CPU
        only, and not inside a compiled graph.

    References
    ----------
    Bridle (1990), "Training stochastic model recognition algorithms as networks can lead to
    maximum mutual information estimation of parameters".

    Examples
    --------
    >>> cross_entropy([[2.0, 0.0], [0.0, 40.0]], [0, 1], reduction="none")
    array([1.26928011e-01, 4.24835426e-18])
    >>> float(cross_entropy([[2.0, 0.0], [0.0, 0.0]], [0, 1], weight=[1.0, 3.0]).round(4))
    0.5516
    """
    return _evaluate(logits, target, weight, label_smoothing, ignore_index, reduction, "value")[0]


@vectorwise("logits")
def cross_entropy_grad(
    logits: Any,
    target: Any,
    *,
    weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    r"""Derivative of :func:`cross_entropy` in the logits, :math:`p-e_t`, over n for the mean.

    With probabilities and weights it is :math:`p\sum_jw_jq_j-w\odot q`.

    The entry of the target, :math:`p_t-1`, is minus the sum of the other probabilities: the
    subtraction would give 0 once :math:`p_t` rounds to 1.

    Examples
    --------
    >>> cross_entropy_grad([[0.0, 40.0]], [1])
    array([[ 4.24835426e-18, -4.24835426e-18]])
    """
    return _evaluate(logits, target, weight, label_smoothing, ignore_index, reduction, "grad")[1]


@vectorwise("logits")
def _cross_entropy_both(
    logits: Any,
    target: Any,
    *,
    weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Any, Any]:
    return _evaluate(logits, target, weight, label_smoothing, ignore_index, reduction, "both")


def _evaluate(
    logits: Any,
    target: Any,
    weight: Any,
    label_smoothing: float,
    ignore_index: int | None,
    reduction: str,
    wanted: str,
) -> tuple[Any, Any]:
    """Return the reduced loss and its gradient; None for what is not wanted."""
    target = as_array(target)
    count: Any = divisor(reduction, logits.shape[-2] if logits.ndim > 1 else 1)
    soft = label_smoothing != 0 or not holds_labels(target)
    if not soft and weight is None and ignore_index is None:  # the usual case, at once
        loss, grad = by_rows(_of_labels, logits, labels(target, logits), count, wanted)
        return None if loss is None else reduced(loss, reduction, -1), grad

    if weight is not None:
        weight = _class_weights(weight, logits)
    if holds_labels(target):
        q = labels(target, logits, ignore_index)
    elif ignore_index is None:
        q = namespace(logits).broadcast_to(_probabilities(target, logits), logits.shape)
    else:
        raise TypeError("target must hold integer labels where ignore_index is given")
    own = weights(target, logits, weight=weight, ignore_index=ignore_index)
    if own is not None:
        count = _count(own, reduction)
    if soft:
        keep = None if ignore_index is None else weights(target, logits, ignore_index=ignore_index)
        formula = functools.partial(_of_shares, weight=weight, epsilon=label_smoothing)
        loss, grad = by_rows(formula, logits, q, keep, count, wanted)
    else:
        loss, grad = by_rows(_of_labels, logits, q, count / own, wanted)
        loss = _weighted(loss, own)
    return _reduced(loss, reduction, own, count), grad


def _count(own: Any, reduction: str) -> Any:
    """Return what the mean of weighted samples divides by: 1 instead of 0, so that it is 0."""
    if divisor(reduction, 0):
        return 1
    xp, count = namespace(own), total(own, -1, True)
    return xp.where(count == 0, xp.ones_like(count), count)


def _weighted(loss: Any, own: Any) -> Any:
    """Return the losses times their weights: 0 for a weight of 0, even where the loss is inf."""
    if loss is None or own is None:
        return loss
    xp = namespace(loss)
    return xp.where(own == 0, xp.zeros_like(loss), own * loss)


def _reduced(loss: Any, reduction: str, own: Any, count: Any) -> Any:
    if loss is None:
        return None
    plain = own is None or reduction != "mean"
    return reduced(loss, reduction, -1, None if plain else count[..., 0])


def _of_labels(z: Any, target: Any, scale: Any, wanted: str) -> tuple[Any, Any]:
    """Return the losses of rows of logits, and their gradients over `scale`."""
    log_own, own, rest, others, at = odds(z, target)
    loss = grad = None
    if wanted != "grad":
        # where the target is the largest, own - 1 is 0, and nothing of the rest is lost
        loss = namespace(own).log1p(rest + (own - 1)) - log_own
    if wanted != "value":
        grad = replaced(others, at, -rest) / ((own + rest) * scale)[..., None]
    return loss, grad


def odds(z: Any, target: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return log(t) and t = exp(z - max z) at the target, the sum of t over all other classes,
    these t with 0 at the target, and where that is.
    """
    d = z - largest(z, -1, True)
    xp, at = namespace(d), entries(d, target)
    log_own = pick(d, at)
    others = replaced(xp.exp(d), at, 0.0)
    return log_own, xp.exp(log_own), total(others), others, at


def _of_shares(
    z: Any, target: Any, keep: Any, scale: Any, wanted: str, *, weight: Any, epsilon: float
) -> tuple[Any, Any]:
    """Do the same where each class has its share in the loss, and rows with a `keep` of 0 none."""
    xp, d = namespace(z), z - largest(z, -1, True)
    is_label = target.ndim < z.ndim
    q = replaced(zeros_like(d), entries(d, target), 1.0) if is_label else target + 0  # a copy
    a = _smoothed(q, z.shape[-1], epsilon, "all")
    a = a if weight is None else a * weight
    a = a if keep is None else a * keep[..., None]
    i, j = xp.argmax(d, axis=-1), xp.argmax(a, axis=-1)
    at_i, at_j = entries(d, i), entries(a, j)
    a_i, a_j = pick(a, at_i), pick(a, at_j)
    loss = grad = None
    if wanted != "grad":
        a_d = a * d
        # a class without a share may be at -inf; `where` takes as long as half of all the rest
        if not (inspectable(d) and bool(xp.all(d > -math.inf))):
            a_d = xp.where((a_d != a_d) & (d == d), zeros_like(d), a_d)
        linear = total(a_d)
    t = xp.exp(d)
    t_j = pick(t, at_j)
    t, a = replaced(t, at_i, 0.0), replaced(a, at_j, 0.0)
    rest, less = total(t), total(a)  # without the largest, 1 and a_j
    sum_t, sum_a = 1 + rest, a_j + less
    if wanted != "grad":
        loss = sum_a * xp.log1p(rest) - linear
    if wanted != "value":
        t, a = replaced(t, at_i, 1.0), replaced(a, at_j, a_j)
        grad = t * sum_a[..., None] - a * sum_t[..., None]
        # the same where one of the two is most of its sum, and the difference would cancel
        first = xp.where(i == j, less, sum_a - a_i) - a_i * rest
        second = t_j * less - a_j * xp.where(i == j, rest, sum_t - t_j)
        grad = replaced(replaced(grad, at_i, first), at_j, second)
        grad = grad / (sum_t * scale)[..., None]
    return loss, grad


def weights(
    target: Any, like: Any, *, weight: Any = None, ignore_index: int | None = None, **_: Any
) -> Any:
    """Return what the mean divides by the sum of, or None where it divides by n."""
    if not holds_labels(target) or (weight is None and ignore_index is None):
        return None
    xp = namespace(like)
    target = xp.asarray(target, dtype=xp.int64, device=like.device)
    keep = target == target if ignore_index is None else target != ignore_index
    own = xp.astype(keep, like.dtype)
    if weight is None:
        return own
    weight = xp.asarray(as_float(weight, "weight")[0], dtype=like.dtype, device=like.device)
    index = xp.where(keep, target, xp.zeros_like(target))
    in_range(index, weight.shape[0])
    return own * of_classes(weight, index)


def _class_weights(weight: Any, logits: Any) -> Any:
    """Return the weights of the classes in the dtype of the logits, once they are checked."""
    weight, k = as_float(weight, "weight")[0], logits.shape[-1]
    if tuple(weight.shape) != (k,):
        raise ValueError(f"weight must have shape {(k,)}; got {tuple(weight.shape)}")
    if inspectable(weight) and not float(smallest(weight)) >= 0:
        raise ValueError(f"weight must hold numbers of at least 0; got {float(smallest(weight))}")
    return namespace(logits).asarray(weight, dtype=logits.dtype, device=logits.device)


def _probabilities(target: Any, logits: Any) -> Any:
    """Return the probabilities in the dtype of the logits, once they are checked."""
    target, shape = as_float(target, "target")[0], tuple(logits.shape)
    n_shape = tuple(target.shape)
    if len(n_shape) < 2 or n_shape != shape[-len(n_shape) :]:
        raise ValueError(
            "target must hold integer labels, shape (..., n), or probabilities in the shape of "
            f"logits, but for leading axes; got {target.dtype} {n_shape} for {shape}"
        )
    return matched(distribution(target, -1, "target"), logits)


def smooth_labels(target: Any, num_classes: int, epsilon: float = 0.1, *, over: str = "all") -> Any:
    r"""Return target probabilities that leave :math:`\varepsilon` to the classes at large.

    Parameters
    ----------
    target : integer array, shape (..., n), or array of probabilities, shape (..., n, k)
    num_classes : int
        k.
    epsilon : float, default 0.1
        0 to 1.
    over : {"all", "others"}, default "all"
        What :math:`\varepsilon` is spread over: all k classes,
        :math:`(1-\varepsilon)q+\varepsilon/k`, as Szegedy, torch, Keras and optax do and
        ``cross_entropy(..., label_smoothing=epsilon)`` does; or all but the target's,
        :math:`1-\varepsilon` and :math:`\varepsilon/(k-1)`. The second with
        :math:`\varepsilon'=\varepsilon(k-1)/k` is the first with :math:`\varepsilon`.

    Returns
    -------
    array, shape (..., n, k)

    References
    ----------
    Szegedy, Vanhoucke, Ioffe, Shlens and Wojna (2016), "Rethinking the Inception architecture for
    computer vision"; He et al. (2019), "Bag of tricks for image classification with convolutional
    neural networks", for the second.

    Examples
    --------
    >>> smooth_labels([2], 4, 0.1)
    array([[0.025, 0.025, 0.925, 0.025]])
    >>> smooth_labels([2], 4, 0.075, over="others")
    array([[0.025, 0.025, 0.925, 0.025]])
    """
    target = as_array(target)
    if holds_labels(target):
        in_range(target, num_classes)
        xp = namespace(target)
        hit = target[..., None] == xp.arange(num_classes, device=target.device)
        target = xp.astype(hit, target.dtype)
    else:
        target = _probabilities(target, target)
        if target.shape[-1] != num_classes:
            raise ValueError(
                f"target must have {num_classes} probabilities a sample; got {target.shape[-1]}"
            )
    target, dtype = as_float(target)
    return _cast(_smoothed(target, num_classes, epsilon, over), dtype)


def _smoothed(q: Any, k: int, epsilon: float, over: str) -> Any:
    if not 0 <= epsilon <= 1:
        raise ValueError(f"label smoothing must be 0 to 1; got {epsilon!r}")
    if over not in ("all", "others"):
        raise ValueError(f"over must be 'all' or 'others'; got {over!r}")
    if over == "others" and k < 2:
        raise ValueError(f"num_classes must be at least 2 for over='others'; got {k}")
    if epsilon == 0:
        return q
    return (1 - epsilon) * q + (epsilon / k if over == "all" else epsilon * (1 - q) / (k - 1))


pair(cross_entropy, cross_entropy_grad, _cross_entropy_both, weights)


@vectorwise("logits")
def z_loss(
    logits: Any, target: Any, *, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    r"""Square of the logarithm of softmax's denominator, :math:`(\log\sum_j e^{z_j})^2`.

    Core signature ``(n,k),(n)->()``; leading axes are replicas. Added to the cross-entropy with a
    small factor, 1e-4 in PaLM, it holds the sum of the exponentials near 1, which the
    cross-entropy leaves open: it does not change when all logits of a sample grow by a constant.

    Parameters
    ----------
    logits : array, shape (..., n, k)
    target : integer array, shape (..., n)
        Labels as for :func:`cross_entropy`. Only which of them are ignored matters.
    ignore_index : int, optional
        Samples with this label add nothing, and the mean is over the rest.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples.

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction.

    References
    ----------
    Chowdhery et al. (2022), "PaLM: Scaling language modeling with Pathways", section 5.

    Examples
    --------
    >>> float(z_loss([[0.0, 0.0]], [1]).round(4)), float(z_loss([[10.0, 10.0]], [1]).round(4))
    (0.4805, 114.3434)
    """
    return _z_loss(logits, target, ignore_index, reduction)[0]


@vectorwise("logits")
def z_loss_grad(
    logits: Any, target: Any, *, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    r"""Derivative of :func:`z_loss` in the logits, :math:`2p\log\sum_je^{z_j}`.

    Examples
    --------
    >>> z_loss_grad([[0.0, 0.0]], [1]).round(4)
    array([[0.6931, 0.6931]])
    """
    return _z_loss(logits, target, ignore_index, reduction)[1]


@vectorwise("logits")
def _z_loss_both(
    logits: Any, target: Any, *, ignore_index: int | None = None, reduction: str = "mean"
) -> tuple[Any, Any]:
    return _z_loss(logits, target, ignore_index, reduction)


def _z_loss(logits: Any, target: Any, ignore_index: int | None, reduction: str) -> tuple[Any, Any]:
    target = as_array(target)
    labels(target, logits, ignore_index)
    own = weights(target, logits, ignore_index=ignore_index)
    count: Any = divisor(reduction, logits.shape[-2])
    if own is not None:
        count = _count(own, reduction)
    loss, grad = by_rows(_of_sums, logits, count if own is None else count / own)
    return _reduced(_weighted(loss, own), reduction, own, count), grad


def _of_sums(z: Any, scale: Any) -> tuple[Any, Any]:
    m = largest(z, -1, True)
    xp = namespace(z)
    d = z - m
    t, at = xp.exp(d), entries(d, xp.argmax(d, axis=-1))
    others = replaced(t, at, 0.0)
    rest = total(others)
    log_sum = m[..., 0] + xp.log1p(rest)
    slope = 2 * log_sum / ((1 + rest) * scale)
    return log_sum * log_sum, replaced(others, at, 1.0) * slope[..., None]


pair(z_loss, z_loss_grad, _z_loss_both, weights)
