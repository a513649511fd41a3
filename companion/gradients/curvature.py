"""How strongly a loss bends, from gradients alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import as_float, check_shape, inspectable, like, namespace, to_numpy, total
from companion.gradients.clipping import grad_norm


def sharpness(
    gradient: Callable[[Any], Any], theta: Any, vector: Any, *, steps: int = 20
) -> tuple[Any, Any]:
    r"""Estimate the Hessian's eigenvalue of largest size, and its eigenvector.

    Power iteration, :math:`v\leftarrow Hv/\|Hv\|`, with the products from two gradients,

    .. math:: Hv\approx\frac{\nabla L(\theta+hv)-\nabla L(\theta-hv)}{2h},

    and at the end :math:`v^THv`. The error falls with the ratio of the two largest eigenvalues at
    each step. Along a training few steps are enough if each call begins with the vector of
    the one before. Gradient descent at a rate :math:`\eta` needs an eigenvalue below
    :math:`2/\eta`.

    Parameters
    ----------
    gradient : callable
        Takes theta and returns the gradient there.
    theta : array, shape (..., P)
        Each replica has its own eigenvalue.
    vector : array, shape (..., P)
        Where the iteration begins, not 0: at first a random one.
    steps : int, default 20

    Returns
    -------
    value : array, shape (...)
        0 where the iteration comes to a vector that the Hessian takes to 0.
    vector : array, shape (..., P)
        Of length 1.

    Raises
    ------
    ValueError
        If vector has not the shape of theta or is 0, or steps is not positive.

    References
    ----------
    Pearlmutter (1994), "Fast exact multiplication by the Hessian"; Cohen et al. (2021), "Gradient
    descent on neural networks typically occurs at the edge of stability".

    Examples
    --------
    >>> value, vector = sharpness(lambda x: np.array([1.0, 5.0]) * x, np.ones(2), np.ones(2))
    >>> round(float(value), 6), abs(vector).round(6)
    (5.0, array([0., 1.]))
    """
    theta, _ = as_float(theta, "theta")
    vector = like(as_float(vector, "vector")[0], theta)
    check_shape(vector, theta.shape, "vector")
    if inspectable(vector) and (to_numpy(grad_norm(vector)) == 0).any():
        raise ValueError(f"vector must not be 0 in any replica; got {vector}")
    if steps < 1:
        raise ValueError(f"steps must be positive; got {steps}")
    xp = namespace(theta)
    h = float(xp.finfo(theta.dtype).eps) ** (1 / 3) * xp.maximum(
        grad_norm(theta), like(np.ones(theta.shape[:-1]), theta)
    )
    h, product = h[..., None], vector
    for _ in range(steps):
        size = grad_norm(product)[..., None]
        # what the Hessian takes to 0 has no direction there, and stays
        vector = xp.where(size == 0, vector, product / xp.where(size == 0, 1, size))
        product = (gradient(theta + h * vector) - gradient(theta - h * vector)) / (2 * h)
    return total(vector * product), vector
