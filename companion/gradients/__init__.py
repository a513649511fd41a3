"""What is done with gradients besides a step: checks, clipping, noise, curvature."""

from companion.gradients.checking import gradient_check, numerical_gradient
from companion.gradients.clipping import clip_grad_norm, clip_grad_value, grad_norm, update_ratio
from companion.gradients.curvature import sharpness
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
    "sharpness",
    "update_ratio",
]
