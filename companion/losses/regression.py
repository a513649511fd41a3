"""Losses of real-valued predictions (chapter 3, section 7).

A loss of the error is written as the formula of the error and, under it, the slope;
:func:`_loss_of_error` and :func:`_slope_of` make of them what is called with a prediction.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from companion.backend import (
    clip,
    inspectable,
    like,
    namespace,
    ndtr,
    negative_part,
    positive,
    positive_part,
    smallest,
    total,
    vectorwise,
)
from companion.losses.base import difference, divisor, matched, pair, reduced, size

# From a formula of the error to a loss -------------------------------------------------------


def _loss_of_error(formula: Callable[..., Any]) -> Any:
    """Make ``loss(prediction, target, *, <options>, reduction, axis)`` of its formula."""

    @vectorwise("prediction")
    def loss(prediction, target, *, reduction="mean", axis=None, **options):
        return reduced(formula(difference(prediction, target), **options), reduction, axis)

    return _with_options(loss, formula)


def _slope_of(loss: Any) -> Callable[..., Any]:
    """Make the derivative of a loss, with the same arguments, of the formula of its slope."""
    formula = inspect.unwrap(loss)

    def decorate(slope: Callable[..., Any]) -> Any:
        @vectorwise("prediction")
        def grad(prediction, target, *, reduction="mean", axis=None, **options):
            error = difference(prediction, target)
            return slope(error, **options) / divisor(reduction, size(error, axis))

        @vectorwise("prediction")
        def both(prediction, target, *, reduction="mean", axis=None, **options):
            error = difference(prediction, target)
            value = reduced(formula(error, **options), reduction, axis)
            return value, slope(error, **options) / divisor(reduction, size(error, axis))

        public = _with_options(grad, slope)
        pair(loss, public, both)
        return public

    return decorate


def _with_options(function: Any, formula: Callable[..., Any]) -> Any:
    """Give a function the name and the docstring of its formula, and say what it takes."""
    prediction, target, *others, _ = inspect.signature(function.formula).parameters.values()
    _, *options = inspect.signature(formula).parameters.values()
    function = functools.wraps(formula)(function)
    function.__signature__ = inspect.Signature([prediction, target, *options, *others])
    return function


# Losses of the error e = prediction - target -------------------------------------------------


@_loss_of_error
def mse_loss(error: Any) -> Any:
    r"""Mean squared error, :math:`\frac1m\sum_i(\hat y_i-y_i)^2` over all :math:`m` entries.

    Parameters
    ----------
    prediction : array, shape (...)
    target : array
        In the shape of `prediction`, whose leading axes it may lack.
    reduction : {"mean", "sum", "none"}, default "mean"
    axis : int or tuple of int, optional
        The axes to reduce; default all. The others are replicas.

    Returns
    -------
    array
        A scalar, or one loss for each replica.

    Examples
    --------
    >>> float(mse_loss([1.0, 2.0], [0.0, 4.0]))
    2.5
    """
    return error * error


@_slope_of(mse_loss)
def mse_loss_grad(error: Any) -> Any:
    r"""Derivative of :func:`mse_loss` in the prediction, :math:`\frac2m(\hat y-y)`.

    Examples
    --------
    >>> mse_loss_grad([1.0, 2.0], [0.0, 4.0])
    array([ 1., -2.])
    """
    return 2 * error


@_loss_of_error
def l1_loss(error: Any) -> Any:
    r"""Mean absolute error, :math:`|e|` of the error :math:`e=\hat y-y`.

    Arguments as of :func:`mse_loss`.

    Examples
    --------
    >>> float(l1_loss([1.0, 2.0], [0.0, 4.0]))
    1.5
    """
    return namespace(error).abs(error)


@_slope_of(l1_loss)
def l1_loss_grad(error: Any) -> Any:
    r"""Derivative of :func:`l1_loss`, the sign of the error; 0 at an error of 0, as in torch.

    Examples
    --------
    >>> l1_loss_grad([1.0, 2.0, 3.0], [0.0, 4.0, 3.0], reduction="sum")
    array([ 1., -1.,  0.])
    """
    return namespace(error).sign(error)


@_loss_of_error
def smooth_l1_loss(error: Any, *, beta: float = 1.0) -> Any:
    r"""Smooth L1, :math:`\frac{e^2}{2\beta}` for :math:`|e|<\beta` and
    :math:`|e|-\frac\beta2` beyond.

    Written with the error clipped, :math:`c=\max(-\beta,\min(e,\beta))`, as
    :math:`\frac c\beta(e-\frac c2)`: one formula for both sides, and no square to underflow.

    Parameters
    ----------
    beta : float, default 1.0
        Where the parabola ends, in the unit of the target; positive. Torch takes 0 for
        :func:`l1_loss`. Keras has this loss under the name Huber only.
    prediction, target, reduction, axis
        As of :func:`mse_loss`.

    References
    ----------
    Girshick (2015), "Fast R-CNN", with β = 1.

    Examples
    --------
    >>> smooth_l1_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    array([0.125, 2.5  ])
    """
    clipped = _clipped(error, beta, "beta")
    return clipped / beta * (error - 0.5 * clipped)


@_slope_of(smooth_l1_loss)
def smooth_l1_loss_grad(error: Any, *, beta: float = 1.0) -> Any:
    r"""Derivative of :func:`smooth_l1_loss`, the clipped error over β.

    Examples
    --------
    >>> smooth_l1_loss_grad([0.5, 3.0], [0.0, 0.0], reduction="sum")
    array([0.5, 1. ])
    """
    return _clipped(error, beta, "beta") / beta


@_loss_of_error
def huber_loss(error: Any, *, delta: float = 1.0) -> Any:
    r"""Huber's loss, :math:`\frac{e^2}2` for :math:`|e|<\delta` and
    :math:`\delta(|e|-\frac\delta2)` beyond: δ times :func:`smooth_l1_loss` with β = δ.

    Parameters
    ----------
    delta : float, default 1.0
        Where the parabola ends, and the slope beyond; positive.
    prediction, target, reduction, axis
        As of :func:`mse_loss`.

    References
    ----------
    Huber (1964), "Robust estimation of a location parameter".

    Examples
    --------
    >>> huber_loss([0.5, 3.0], [0.0, 0.0], delta=2.0, reduction="none")
    array([0.125, 4.   ])
    """
    clipped = _clipped(error, delta, "delta")
    return clipped * (error - 0.5 * clipped)


@_slope_of(huber_loss)
def huber_loss_grad(error: Any, *, delta: float = 1.0) -> Any:
    r"""Derivative of :func:`huber_loss`, the error clipped to [-δ, δ].

    Examples
    --------
    >>> huber_loss_grad([0.5, 3.0], [0.0, 0.0], delta=2.0, reduction="sum")
    array([0.5, 2. ])
    """
    return _clipped(error, delta, "delta")


def _clipped(error: Any, bound: float, name: str) -> Any:
    return clip(error, -positive(bound, name), bound)


@_loss_of_error
def log_cosh_loss(error: Any) -> Any:
    r"""Logarithm of the hyperbolic cosine, :math:`\log\cosh e`: about :math:`\frac{e^2}2` near 0
    and :math:`|e|-\log2` far away.

    As :math:`\log(1+2\sinh^2\frac e2)`, which keeps all digits of a small loss; Keras' form
    :math:`e+\log(1+e^{-2e})-\log2` keeps none. Beyond 20 the rest is linear to the last bit.
    Arguments as of :func:`mse_loss`.

    Examples
    --------
    >>> log_cosh_loss([1e-9, 1000.0], [0.0, 0.0], reduction="none")
    array([5.00000000e-19, 9.99306853e+02])
    """
    xp = namespace(error)
    near = clip(error, -20.0, 20.0)
    half = xp.sinh(0.5 * near)
    return xp.log1p(2 * half * half) + xp.abs(error - near)


@_slope_of(log_cosh_loss)
def log_cosh_loss_grad(error: Any) -> Any:
    r"""Derivative of :func:`log_cosh_loss`, :math:`\tanh e`.

    Examples
    --------
    >>> log_cosh_loss_grad([1e-9, 1000.0], [0.0, 0.0], reduction="sum")
    array([1.e-09, 1.e+00])
    """
    return namespace(error).tanh(error)


@_loss_of_error
def quantile_loss(error: Any, *, quantile: float = 0.5) -> Any:
    r"""Pinball loss, :math:`(1-\tau)e` for an error :math:`e>0` and :math:`\tau|e|` for
    :math:`e<0`: a prediction below the target costs τ, one above it 1 - τ.

    What minimizes its mean is the τ-quantile of the targets; at τ = ½ it is half of
    :func:`l1_loss`.

    Parameters
    ----------
    quantile : float, default 0.5
        The level τ, between 0 and 1.
    prediction, target, reduction, axis
        As of :func:`mse_loss`.

    References
    ----------
    Koenker and Bassett (1978), "Regression quantiles".

    Examples
    --------
    >>> quantile_loss([1.0, -1.0], [0.0, 0.0], quantile=0.9, reduction="none")
    array([0.1, 0.9])
    """
    return _tilt(error, quantile) * error


@_slope_of(quantile_loss)
def quantile_loss_grad(error: Any, *, quantile: float = 0.5) -> Any:
    r"""Derivative of :func:`quantile_loss`, :math:`1-\tau` above the target and :math:`-\tau` below
    it; 0 on it, as in :func:`l1_loss_grad`.

    Examples
    --------
    >>> quantile_loss_grad([1.0, -1.0, 0.0], [0.0, 0.0, 0.0], quantile=0.9, reduction="sum")
    array([ 0.1, -0.9,  0. ])
    """
    return _tilt(error, quantile)


def _tilt(error: Any, quantile: float) -> Any:
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must be between 0 and 1; got {quantile!r}")
    side = namespace(error).sign(error)
    return (1 - quantile) * positive_part(side) + quantile * negative_part(side)


# Predictions with their uncertainty ----------------------------------------------------------

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@vectorwise("prediction")
def gaussian_nll_loss(
    prediction: Any,
    target: Any,
    var: Any,
    *,
    full: bool = False,
    reduction: str = "mean",
    axis: Any = None,
) -> Any:
    r"""Negative log-likelihood of a normal distribution, :math:`\frac12\bigl(\log v+e^2/v\bigr)`.

    Torch does not believe a variance below ``eps=1e-6`` and takes that instead; here the variance
    counts as it is. A network is better trained with :func:`gaussian_nll_loss_with_log_var`.

    Parameters
    ----------
    var : array
        The variance v, positive; in the shape of `prediction`, whose leading axes it may lack.
    full : bool, default False
        Add the constant :math:`\frac12\log2\pi`.
    prediction, target, reduction, axis
        As of :func:`mse_loss`; the prediction is the mean.

    References
    ----------
    Nix and Weigend (1994), "Estimating the mean and variance of the target probability
    distribution".

    Examples
    --------
    >>> gaussian_nll_loss([1.0, 1.0], [0.0, 0.0], [1.0, 4.0], reduction="none").round(3)
    array([0.5  , 0.818])
    """
    error, var = _error_and_var(prediction, target, var)
    loss = 0.5 * (namespace(var).log(var) + error * (error / var))
    return reduced(loss + _HALF_LOG_2PI if full else loss, reduction, axis)


@vectorwise("prediction")
def gaussian_nll_loss_grad(
    prediction: Any,
    target: Any,
    var: Any,
    *,
    full: bool = False,
    reduction: str = "mean",
    axis: Any = None,
) -> Any:
    r"""Derivative of :func:`gaussian_nll_loss` in the mean, :math:`e/v`.

    Examples
    --------
    >>> gaussian_nll_loss_grad([1.0, 1.0], [0.0, 0.0], [1.0, 4.0], reduction="sum")
    array([1.  , 0.25])
    """
    error, var = _error_and_var(prediction, target, var)
    return error / var / divisor(reduction, size(error, axis))


@vectorwise("prediction")
def gaussian_nll_loss_grad_var(
    prediction: Any,
    target: Any,
    var: Any,
    *,
    full: bool = False,
    reduction: str = "mean",
    axis: Any = None,
) -> Any:
    r"""Derivative of :func:`gaussian_nll_loss` in the variance, :math:`\frac1{2v}(1-e^2/v)`.

    Examples
    --------
    >>> gaussian_nll_loss_grad_var([1.0, 1.0], [0.0, 0.0], [1.0, 4.0], reduction="sum")
    array([0.     , 0.09375])
    """
    error, var = _error_and_var(prediction, target, var)
    slope = 0.5 * (1 - error * (error / var)) / var
    return slope / divisor(reduction, size(error, axis))


pair(gaussian_nll_loss, gaussian_nll_loss_grad)


def _error_and_var(prediction: Any, target: Any, var: Any) -> tuple[Any, Any]:
    error = difference(prediction, target)
    var = matched(var, prediction, ("var", "prediction"))
    if inspectable(var) and math.prod(var.shape) and (low := smallest(var, None)) <= 0:
        raise ValueError(f"var must be positive; got {float(low)}")
    return error, var


@vectorwise("prediction")
def gaussian_nll_loss_with_log_var(
    prediction: Any, target: Any, *, full: bool = False, reduction: str = "mean"
) -> Any:
    r"""Negative log-likelihood of a normal distribution from its mean and the logarithm of its
    variance, :math:`\frac12\bigl(s+e^2\mathrm e^{-s}\bigr)` with :math:`s=\log v`.

    Core signature ``(n,2),(n)->()``; leading axes are replicas. A network may give any s, so
    that nothing has to be kept positive.

    Parameters
    ----------
    prediction : array, shape (..., n, 2)
        Mean and log-variance of each sample.
    target : array, shape (..., n)
        Leading axes may be left out where the replicas share them.
    full : bool, default False
        Add the constant :math:`\frac12\log2\pi`.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples.

    Examples
    --------
    >>> prediction = [[1.0, 0.0], [1.0, 2.0]]
    >>> gaussian_nll_loss_with_log_var(prediction, [0.0, 0.0], reduction="none").round(3)
    array([0.5  , 1.068])
    """
    error, log_var, precise = _error_and_precision(prediction, target)
    score = error * precise * precise
    loss = 0.5 * (log_var + score * score)
    return reduced(loss + _HALF_LOG_2PI if full else loss, reduction, -1)


@vectorwise("prediction")
def gaussian_nll_loss_with_log_var_grad(
    prediction: Any, target: Any, *, full: bool = False, reduction: str = "mean"
) -> Any:
    r"""Derivative of :func:`gaussian_nll_loss_with_log_var` in both:
    :math:`e\,\mathrm e^{-s}` and :math:`\frac12(1-e^2\mathrm e^{-s})`.

    Examples
    --------
    >>> gaussian_nll_loss_with_log_var_grad([[1.0, 0.0], [3.0, 0.0]], [0.0, 0.0], reduction="sum")
    array([[ 1.,  0.],
           [ 3., -4.]])
    """
    error, _, precise = _error_and_precision(prediction, target)
    score = error * precise * precise
    slopes = [score * precise * precise, 0.5 * (1 - score * score)]
    grad = namespace(prediction).stack(slopes, axis=-1)
    return grad / divisor(reduction, error.shape[-1])


pair(gaussian_nll_loss_with_log_var, gaussian_nll_loss_with_log_var_grad)


def _error_and_precision(prediction: Any, target: Any) -> tuple[Any, Any, Any]:
    """Return e, s and exp(-s/4), whose factors overflow only where the loss does."""
    if prediction.ndim < 2 or prediction.shape[-1] != 2:
        raise ValueError(f"prediction must have shape (..., n, 2); got {tuple(prediction.shape)}")
    error, log_var = difference(prediction[..., 0], target), prediction[..., 1]
    xp = namespace(error)
    most = math.log(xp.finfo(error.dtype).max) - 1
    # an error of 0 times infinity would be nan
    return error, log_var, xp.exp(clip(-0.25 * log_var, -math.inf, most))


# Regression by classification ----------------------------------------------------------------


@vectorwise("target")
def bin_probabilities(
    target: Any, edges: Any, kind: str = "two-hot", *, sigma: float | None = None
) -> Any:
    r"""Targets as probabilities of K bins, to be predicted with a cross-entropy.

    All three kinds are the rise of a distribution function F from edge to edge,
    :math:`p_k=F(b_{k+1})-F(b_k)`.

    Parameters
    ----------
    target : array, shape (..., n)
        Outside of the bins it counts as the nearest edge.
    edges : array, shape (K+1,)
        Rising.
    kind : {"hard", "two-hot", "gaussian"}, default "two-hot"
        The bin that the target is in, its lower edge included; the two bins between whose centres
        it is, so that :func:`bin_mean` gives it back, from the first centre to the last; or a
        normal distribution around it, cut off at the outer edges.
    sigma : float, optional
        Standard deviation of the last kind. Farebrother et al. (2024) take ¾ of a bin.

    Returns
    -------
    array, shape (..., n, K)

    References
    ----------
    Imani and White (2018), "Improving regression performance with distributional losses".

    Examples
    --------
    >>> bin_probabilities([0.75, 2.5], [0.0, 1.0, 2.0, 3.0])
    array([[0.75, 0.25, 0.  ],
           [0.  , 0.  , 1.  ]])
    """
    xp, edges = namespace(target), _edges(edges, target)
    y = xp.minimum(xp.maximum(target[..., None], edges[0]), edges[-1])
    if kind == "gaussian":
        if sigma is None:
            raise ValueError("sigma must be given for kind 'gaussian'; got None")
        z = (edges - y) / positive(sigma, "sigma")
        below, above = ndtr(z), ndtr(-z)
        # in the upper tail from the complement, where F itself is 1
        mass = xp.where(
            z[..., :-1] > 0, above[..., :-1] - above[..., 1:], below[..., 1:] - below[..., :-1]
        )
        return mass / total(mass, -1, keepdims=True)
    if kind == "two-hot":
        centers = _centers(edges)
        passed = clip((y - centers[:-1]) / (centers[1:] - centers[:-1]), 0.0, 1.0)
    elif kind == "hard":
        passed = xp.where(y == y, xp.astype(y >= edges[1:-1], y.dtype), y)  # nan stays nan
    else:
        raise ValueError(f"kind must be 'hard', 'two-hot' or 'gaussian'; got {kind!r}")
    ones = xp.ones_like(y)
    return xp.concat([ones, passed], axis=-1) - xp.concat([passed, 0 * ones], axis=-1)


@vectorwise("probabilities")
def bin_mean(probabilities: Any, edges: Any) -> Any:
    r"""Mean of predicted bins, :math:`\sum_kp_kc_k` with the centres c of the bins.

    ``(...,K),(K+1)->(...)``

    Examples
    --------
    >>> bin_mean([[0.75, 0.25, 0.0], [0.2, 0.2, 0.6]], [0.0, 1.0, 2.0, 3.0])
    array([0.75, 1.9 ])
    """
    edges = _edges(edges, probabilities)
    if probabilities.shape[-1] + 1 != edges.shape[0]:
        raise ValueError(
            f"edges must be one more than the bins of probabilities; "
            f"got {edges.shape[0]} for {probabilities.shape[-1]}"
        )
    return total(probabilities * _centers(edges))


def _edges(edges: Any, x: Any) -> Any:
    edges = like(edges, x)
    if edges.ndim != 1 or edges.shape[0] < 2:
        raise ValueError(f"edges must have shape (K+1,); got {tuple(edges.shape)}")
    if inspectable(edges) and not bool(namespace(edges).all(edges[1:] > edges[:-1])):
        raise ValueError("edges must rise")
    return edges


def _centers(edges: Any) -> Any:
    return 0.5 * (edges[1:] + edges[:-1])
