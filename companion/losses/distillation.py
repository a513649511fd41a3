"""Distillation: learning from another network's outputs (chapter 3, section 6)."""

from __future__ import annotations

import math
from typing import Any

from companion.activations.groups import _exponentials, _log_softmax, _softmax
from companion.backend import (
    as_float,
    entries,
    is_torch,
    like,
    namespace,
    pick,
    positive,
    total,
    vectorwise,
    widen,
)
from companion.losses.base import divisor, pair, reduced
from companion.losses.classification import cross_entropy, cross_entropy_grad


@vectorwise("student_logits")
def distillation_loss(
    student_logits: Any,
    teacher_logits: Any,
    target: Any,
    *,
    temperature: float,
    alpha: float,
    reduction: str = "mean",
) -> Any:
    r"""Distillation, :math:`\alpha\,(-\log p_t)+(1-\alpha)\,T^2D_{KL}(q^{(T)}\|p^{(T)})`.

    Core signature ``(n,k),(n,k),(n)->()``; leading axes are replicas. :math:`p` is the softmax of
    the student's logits, :math:`p^{(T)}` and :math:`q^{(T)}` those of the student's and the
    teacher's divided by T. Hinton et al. have the cross-entropy of the two, which is larger by the
    entropy of :math:`q^{(T)}` and has the same gradient; the factor :math:`T^2` keeps that gradient
    in size when T changes.

    The divergence is a sum of terms that are all positive,
    :math:`\log(1+\sum_jq_j(e^{w_j}-1-w_j))` with w the difference of the logits less its mean
    under q: its digits survive where student and teacher nearly agree, and the difference of two
    logarithms may come out negative.

    Parameters
    ----------
    student_logits : array, shape (..., n, k)
    teacher_logits : array, shape (..., n, k)
        Leading axes may be left out. No gradient goes there.
    target : integer array, shape (..., n)
        Classes 0 to k-1.
    temperature : float
        T > 0.
    alpha : float
        From 0, the teacher alone, to 1, the labels alone. Some programs give the other weight.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples.

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction.

    Raises
    ------
    TypeError, ValueError
        As :func:`~companion.losses.cross_entropy`, and for teacher's logits of another shape, a
        temperature that is not positive, or an `alpha` outside [0, 1].

    References
    ----------
    Hinton, Vinyals and Dean (2015), "Distilling the knowledge in a neural network".

    Examples
    --------
    >>> distillation_loss([[1.0, 0.0]], [[1.0, 1e-9]], [0], temperature=1.0, alpha=0.0)
    np.float64(9.830596665102684e-20)
    """
    parts = _divergence(student_logits, teacher_logits, temperature)
    return _value(student_logits, target, parts, temperature, alpha, reduction)


@vectorwise("student_logits")
def distillation_loss_grad(
    student_logits: Any,
    teacher_logits: Any,
    target: Any,
    *,
    temperature: float,
    alpha: float,
    reduction: str = "mean",
) -> Any:
    r"""Derivative of :func:`distillation_loss` in the student's logits.

    :math:`\alpha(p-e_t)+(1-\alpha)\,T(p^{(T)}-q^{(T)})`, over n for the mean, where the difference
    of two probabilities that nearly agree is :math:`q_j(e^{w_j-D}-1)`, D the divergence.

    Examples
    --------
    >>> distillation_loss_grad([[1.0, 0.0]], [[1.0, 1e-9]], [0], temperature=1.0, alpha=0.0)
    array([[ 1.96611933e-10, -1.96611933e-10]])
    """
    parts = _divergence(student_logits, teacher_logits, temperature)
    return _slope(student_logits, target, parts, temperature, alpha, reduction)


@vectorwise("student_logits")
def _distillation_loss_both(
    student_logits: Any,
    teacher_logits: Any,
    target: Any,
    *,
    temperature: float,
    alpha: float,
    reduction: str = "mean",
) -> tuple[Any, Any]:
    parts = _divergence(student_logits, teacher_logits, temperature)
    return (
        _value(student_logits, target, parts, temperature, alpha, reduction),
        _slope(student_logits, target, parts, temperature, alpha, reduction),
    )


pair(distillation_loss, distillation_loss_grad, _distillation_loss_both)


def _value(
    z: Any, target: Any, parts: Any, temperature: float, alpha: float, reduction: str
) -> Any:
    divergence, _, _ = parts
    hard = cross_entropy(z, target, reduction="none")
    soft = temperature**2 * divergence
    return reduced(_mixed(hard, soft, alpha), reduction, -1)


def _slope(
    z: Any, target: Any, parts: Any, temperature: float, alpha: float, reduction: str
) -> Any:
    divergence, q, w = parts
    xp = namespace(q)
    p = _softmax(z, -1, temperature)
    # where p and q nearly agree, their difference through expm1
    w = w - divergence[..., None]
    near = (abs(w) < 1) & (q > 0)
    close = q * xp.expm1(xp.where(near, w, xp.zeros_like(w)))
    hard = cross_entropy_grad(z, target, reduction="none")
    soft = temperature * xp.where(near, close, p - q)
    return _mixed(hard, soft, alpha) / divisor(reduction, z.shape[-2])


def _mixed(hard: Any, soft: Any, alpha: float) -> Any:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1]; got {alpha!r}")
    return alpha * hard + (1 - alpha) * soft


def _divergence(z: Any, teacher: Any, temperature: float) -> tuple[Any, Any, Any]:
    """Return the divergence of the student's softmax from the teacher's, the latter, and w."""
    positive(temperature, "temperature")
    v = like(as_float(teacher, "teacher_logits")[0], z)
    if tuple(v.shape) != tuple(z.shape)[z.ndim - v.ndim :]:
        raise ValueError(
            f"teacher_logits must have the shape of student_logits, but for leading axes; "
            f"got {tuple(v.shape)} for {tuple(z.shape)}"
        )
    xp = namespace(z)
    z, v = widen(z), xp.broadcast_to(widen(v), z.shape)
    q, log_q = _softmax(v, -1, temperature), _log(v, temperature)
    known = q > 0  # the others take no part, and may be infinite
    # z - v with its rounding error, counted from the teacher's first choice, where q is largest
    d = z - xp.where(known, v, xp.zeros_like(v))
    b = d - z
    e = (z - (d - b)) - (v + b)
    e = xp.where(xp.isfinite(e), e, xp.zeros_like(e))
    top = entries(q, xp.argmax(v, axis=-1))
    w = (d - pick(d, top)[..., None]) + (e - pick(e, top)[..., None])
    w = xp.where(known, w, xp.zeros_like(w)) / temperature
    center = total(q * w, -1, True)
    w = w - center
    # e^w - 1 - w, times q: from its series where the terms cancel
    small = abs(w) < 1
    s = xp.where(small, w, xp.zeros_like(w))
    series = xp.ones_like(s)
    for n in range(19, 2, -1):
        series = 1 + s / n * series
    # q e^w, where q itself may be 0
    power = (z - pick(z, top)[..., None]) / temperature + (pick(log_q, top)[..., None] - center)
    far = xp.where(power < 2, power, xp.full_like(power, 2.0))
    terms = xp.where(
        small & known, q * (s * s / 2) * series, xp.exp(far) - xp.where(known, q * (1 + w), q)
    )
    spread = total(terms)
    # where they are far apart, the definition: little cancels in it
    log_p = _log(z, temperature)
    apart = total(xp.where(known, q * (xp.where(known, log_q, log_p) - log_p), q))
    is_near = spread < math.e - 1
    return xp.where(is_near, xp.log1p(xp.where(is_near, spread, q[..., 0] * 0)), apart), q, w


def _log(x: Any, temperature: float) -> Any:
    return _log_softmax(*_exponentials(x, -1, temperature, exact=not is_torch(x)), -1)
