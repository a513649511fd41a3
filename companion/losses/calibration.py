"""Whether predicted probabilities are true, and how to make them so (chapter 3, section 9)."""

from __future__ import annotations

import math
from typing import Any

from companion.activations.groups import _softmax
from companion.backend import (
    _cast,
    entries,
    is_torch,
    largest,
    namespace,
    pick,
    positive,
    replaced,
    total,
    vectorwise,
)
from companion.losses.base import distribution, divisor, labels, pair, reduced


@vectorwise("probabilities")
def brier_score(probabilities: Any, target: Any, *, reduction: str = "mean") -> Any:
    r"""Brier score, :math:`\sum_j(p_j-[j=t])^2`, the squared error of predicted probabilities.

    Core signature ``(n,k),(n)->()``; leading axes are replicas. Summed over the classes as Brier
    did, so from 0 to 2. For two classes some take the square of one probability's error, which is
    half of it, as scikit-learn's ``brier_score_loss`` does by default.

    Parameters
    ----------
    probabilities : array, shape (..., n, k)
        They sum to 1 along the last axis to within 0.01.
    target : integer array, shape (..., n)
        Classes 0 to k-1; leading axes may be left out where the replicas share them.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples.

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction.

    Raises
    ------
    TypeError
        If `target` does not hold integers.
    ValueError
        If the shapes do not fit, a label is out of range, or probabilities are negative or do not
        sum to 1; values are looked at on the CPU only, and not inside a compiled graph.

    References
    ----------
    Brier (1950), "Verification of forecasts expressed in terms of probability".

    Examples
    --------
    >>> brier_score([[0.75, 0.25], [0.5, 0.5]], [0, 1], reduction="none")
    array([0.125, 0.5  ])
    """
    error = _errors(probabilities, target)
    return reduced(total(error * error), reduction, -1)


@vectorwise("probabilities")
def brier_score_grad(probabilities: Any, target: Any, *, reduction: str = "mean") -> Any:
    r"""Derivative of :func:`brier_score`, :math:`2(p-e_t)`, over n for the mean.

    Examples
    --------
    >>> brier_score_grad([[0.75, 0.25]], [0])
    array([[-0.5,  0.5]])
    """
    error = _errors(probabilities, target)
    return 2 * error / divisor(reduction, error.shape[-2])


def _errors(probabilities: Any, target: Any) -> Any:
    """Return p - e_t."""
    at = entries(probabilities, labels(target, probabilities))
    own = pick(distribution(probabilities, -1, "probabilities"), at)
    return replaced(probabilities + 0.0, at, own - 1)


@vectorwise("probabilities")
def calibration_curve(probabilities: Any, target: Any, *, n_bins: int = 15) -> tuple[Any, Any, Any]:
    r"""Points of a reliability diagram: how often the answer is right, against what was claimed.

    Core signature ``(n,k),(n)->(b),(b),(b)``; leading axes are replicas. The answer is the class of
    the largest probability, which is the *confidence*. Bin m of M holds the confidences in
    :math:`(\frac{m-1}M,\frac mM]`, as Guo et al. define it.

    Parameters
    ----------
    probabilities : array, shape (..., n, k)
        They sum to 1 along the last axis to within 0.01.
    target : integer array, shape (..., n)
        Classes 0 to k-1; leading axes may be left out where the replicas share them.
    n_bins : int, default 15
        Number M of bins of equal width.

    Returns
    -------
    accuracy, confidence, weight : arrays, shape (..., n_bins)
        For each bin the share of right answers, the mean confidence, and the share of the samples
        that it holds. Those of an empty bin are nan, nan and 0. scikit-learn's function of this
        name is for two classes, and leaves out empty bins.

    Raises
    ------
    TypeError, ValueError
        As in :func:`brier_score`, and if `n_bins` is not positive.

    References
    ----------
    DeGroot and Fienberg (1983), "The comparison and evaluation of forecasters"; Guo, Pleiss, Sun
    and Weinberger (2017), "On calibration of modern neural networks".

    Examples
    --------
    >>> curve = calibration_curve([[0.8, 0.2], [0.9, 0.1], [0.4, 0.6]], [0, 1, 1], n_bins=2)
    >>> [a.round(4).tolist() for a in curve]
    [[nan, 0.6667], [nan, 0.7667], [0.0, 1.0]]
    """
    member, right, confidence = _bins(probabilities, target, n_bins)
    count = total(member, -2)
    sums = [total(member * v[..., None], -2) for v in (right, confidence)]
    return sums[0] / count, sums[1] / count, count / member.shape[-2]


@vectorwise("probabilities")
def expected_calibration_error(probabilities: Any, target: Any, *, n_bins: int = 15) -> Any:
    r"""Expected calibration error, :math:`\sum_mw_m\,|\mathrm{accuracy}_m-\mathrm{confidence}_m|`.

    Core signature ``(n,k),(n)->()``; leading axes are replicas. The mean gap of
    :func:`calibration_curve`, weighted by the share of the samples in a bin. It is an estimate, and
    too large: the absolute value turns chance into error, the more so the fewer samples a bin has.

    Parameters
    ----------
    probabilities, target, n_bins
        As in :func:`calibration_curve`.

    Returns
    -------
    array
        From 0 to 1, shape (...).

    Raises
    ------
    TypeError, ValueError
        As in :func:`calibration_curve`.

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian
    binning"; Guo, Pleiss, Sun and Weinberger (2017), "On calibration of modern neural networks".

    Examples
    --------
    >>> wrong_once_in_four = [0, 0, 0, 1]
    >>> float(expected_calibration_error([[0.75, 0.25]] * 4, wrong_once_in_four))
    0.0
    >>> float(expected_calibration_error([[1.0, 0.0]] * 4, wrong_once_in_four))
    0.25
    """
    member, right, confidence = _bins(probabilities, target, n_bins)
    # |B| |acc - conf| is the absolute sum of the differences in the bin
    gaps = total(member * (right - confidence)[..., None], -2)
    return total(namespace(gaps).abs(gaps)) / member.shape[-2]


def _bins(probabilities: Any, target: Any, n_bins: int) -> tuple[Any, Any, Any]:
    """Return 1 for each sample in its bin, ``(..., n, M)``, whether it is right, and how sure."""
    positive(n_bins, "n_bins")
    xp = namespace(probabilities)
    target = labels(target, probabilities)
    confidence = largest(distribution(probabilities, -1, "probabilities"))
    right = _cast(xp.argmax(probabilities, axis=-1) == target, confidence.dtype)
    edges = xp.arange(1, n_bins, dtype=confidence.dtype, device=confidence.device) / n_bins
    bin_of = total(_cast(confidence[..., None] > edges, confidence.dtype))
    bins = xp.arange(n_bins, dtype=confidence.dtype, device=confidence.device)
    return _cast(bin_of[..., None] == bins, confidence.dtype), right, confidence


@vectorwise("logits")
def fit_temperature(logits: Any, target: Any) -> Any:
    r"""Temperature T that minimises the cross-entropy of softmax(logits / T), ``(n,k),(n)->()``.

    In :math:`\beta=1/T` the loss is convex, with derivatives

    .. math:: \frac{d}{d\beta}=\overline{\sum_jp_jz_j-z_t},\qquad
              \frac{d^2}{d\beta^2}=\overline{\sum_jp_jz_j^2-\Big(\sum_jp_jz_j\Big)^2},

    the bar being the mean over the samples. Newton's method finds the root of the first, within
    bounds that every step tightens. Fit it on data that the network was not trained on; it
    changes no answer, only how sure they are.

    Parameters
    ----------
    logits : array, shape (..., n, k)
    target : integer array, shape (..., n)
        Classes 0 to k-1; leading axes may be left out where the replicas share them.

    Returns
    -------
    array
        Shape (...), in the dtype and library of the logits; no gradient passes. It is 0 where every
        answer is right, since the surer the better; and inf where the logits are on average no
        larger for the target than for all classes, so that no temperature beats equal
        probabilities.

    Raises
    ------
    TypeError, ValueError
        As in :func:`~companion.losses.cross_entropy`.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017), "On calibration of modern neural networks".

    Examples
    --------
    >>> import numpy as np
    >>> z = np.log([[0.9, 0.1]] * 4)  # sure to 0.9, and right in three of four
    >>> round(float(fit_temperature(z, [0, 0, 0, 1])), 6)
    2.0
    """
    if is_torch(logits):
        logits = logits.detach()
    xp = namespace(logits)
    own = pick(logits, entries(logits, labels(target, logits)))
    if not bool(xp.all(xp.isfinite(logits))):
        raise ValueError("logits must be finite; got nan or inf")
    margins = logits - own[..., None]  # z_j - z_t, which changes no slope
    scale = largest(xp.abs(margins), (-1, -2), True)
    margins = margins / xp.where(scale > 0, scale, xp.ones_like(scale))
    perfect = largest(margins, (-1, -2)) <= 0
    low = xp.zeros_like(own[..., 0])
    hopeless = _slopes(low, margins)[0] >= 0
    settled = perfect | hopeless

    high = low + 1
    while bool(xp.any(short := ~settled & (_slopes(high, margins)[0] < 0))):
        high = xp.where(short, 2 * high, high)
    beta, tolerance = high, 4 * float(xp.finfo(logits.dtype).eps)
    while not bool(xp.all(settled)):
        slope, bend = _slopes(beta, margins)
        high, low = xp.where(slope > 0, beta, high), xp.where(slope > 0, low, beta)
        step = beta - slope / bend
        step = xp.where((step >= low) & (step <= high), step, (low + high) / 2)
        settled = settled | (xp.abs(step - beta) <= tolerance * beta)
        beta = step
    found = xp.where(perfect, xp.zeros_like(beta), scale[..., 0, 0] / beta)
    return xp.where(hopeless, xp.full_like(found, math.inf), found)


def _slopes(beta: Any, margins: Any) -> tuple[Any, Any]:
    """Return the derivative of the loss in beta, and the second."""
    xp = namespace(beta)
    p = _softmax(beta[..., None, None] * margins, -1, 1.0, exact=False)
    mean = total(p * margins, -1, True)
    spread = total(p * (margins - mean) ** 2)
    return xp.mean(mean[..., 0], axis=-1), xp.mean(spread, axis=-1)


pair(brier_score, brier_score_grad)
