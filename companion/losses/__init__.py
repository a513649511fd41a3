"""Losses and, beside each, its derivative with respect to the prediction.

Leading axes are replicas: a loss over ``(..., n, k)`` has shape ``(...)``.
"""

from companion.losses.base import grad_of, value_and_grad
from companion.losses.classification import cross_entropy, cross_entropy_grad
from companion.losses.distillation import distillation_loss, distillation_loss_grad
from companion.losses.margins import (
    hinge_loss,
    hinge_loss_grad,
    info_nce,
    info_nce_grad,
    large_margin_logits,
    large_margin_logits_vjp,
    multi_margin_loss,
    multi_margin_loss_grad,
    triplet_margin_loss,
    triplet_margin_loss_grad,
)
from companion.losses.regression import mse_loss, mse_loss_grad

__all__ = [
    "cross_entropy",
    "cross_entropy_grad",
    "distillation_loss",
    "distillation_loss_grad",
    "grad_of",
    "hinge_loss",
    "hinge_loss_grad",
    "info_nce",
    "info_nce_grad",
    "large_margin_logits",
    "large_margin_logits_vjp",
    "mse_loss",
    "mse_loss_grad",
    "multi_margin_loss",
    "multi_margin_loss_grad",
    "triplet_margin_loss",
    "triplet_margin_loss_grad",
    "value_and_grad",
]
