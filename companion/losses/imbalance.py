"""Losses for classes of unequal size (chapter 3, section 4)."""

from __future__ import annotations

import math
from typing import Any

from companion.activations.squashing import sigmoid, sigmoid_grad
from companion.backend import (
    as_float,
    axis_index,
    by_rows,
    clip,
    inspectable,
    like,
    namespace,
    replaced,
    reshape,
    total,
    vectorwise,
    widen,
)
from companion.losses.base import (
    divisor,
    fractions,
    labels,
    of_classes,
    pair,
    reduced,
    size,
    value_and_grad,
)
from companion.losses.classification import cross_entropy, cross_entropy_grad, odds


@vectorwise("logits")
def sigmoid_focal_loss(
    logits: Any,
    target: Any,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    reduction: str = "mean",
    axis: Any = None,
) -> Any:
    r"""Focal loss of two classes, :math:`-\alpha_t(1-p_t)^\gamma\log p_t`, for each entry.

    With :math:`p=\sigma(x)` and the target y, the factors are
    :math:`\alpha_t=\alpha y+(1-\alpha)(1-y)`, :math:`p_t=py+(1-p)(1-y)`, and in place of
    :math:`-\log p_t` stands the cross-entropy :math:`-y\log p-(1-y)\log(1-p)`; they are the same
    for y = 0 and y = 1.

    The complement is a sum of positive terms, :math:`1-p_t=\sigma(x)(1-y)+\sigma(-x)y`, and its
    power is :math:`e^{\gamma\log(1-p_t)}`: torchvision's ``(1 - p_t) ** gamma`` is 0 from a logit
    of 17 on in float32, and its derivative for :math:`\gamma<1` is then nan.

    Parameters
    ----------
    logits : array, shape (...)
    target : array
        Numbers from 0 to 1, in the shape of `logits`, whose leading axes it may lack.
    alpha : float, default 0.25
        Weight of class 1, from 0 to 1; class 0 has 1 - alpha. None or -1: no weights.
    gamma : float, default 2.0
        Focusing exponent, not negative; 0 is the weighted cross-entropy.
    reduction : {"mean", "sum", "none"}, default "mean"
        torchvision's default is ``"none"``. The paper divides the sum by the number of objects,
        not of entries.
    axis : int or tuple of int, optional
        The axes to reduce; default all. The others are replicas.

    Returns
    -------
    array
        A scalar, or one loss for each replica.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a target, `alpha` or `gamma` is out of range.

    References
    ----------
    Lin, Goyal, Girshick, He and Dollár (2017), "Focal loss for dense object detection".

    Examples
    --------
    >>> sigmoid_focal_loss([0.0, 20.0], [1, 1], reduction="none")
    array([4.33216988e-02, 2.18912768e-27])
    """
    y = fractions(target, logits)
    return reduced(_focal(logits, y, alpha, gamma, 1, "value")[0], reduction, axis)


@vectorwise("logits")
def sigmoid_focal_loss_grad(
    logits: Any,
    target: Any,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    reduction: str = "mean",
    axis: Any = None,
) -> Any:
    r"""Derivative of :func:`sigmoid_focal_loss` in the logits.

    :math:`\alpha_t(1-p_t)^\gamma\,\bigl(1-p_t-\gamma p_t\log p_t\bigr)` for y = 0, the same with
    a minus for y = 1: products and sums of positive terms.

    Examples
    --------
    >>> sigmoid_focal_loss_grad([0.0, 20.0], [1, 1], reduction="none")
    array([-7.45716988e-02, -6.56738303e-27])
    """
    y = fractions(target, logits)
    count = divisor(reduction, size(logits, axis))
    return _focal(logits, y, alpha, gamma, count, "grad")[1]


@vectorwise("logits")
def _sigmoid_focal_loss_both(
    logits: Any,
    target: Any,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    reduction: str = "mean",
    axis: Any = None,
) -> tuple[Any, Any]:
    y = fractions(target, logits)
    count = divisor(reduction, size(logits, axis))
    loss, grad = _focal(logits, y, alpha, gamma, count, "both")
    return reduced(loss, reduction, axis), grad


pair(sigmoid_focal_loss, sigmoid_focal_loss_grad, _sigmoid_focal_loss_both)


def _focal(
    x: Any, y: Any, alpha: float | None, gamma: float, count: int, wanted: str
) -> tuple[Any, Any]:
    """Return the losses and their gradient over `count`; None for what is not wanted."""
    alpha = None if alpha == -1 else alpha
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, or -1 or None for no weights; got {alpha!r}")
    return by_rows(_focal_parts, x, y, alpha, _exponent(gamma), count, wanted, axes=0)


def _exponent(gamma: float) -> float:
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma must be a finite number that is not negative; got {gamma!r}")
    return gamma


def _focal_parts(
    x: Any, y: Any, alpha: float | None, gamma: float, count: int, wanted: str
) -> tuple[Any, Any]:
    terms = _terms(x, y, alpha, gamma)
    loss = None if wanted == "grad" else _focal_value(*terms[:2])
    return loss, None if wanted == "value" else _focal_gradient(gamma, count, *terms)


def _terms(x: Any, y: Any, alpha: float | None, gamma: float) -> tuple[Any, ...]:
    """Return the cross-entropy, its factor, and what the derivative needs besides.

    With the sign s and size a of x and w, the target's share of the class that x speaks against,
    both classes have one formula: in t = exp(-a), 1 - p_t is (w + (1 - w) t)/(1 + t), and the
    cross-entropy is log(1 + t) + w a. Without ``where``, which takes as long as two logarithms.
    """
    xp = namespace(x)
    limits = xp.finfo(x.dtype)
    right = xp.astype(x >= 0, x.dtype)
    s = 2 * right - 1
    a = s * x  # |x|, with the derivative 1 at 0: that of abs would be 0
    w = xp.abs(right - y)
    t = xp.exp(-a)
    log = xp.log1p(t)
    # at most 0 where w is 0, since there an infinite a would give nan; else at most infinity
    bound = w * float(limits.max) * float(limits.max)
    entropy = log + w * xp.minimum(a, bound)
    # t may be 0, where nothing is left of a power of it
    against = clip(w + (1 - w) * t, float(limits.smallest_normal), math.inf)
    scale = xp.exp(gamma * (xp.log(against) - log))
    if alpha is not None:
        scale = scale * (alpha * y + (1 - alpha) * (1 - y))
    return entropy, scale, s, a, w, t, against


def _focal_value(entropy: Any, scale: Any) -> Any:
    return scale * entropy


def _focal_gradient(
    gamma: float, count: int, entropy: Any, scale: Any, s: Any, a: Any, w: Any, t: Any, against: Any
) -> Any:
    # all times 1 + t; p - y is w - (1 - w) t, which for w near 1/2 and small a would cancel
    balance = (2 * w - 1) * t
    first = balance - w * namespace(a).expm1(-a)
    # t times an infinite entropy is 0; the quotient first, since t times t would underflow
    second = balance / against * clip(entropy, 0.0, 1e5)
    return s * scale * (first + gamma * second) / ((1 + t) * count)


@vectorwise("logits")
def softmax_focal_loss(
    logits: Any, target: Any, *, gamma: float = 2.0, alpha: Any = None, reduction: str = "mean"
) -> Any:
    r"""Focal loss of several classes, :math:`-\alpha_t(1-p_t)^\gamma\log p_t` with p the softmax.

    Core signature ``(n,k),(n)->()``; leading axes are replicas.

    :math:`1-p_t` is the sum of the other probabilities, so that a right answer that is nearly
    certain keeps its small loss.

    Parameters
    ----------
    logits : array, shape (..., n, k)
    target : integer array, shape (..., n)
        Classes 0 to k-1; leading axes may be left out where the replicas share them.
    gamma : float, default 2.0
        Focusing exponent, not negative; 0 is the weighted cross-entropy.
    alpha : array, shape (k,), optional
        A weight for each class, such as :func:`class_balanced_weights`; default 1.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples, also with weights: torch's weighted ``cross_entropy`` divides by the
        sum of the weights of the targets instead.

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction.

    Raises
    ------
    TypeError
        If `target` does not hold integers.
    ValueError
        If the shapes do not fit, or a label, a weight or `gamma` is out of range.

    References
    ----------
    Lin, Goyal, Girshick, He and Dollár (2017), "Focal loss for dense object detection".

    Examples
    --------
    >>> softmax_focal_loss([[2.0, 0.0], [0.0, 40.0]], [0, 1], reduction="none")
    array([1.80356284e-03, 7.66764807e-53])
    """
    return reduced(_softmax_focal(logits, target, gamma, alpha)[0], reduction, -1)


@vectorwise("logits")
def softmax_focal_loss_grad(
    logits: Any, target: Any, *, gamma: float = 2.0, alpha: Any = None, reduction: str = "mean"
) -> Any:
    r"""Derivative of :func:`softmax_focal_loss` in the logits.

    :math:`\alpha_t(1-p_t)^\gamma\Bigl(1-\gamma\frac{p_t\log p_t}{1-p_t}\Bigr)\,(p-e_t)`: the
    derivative of the cross-entropy times a positive number.

    Examples
    --------
    >>> softmax_focal_loss_grad([[0.0, 40.0]], [1])
    array([[ 2.30029442e-52, -2.30029442e-52]])
    """
    return _softmax_focal_grad(*_softmax_focal(logits, target, gamma, alpha)[1:], reduction)


@vectorwise("logits")
def _softmax_focal_loss_both(
    logits: Any, target: Any, *, gamma: float = 2.0, alpha: Any = None, reduction: str = "mean"
) -> tuple[Any, Any]:
    found = _softmax_focal(logits, target, gamma, alpha)
    return reduced(found[0], reduction, -1), _softmax_focal_grad(*found[1:], reduction)


pair(softmax_focal_loss, softmax_focal_loss_grad, _softmax_focal_loss_both)


def _softmax_focal(
    logits: Any, target: Any, gamma: float, alpha: Any
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Return the losses, the factor of cross-entropy's derivative, and what that is made of."""
    index = labels(target, logits)
    log_own, own, rest, others, at = odds(widen(logits), index)
    xp = namespace(own)
    log = xp.log1p(rest + (own - 1))  # of own + rest
    entropy = log - log_own
    # the rest may be 0, where nothing is left of a power of it
    against = clip(rest, float(xp.finfo(rest.dtype).smallest_normal), math.inf)
    scale = xp.exp(_exponent(gamma) * (xp.log(against) - log))
    if alpha is not None:
        scale = scale * of_classes(_alphas(alpha, own, logits.shape[-1]), index)
    # an infinite entropy counts nothing where its factor is 0
    factor = scale * (1 + gamma * (own * clip(entropy, 0.0, 1e5) / against))
    loss = xp.where(scale == 0, xp.zeros_like(scale), scale * entropy)
    return loss, factor, own, rest, others, at


def _alphas(weights: Any, own: Any, k: int) -> Any:
    """Return the weights of the classes as an array like `own`, once they are checked."""
    weights = as_float(weights, "alpha")[0]
    if tuple(weights.shape) != (k,):
        raise ValueError(f"alpha must have shape ({k},); got {tuple(weights.shape)}")
    if inspectable(weights) and not bool((weights >= 0).all()):
        raise ValueError(f"alpha must hold no negative weight; got {weights}")
    return like(weights, own)


def _softmax_focal_grad(
    factor: Any, own: Any, rest: Any, others: Any, at: Any, reduction: str
) -> Any:
    scale = factor / ((own + rest) * divisor(reduction, own.shape[-1]))
    return replaced(others, at, -rest) * scale[..., None]


def class_balanced_weights(counts: Any, beta: float = 0.999) -> Any:
    r"""Weights by the effective number of samples, :math:`w_c\propto(1-\beta)/(1-\beta^{n_c})`.

    :math:`\beta=0` weighs all classes alike, :math:`\beta\to1` by :math:`1/n_c`. Between the two,
    classes of many more than :math:`1/(1-\beta)` samples count as equally large.

    Parameters
    ----------
    counts : array, shape (..., k)
        Samples of each class, positive.
    beta : float, default 0.999
        From 0 to less than 1. The paper tries 0.9, 0.99, 0.999 and 0.9999.

    Returns
    -------
    array
        Shape (..., k); as in the paper their sum is k.

    References
    ----------
    Cui, Jia, Lin, Song and Belongie (2019), "Class-balanced loss based on effective number of
    samples".

    Examples
    --------
    >>> class_balanced_weights([1000, 100, 10]).round(3)
    array([0.042, 0.28 , 2.678])
    """
    counts = _counts(counts)
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be from 0 to less than 1; got {beta!r}")
    xp = namespace(counts)
    # 1 - beta^n without its cancellation, which for n = 1 and beta near 1 is total
    log_beta = math.log(beta) if beta else -math.inf
    weights = -1 / xp.expm1(counts * log_beta)
    return weights / (total(weights, keepdims=True) / counts.shape[-1])


def _counts(counts: Any) -> Any:
    counts = as_float(counts, "counts")[0]
    if not counts.ndim:
        raise ValueError("counts must have shape (..., k); got a number")
    if inspectable(counts) and not bool((counts > 0).all()):
        raise ValueError(f"counts must be positive; got {counts}")
    return counts


@vectorwise("logits")
def logit_adjusted_cross_entropy(
    logits: Any,
    target: Any,
    *,
    log_prior: Any = None,
    counts: Any = None,
    tau: float = 1.0,
    reduction: str = "mean",
) -> Any:
    r"""Cross-entropy of the logits plus the log-prior, :math:`z+\tau\log\pi`.

    Core signature ``(n,k),(n)->()``; leading axes are replicas. What the network learns is then
    :math:`z` without the prior: its argmax aims at the balanced error, and is used as it is.

    Parameters
    ----------
    logits : array, shape (..., n, k)
    target : integer array, shape (..., n)
        Classes 0 to k-1; leading axes may be left out where the replicas share them.
    log_prior : array, shape (k,)
        Logarithms of the classes' frequencies; a constant in all of them makes no difference.
    counts : array, shape (k,)
        In place of `log_prior`: samples of each class.
    tau : float, default 1.0
        0 is the plain cross-entropy; 1 is consistent for the balanced error.
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
        If the shapes do not fit, a label or count is out of range, or not one of `log_prior` and
        `counts` is given.

    References
    ----------
    Menon, Jayasumana, Rawat, Jain, Veit and Kumar (2021), "Long-tail learning via logit
    adjustment".

    Examples
    --------
    >>> logit_adjusted_cross_entropy([[0.0, 0.0]], [1], counts=[99, 1]).round(4)
    np.float64(4.6052)
    """
    adjusted = _adjusted(logits, log_prior, counts, tau)
    return cross_entropy(adjusted, target, reduction=reduction)


@vectorwise("logits")
def logit_adjusted_cross_entropy_grad(
    logits: Any,
    target: Any,
    *,
    log_prior: Any = None,
    counts: Any = None,
    tau: float = 1.0,
    reduction: str = "mean",
) -> Any:
    r"""Derivative of :func:`logit_adjusted_cross_entropy` in the logits.

    That of the cross-entropy, at the adjusted logits.

    Examples
    --------
    >>> logit_adjusted_cross_entropy_grad([[0.0, 0.0]], [1], counts=[99, 1]).round(4)
    array([[ 0.99, -0.99]])
    """
    adjusted = _adjusted(logits, log_prior, counts, tau)
    return cross_entropy_grad(adjusted, target, reduction=reduction)


@vectorwise("logits")
def _logit_adjusted_cross_entropy_both(
    logits: Any,
    target: Any,
    *,
    log_prior: Any = None,
    counts: Any = None,
    tau: float = 1.0,
    reduction: str = "mean",
) -> tuple[Any, Any]:
    adjusted = _adjusted(logits, log_prior, counts, tau)
    return value_and_grad(cross_entropy)(adjusted, target, reduction=reduction)


pair(
    logit_adjusted_cross_entropy,
    logit_adjusted_cross_entropy_grad,
    _logit_adjusted_cross_entropy_both,
)


def _adjusted(logits: Any, log_prior: Any, counts: Any, tau: float) -> Any:
    if (log_prior is None) == (counts is None):
        given = "neither" if counts is None else "both"
        raise ValueError(f"one of log_prior and counts must be given; got {given}")
    name = "counts" if log_prior is None else "log_prior"
    if log_prior is None:
        counts = _counts(counts)
        log_prior = namespace(counts).log(counts / total(counts, keepdims=True))
    log_prior = as_float(log_prior, "log_prior")[0]
    k = logits.shape[-1:]
    if tuple(log_prior.shape) != tuple(k):
        raise ValueError(f"{name} must have shape {tuple(k)}; got {tuple(log_prior.shape)}")
    if inspectable(log_prior) and not bool(namespace(log_prior).isfinite(log_prior).all()):
        raise ValueError(f"log_prior must be finite; got {log_prior}")
    logits = widen(logits)
    return logits + tau * like(log_prior, logits)


@vectorwise("logits")
def dice_loss(
    logits: Any, target: Any, *, smooth: float = 1.0, reduction: str = "mean", axis: Any = None
) -> Any:
    r"""Soft Dice loss of masks, :math:`1-\frac{2\sum_ip_iy_i+s}{\sum_ip_i+\sum_iy_i+s}`.

    With :math:`p=\sigma(x)` and s = `smooth`, computed as
    :math:`\sum_i\bigl(p_i(1-y_i)+(1-p_i)y_i\bigr)` over the same denominator, a sum of positive
    terms: a mask that is nearly right keeps its small loss.

    Parameters
    ----------
    logits : array, shape (n, ...)
        One mask a sample; several classes are as many masks, each against the rest.
    target : array
        Numbers from 0 to 1, in the shape of `logits`, whose leading axes it may lack.
    smooth : float, default 1.0
        Not negative. It makes the loss of an empty mask go to 0 when nothing is found, where
        without it is 1 whatever is found.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples.
    axis : tuple of int, optional
        The axis of the samples and those of a mask, default all. The others are replicas.

    Returns
    -------
    array
        A scalar, or one loss for each replica.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a target or `smooth` is out of range.

    Notes
    -----
    The plain sums below are those of MONAI's and nnU-Net's defaults. Milletari et al. have the
    sums of :math:`p_i^2` and :math:`y_i^2` there, without s.

    References
    ----------
    Milletari, Navab and Ahmadi (2016), "V-Net: fully convolutional neural networks for volumetric
    medical image segmentation".

    Examples
    --------
    >>> dice_loss([[30.0, -30.0], [0.0, 0.0]], [[1, 0], [1, 0]], reduction="none")
    array([6.23841531e-14, 3.33333333e-01])
    """
    axes = _mask_axes(logits, axis)
    return _dice_value(*_overlap(logits, target, smooth, axes)[1:], axes, reduction)


@vectorwise("logits")
def dice_loss_grad(
    logits: Any, target: Any, *, smooth: float = 1.0, reduction: str = "mean", axis: Any = None
) -> Any:
    r"""Derivative of :func:`dice_loss` in the logits.

    With N and S the sums of the fraction, :math:`\frac{(1-y)(S-N)-y(S+N)}{S^2}\,p(1-p)`.

    Examples
    --------
    >>> dice_loss_grad([[0.0, 0.0]], [[1, 0]]).round(4)
    array([[-0.1111,  0.0556]])
    """
    axes = _mask_axes(logits, axis)
    return _dice_gradient(logits, *_overlap(logits, target, smooth, axes), axes, reduction)


@vectorwise("logits")
def _dice_loss_both(
    logits: Any, target: Any, *, smooth: float = 1.0, reduction: str = "mean", axis: Any = None
) -> tuple[Any, Any]:
    axes = _mask_axes(logits, axis)
    y, missed, common = _overlap(logits, target, smooth, axes)
    value = _dice_value(missed, common, axes, reduction)
    return value, _dice_gradient(logits, y, missed, common, axes, reduction)


pair(dice_loss, dice_loss_grad, _dice_loss_both)


def _mask_axes(x: Any, axis: Any) -> tuple[int, ...]:
    """Return the axis of the samples and those of their masks, counted from 0."""
    axes = range(x.ndim) if axis is None else axis
    if isinstance(axes, int) or len(axes) < 2:
        raise ValueError(
            f"logits must have an axis of samples and at least one of a mask; "
            f"got shape {tuple(x.shape)}, axis={axis}"
        )
    return tuple([axis_index(x, i) for i in axes])


def _overlap(x: Any, target: Any, smooth: float, axes: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """Return the target and, for each mask, what was missed and what is common, twice, plus s.

    Both are sums of positive terms, and their sum is the denominator.
    """
    if not 0 <= smooth < math.inf:
        raise ValueError(f"smooth must be a finite number that is not negative; got {smooth!r}")
    y = fractions(target, x)
    p, q = sigmoid.inner(x), sigmoid.inner(-x)
    missed = total(p * (1 - y) + q * y, axes[1:], True)
    return y, missed, 2 * total(p * y, axes[1:], True) + smooth


def _dice_value(missed: Any, common: Any, axes: tuple[int, ...], reduction: str) -> Any:
    loss = missed / (missed + common)
    kept = [i for i in range(loss.ndim) if i not in axes[1:]]
    loss = reshape(loss, tuple([loss.shape[i] for i in kept]))
    return reduced(loss, reduction, kept.index(axes[0]))


def _dice_gradient(
    x: Any, y: Any, missed: Any, common: Any, axes: tuple[int, ...], reduction: str
) -> Any:
    both = missed + common
    slope = ((1 - y) * common - y * (common + 2 * missed)) / both / both
    return slope * sigmoid_grad.inner(x) / divisor(reduction, x.shape[axes[0]])
