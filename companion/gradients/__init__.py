"""What is done with a gradient before a step: check it, clip it, measure its noise."""

from companion.gradients.checking import gradient_check, numerical_gradient
from companion.gradients.clipping import clip_grad_norm, clip_grad_value, grad_norm, update_ratio
from companion.gradients.noise import Noise, gradient_variance, noise_scale

__all__ = [
    "Noise",
    "clip_grad_norm",
    "clip_grad_value",
    "grad_norm",
    "gradient_check",
    "gradient_variance",
    "noise_scale",
    "numerical_gradient",
    "update_ratio",
]
