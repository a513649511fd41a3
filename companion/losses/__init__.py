"""Losses and, beside each, its derivative with respect to the prediction.

Leading axes are replicas: a loss over ``(..., n, k)`` has shape ``(...)``.
"""

from companion.losses.base import grad_of, value_and_grad
from companion.losses.calibration import (
    brier_score,
    brier_score_grad,
    calibration_curve,
    expected_calibration_error,
    fit_temperature,
)
from companion.losses.classification import cross_entropy, cross_entropy_grad
from companion.losses.information import (
    entropy,
    entropy_vjp,
    kl_div,
    kl_div_grad,
    kl_div_with_logits,
    kl_div_with_logits_grad,
    mutual_information,
    self_information,
    zero_one_loss,
)
from companion.losses.regression import mse_loss, mse_loss_grad

__all__ = [
    "brier_score",
    "brier_score_grad",
    "calibration_curve",
    "cross_entropy",
    "cross_entropy_grad",
    "entropy",
    "entropy_vjp",
    "expected_calibration_error",
    "fit_temperature",
    "grad_of",
    "kl_div",
    "kl_div_grad",
    "kl_div_with_logits",
    "kl_div_with_logits_grad",
    "mse_loss",
    "mse_loss_grad",
    "mutual_information",
    "self_information",
    "value_and_grad",
    "zero_one_loss",
]
