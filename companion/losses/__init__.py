"""Losses and, beside each, its derivative with respect to the prediction.

Leading axes are replicas: a loss over ``(..., n, k)`` has shape ``(...)``.
"""

from companion.losses.base import grad_of, value_and_grad
from companion.losses.classification import cross_entropy, cross_entropy_grad
from companion.losses.regression import (
    bin_mean,
    bin_probabilities,
    gaussian_nll_loss,
    gaussian_nll_loss_grad,
    gaussian_nll_loss_grad_var,
    gaussian_nll_loss_with_log_var,
    gaussian_nll_loss_with_log_var_grad,
    huber_loss,
    huber_loss_grad,
    l1_loss,
    l1_loss_grad,
    log_cosh_loss,
    log_cosh_loss_grad,
    mse_loss,
    mse_loss_grad,
    quantile_loss,
    quantile_loss_grad,
    smooth_l1_loss,
    smooth_l1_loss_grad,
)

__all__ = [
    "bin_mean",
    "bin_probabilities",
    "cross_entropy",
    "cross_entropy_grad",
    "gaussian_nll_loss",
    "gaussian_nll_loss_grad",
    "gaussian_nll_loss_grad_var",
    "gaussian_nll_loss_with_log_var",
    "gaussian_nll_loss_with_log_var_grad",
    "grad_of",
    "huber_loss",
    "huber_loss_grad",
    "l1_loss",
    "l1_loss_grad",
    "log_cosh_loss",
    "log_cosh_loss_grad",
    "mse_loss",
    "mse_loss_grad",
    "quantile_loss",
    "quantile_loss_grad",
    "smooth_l1_loss",
    "smooth_l1_loss_grad",
from companion.losses.imbalance import (
    class_balanced_weights,
    dice_loss,
    dice_loss_grad,
    logit_adjusted_cross_entropy,
    logit_adjusted_cross_entropy_grad,
    sigmoid_focal_loss,
    sigmoid_focal_loss_grad,
    softmax_focal_loss,
    softmax_focal_loss_grad,
)
from companion.losses.regression import mse_loss, mse_loss_grad

__all__ = [
    "class_balanced_weights",
    "cross_entropy",
    "cross_entropy_grad",
    "dice_loss",
    "dice_loss_grad",
    "grad_of",
    "logit_adjusted_cross_entropy",
    "logit_adjusted_cross_entropy_grad",
    "mse_loss",
    "mse_loss_grad",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_grad",
    "softmax_focal_loss",
    "softmax_focal_loss_grad",
    "value_and_grad",
]
