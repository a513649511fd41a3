"""Losses and, beside each, its derivative with respect to the prediction.

Leading axes are replicas: a loss over ``(..., n, k)`` has shape ``(...)``.
"""

from companion.losses.base import grad_of, value_and_grad
from companion.losses.binary import (
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_grad,
)
from companion.losses.classification import (
    cross_entropy,
    cross_entropy_grad,
    smooth_labels,
    z_loss,
    z_loss_grad,
)
from companion.losses.regression import mse_loss, mse_loss_grad

__all__ = [
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_grad",
    "cross_entropy",
    "cross_entropy_grad",
    "grad_of",
    "mse_loss",
    "mse_loss_grad",
    "smooth_labels",
    "value_and_grad",
    "z_loss",
    "z_loss_grad",
]
