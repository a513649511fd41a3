"""How much a minibatch's gradient differs from that of all data, and what batch that asks for."""

from __future__ import annotations

from typing import Any, NamedTuple

from companion.backend import as_float, namespace, total, vectorwise


class Noise(NamedTuple):
    """What :func:`noise_scale` estimates, each of the shape of the squares."""

    trace: Any
    square: Any
    scale: Any


@vectorwise("grads")
def gradient_variance(grads: Any) -> Any:
    r"""Estimate the variance of a minibatch's gradient, :math:`E\|g-G\|^2`, from several.

    .. math:: \frac{1}{k-1}\sum_{i=1}^k\|g_i-\bar g\|^2,

    the sum of the variances of all entries, without bias. B times it is
    :math:`\operatorname{tr}\Sigma`, the variance of a single sample's gradient, if the samples of
    a batch of B are drawn independently.

    Parameters
    ----------
    grads : array, shape (k, ..., P)
        Gradients of k minibatches of one size, at the same parameters.

    Returns
    -------
    array, shape (...)

    Raises
    ------
    ValueError
        If there are fewer than two.

    Examples
    --------
    >>> import numpy as np
    >>> gradient_variance(np.array([[1.0, 0.0], [3.0, 4.0]]))
    np.float64(10.0)
    """
    if grads.ndim < 2 or grads.shape[0] < 2:
        raise ValueError(f"grads must be two or more, (k, ..., P); got shape {tuple(grads.shape)}")
    k = grads.shape[0]
    away = grads - namespace(grads).mean(grads, axis=0, keepdims=True)
    return total(total(away * away), axis=0) / (k - 1)


def noise_scale(squares: tuple[Any, Any], batch_sizes: tuple[int, int]) -> Noise:
    r"""Estimate the simple noise scale from the squared gradient norms at two batch sizes.

    A batch of B has :math:`E\|g_B\|^2=\|G\|^2+\operatorname{tr}\Sigma/B`. Two sizes make two
    equations,

    .. math:: \operatorname{tr}\Sigma\approx\frac{\|g_b\|^2-\|g_B\|^2}{1/b-1/B},\quad
              \|G\|^2\approx\frac{B\|g_B\|^2-b\|g_b\|^2}{B-b},\quad
              B_{\text{simple}}=\operatorname{tr}\Sigma/\|G\|^2.

    The first two have no bias, the ratio has: average the squares over many batches or steps
    first. With few, :math:`\|G\|^2` can come out negative.

    Parameters
    ----------
    squares : pair of arrays
        Means of :math:`\|g_b\|^2` and :math:`\|g_B\|^2`.
    batch_sizes : pair of int
        b and B, b < B. The large batch may be made of the small ones: their mean.

    Returns
    -------
    Noise
        ``trace``, ``square`` and ``scale``: :math:`\operatorname{tr}\Sigma`, :math:`\|G\|^2` and
        :math:`B_{\text{simple}}`.

    Raises
    ------
    ValueError
        If the batch sizes are not two that increase.

    References
    ----------
    McCandlish, Kaplan, Amodei et al. (2018), "An empirical model of large-batch training",
    appendix A.1.

    Examples
    --------
    >>> noise_scale((5.0, 2.0), (1, 4))
    Noise(trace=np.float64(4.0), square=np.float64(1.0), scale=np.float64(4.0))
    """
    b, B = batch_sizes
    if not 0 < b < B:
        raise ValueError(f"batch_sizes must be positive and increase; got {batch_sizes}")
    small, large = (as_float(s, "squares")[0] for s in squares)
    trace = (small - large) / (1 / b - 1 / B)
    square = (B * large - b * small) / (B - b)
    return Noise(trace, square, trace / square)
