"""Distillation: learning from another network's outputs (chapter 3, section 6)."""

from __future__ import annotations

from typing import Any

from companion.backend import positive, vectorwise
from companion.losses.base import divisor, matched, pair, reduced, value_and_grad
from companion.losses.classification import cross_entropy, cross_entropy_grad
from companion.losses.information import kl_div_with_logits, kl_div_with_logits_grad


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

    The divergence is that of :func:`~companion.losses.kl_div_with_logits`, whose digits survive
    where student and teacher nearly agree.

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
    >>> loss = distillation_loss([[1.0, 0.0]], [[1.0, 1e-9]], [0], temperature=1.0, alpha=0.0)
    >>> print(f"{loss:.4e}")
    9.8306e-20
    """
    z, v = _softened(student_logits, teacher_logits, temperature, alpha)
    hard = cross_entropy(student_logits, target, reduction="none")
    soft = temperature**2 * kl_div_with_logits(z, v, reduction="none")
    return reduced(_mixed(hard, soft, alpha), reduction, -1)


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

    :math:`\alpha(p-e_t)+(1-\alpha)\,T(p^{(T)}-q^{(T)})`, over n for the mean.

    Examples
    --------
    >>> distillation_loss_grad([[1.0, 0.0]], [[1.0, 1e-9]], [0], temperature=1.0, alpha=0.0)
    array([[ 1.96611933e-10, -1.96611933e-10]])
    """
    z, v = _softened(student_logits, teacher_logits, temperature, alpha)
    hard = cross_entropy_grad(student_logits, target, reduction="none")
    soft = temperature * kl_div_with_logits_grad(z, v, reduction="none")
    grad = _mixed(hard, soft, alpha)
    return grad / divisor(reduction, student_logits.shape[-2])


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
    z, v = _softened(student_logits, teacher_logits, temperature, alpha)
    hard, hard_grad = value_and_grad(cross_entropy)(student_logits, target, reduction="none")
    soft, soft_grad = value_and_grad(kl_div_with_logits)(z, v, reduction="none")
    value = _mixed(hard, temperature**2 * soft, alpha)
    grad = _mixed(hard_grad, temperature * soft_grad, alpha)
    return reduced(value, reduction, -1), grad / divisor(reduction, student_logits.shape[-2])


pair(distillation_loss, distillation_loss_grad, _distillation_loss_both)


def _mixed(hard: Any, soft: Any, alpha: float) -> Any:
    """Return the mixture of two losses; what has no part in it may be infinite."""
    if alpha in (0, 1):
        return hard if alpha else soft
    return alpha * hard + (1 - alpha) * soft


def _softened(student: Any, teacher: Any, temperature: float, alpha: float) -> tuple[Any, Any]:
    """Return both logits over the temperature, once everything is checked."""
    positive(temperature, "temperature")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1]; got {alpha!r}")
    teacher = matched(teacher, student, ("teacher_logits", "student_logits"))
    return student / temperature, teacher / temperature
