"""The 0–1 loss, and measures of information (chapter 3, sections 1 and 2).

Logarithms are natural, so the unit is the nat; divided by log 2 it is the bit. 0 log 0 = 0.
"""

from __future__ import annotations

import math
from typing import Any

from companion.activations.groups import _exponentials
from companion.backend import (
    _cast,
    axis_index,
    check_shape,
    elementwise,
    entries,
    inspectable,
    is_torch,
    largest,
    namespace,
    pick,
    smallest,
    to_numpy,
    total,
    vectorwise,
    widen,
)
from companion.losses.base import (
    distribution,
    divisor,
    labels,
    matched,
    pair,
    reduced,
    sums_to_one,
)


@vectorwise("logits")
def zero_one_loss(logits: Any, target: Any, *, reduction: str = "mean") -> Any:
    r"""0–1 loss, 1 where the largest entry is not the target's, else 0; the mean is the error rate.

    Core signature ``(n,k),(n)->()``; leading axes are replicas. In a tie the first of the largest
    entries is the answer.

    There is no ``zero_one_loss_grad``. The loss is constant until the largest entry changes, where
    it jumps: its derivative is 0 wherever there is one, and says nothing.

    Parameters
    ----------
    logits : array, shape (..., n, k)
        Or any scores of which the largest is the answer, such as probabilities.
    target : integer array, shape (..., n)
        Classes 0 to k-1; leading axes may be left out where the replicas share them.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples.

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction.

    References
    ----------
    Wald (1950), "Statistical decision functions".

    Examples
    --------
    >>> zero_one_loss([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]], [0, 1, 1], reduction="none")
    array([0., 0., 1.])
    """
    target = labels(target, logits)
    xp, top = namespace(logits), largest(logits)
    wrong = _cast(xp.argmax(logits, axis=-1) != target, logits.dtype)
    return reduced(xp.where(top == top, wrong, top), reduction, -1)  # nan stays nan


@elementwise
def self_information(p: Any) -> Any:
    r"""Self-information of an event of probability p, :math:`-\log p`, elementwise.

    Parameters
    ----------
    p : array of numbers from 0 to 1

    Returns
    -------
    array
        In nats, in the shape, dtype and library of `p`; inf at 0.

    Raises
    ------
    ValueError
        If a number is not from 0 to 1.

    References
    ----------
    Shannon (1948), "A mathematical theory of communication".

    Examples
    --------
    >>> import numpy as np
    >>> (self_information([1.0, 0.5, 0.25]) / np.log(2)).tolist()
    [0.0, 1.0, 2.0]
    """
    if inspectable(p) and math.prod(p.shape):
        low, high = float(to_numpy(smallest(p, None))), float(to_numpy(largest(p, None)))
        if low < 0 or high > 1:
            raise ValueError(f"p must hold probabilities, 0 to 1; got {low} to {high}")
    return 0.0 - namespace(p).log(p)  # not -log(p), which is -0.0 for a certain event


@vectorwise("p")
def entropy(p: Any, axis: int = -1) -> Any:
    r"""Entropy, :math:`H(p)=-\sum_ip_i\log p_i`, the mean self-information, ``(k)->()``.

    Parameters
    ----------
    p : array
        Probabilities, which sum to 1 along `axis` to within 0.01.
    axis : int, default -1

    Returns
    -------
    array
        In nats, without `axis`. SciPy's ``entropy`` divides p by its sum first, and takes axis 0.

    Raises
    ------
    ValueError
        If a number is negative, or a sum is not 1. The numbers are looked at on the CPU only, and
        not inside a compiled graph.

    References
    ----------
    Shannon (1948), "A mathematical theory of communication".

    Examples
    --------
    >>> import numpy as np
    >>> (entropy([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]]) / np.log(2)).tolist()
    [1.0, 1.5]
    """
    axis_index(p, axis)
    return total(-_times_log(distribution(p, axis, "p")), axis) + 0.0


def _times_log(p: Any) -> Any:
    """Return p log p, 0 at 0."""
    xp = namespace(p)
    return p * xp.log(xp.where(p > 0, p, xp.ones_like(p)))


@vectorwise("dy", "p")
def entropy_vjp(dy: Any, p: Any, axis: int = -1) -> Any:
    r"""Pull a gradient back through :func:`entropy`, ``(),(k)->(k)``: :math:`-dy\,(\log p_i+1)`.

    At :math:`p_i=0` it is infinite: a probability that is not there yet is the quickest way to
    more entropy. (Autograd through :func:`entropy` says 0 there.)

    Examples
    --------
    >>> entropy_vjp(1.0, [0.5, 0.5]).round(4)
    array([-0.3069, -0.3069])
    """
    at = axis_index(p, axis)
    check_shape(dy, tuple(p.shape[:at]) + tuple(p.shape[at + 1 :]), "dy")
    xp = namespace(p)
    dy = xp.expand_dims(dy, axis=at)
    slope = xp.log(distribution(p, axis, "p")) + 1
    return -dy * xp.where(dy == 0, xp.zeros_like(p), slope)  # -inf at p = 0, where dy asks for it


# ---------------------------------------------------------------------------------------------
# Divergence


@vectorwise("log_q")
def kl_div(log_q: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Any:
    r"""Kullback–Leibler divergence, :math:`D(p\|q)=\sum_ip_i(\log p_i-\log q_i)`.

    Core signature ``(n,k),(n,k)->()``; leading axes are replicas. As in torch the prediction comes
    first and as the *logarithm* of its probabilities, such as from a log-softmax, and the target p
    second; :math:`D(p\|q)\ne D(q\|p)`.

    Log-probabilities have been rounded, and where q is nearly p, their rounding errors are larger
    than the divergence: :func:`kl_div_with_logits` has it to the last digits.

    Parameters
    ----------
    log_q : array, shape (..., n, k)
        Logarithms of the predicted probabilities.
    target : array, shape (..., n, k)
        The probabilities p; leading axes may be left out where the replicas share them.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples: the mean is torch's ``"batchmean"``, and k times torch's ``"mean"``,
        which divides by n k. Keras, too, takes the mean over the samples, of
        ``KLDivergence()(p, q)``.
    log_target : bool, default False
        Whether `target` holds log p.

    Returns
    -------
    array
        In nats; shape (...), or (..., n) without reduction. inf where :math:`q_i=0<p_i`.

    Raises
    ------
    ValueError
        If the shapes do not fit, or probabilities are negative or do not sum to 1 to within 0.01.
        They are looked at on the CPU only, and not inside a compiled graph.

    References
    ----------
    Kullback and Leibler (1951), "On information and sufficiency".

    Examples
    --------
    >>> import numpy as np
    >>> kl_div(np.log([[0.5, 0.5]]), [[0.9, 0.1]]).round(3)
    np.float64(0.368)
    """
    p, log_p = _target(log_q, target, log_target)
    xp = namespace(log_q)
    ratio = xp.where(p > 0, log_p - log_q, xp.zeros_like(p))
    return reduced(total(p * ratio), reduction, -1)


@vectorwise("log_q")
def kl_div_grad(
    log_q: Any, target: Any, *, reduction: str = "mean", log_target: bool = False
) -> Any:
    r"""Derivative of :func:`kl_div` in log q, :math:`-p`, over n for the mean.

    Examples
    --------
    >>> import numpy as np
    >>> kl_div_grad(np.log([[0.5, 0.5]]), [[0.75, 0.25]])
    array([[-0.75, -0.25]])
    """
    p = _target(log_q, target, log_target)[0]
    xp = namespace(log_q)
    return xp.broadcast_to(-p, log_q.shape) / divisor(reduction, log_q.shape[-2])


def _target(log_q: Any, target: Any, log_target: bool) -> tuple[Any, Any]:
    """Return p and log p, with a number in place of log 0, once both arguments are checked."""
    xp = namespace(log_q)
    p = target = _beside(target, log_q, ("target", "log_q"))
    if inspectable(log_q) and math.prod(log_q.shape):
        sums_to_one(total(xp.exp(log_q)), "log_q", "logarithms of probabilities")
    if log_target:
        p = xp.exp(target)
        log_p = xp.where(p > 0, target, xp.zeros_like(p))
    else:
        log_p = xp.log(xp.where(p > 0, p, xp.ones_like(p)))
    return distribution(p, -1, "target"), log_p


def _beside(target: Any, prediction: Any, names: tuple[str, str]) -> Any:
    if prediction.ndim < 2:
        raise ValueError(
            f"{names[1]} must have the shape (..., n, k); got {tuple(prediction.shape)}"
        )
    return matched(target, prediction, names)


@vectorwise("logits")
def kl_div_with_logits(logits: Any, target_logits: Any, *, reduction: str = "mean") -> Any:
    r"""Divergence :math:`D(p\|q)` of q = softmax(logits) from p = softmax(target_logits).

    Core signature ``(n,k),(n,k)->()``; leading axes are replicas.

    Near q = p the terms :math:`p_i\log(p_i/q_i)` have both signs and nearly cancel, and what is
    left in float32 is often negative. With :math:`\delta_i=\log(p_i/q_i)`,

    .. math:: D(p\|q)=\sum_ip_i\,\phi(\delta_i),\qquad\phi(\delta)=e^{-\delta}-1+\delta\ge0,

    since :math:`\sum_ip_i(e^{-\delta_i}-1)=\sum_i(q_i-p_i)=0`. No term is negative, and an error
    in what normalises :math:`\delta` enters only squared.

    Parameters
    ----------
    logits : array, shape (..., n, k)
        Entries of -inf have probability 0.
    target_logits : array, shape (..., n, k)
        Leading axes may be left out where the replicas share them.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples.

    Returns
    -------
    array
        In nats; shape (...), or (..., n) without reduction.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Kullback and Leibler (1951), "On information and sufficiency".

    Examples
    --------
    >>> float(kl_div_with_logits([[0.0, 1e-9]], [[0.0, 0.0]]))
    1.25e-19
    """
    return reduced(total(_excess(*_compared(logits, target_logits))), reduction, -1)


@vectorwise("logits")
def kl_div_with_logits_grad(logits: Any, target_logits: Any, *, reduction: str = "mean") -> Any:
    r"""Derivative of :func:`kl_div_with_logits` in the logits, :math:`q-p`, over n for the mean.

    Where they are nearly equal it is computed as :math:`p\,(e^{-\delta}-1)`.

    Examples
    --------
    >>> kl_div_with_logits_grad([[0.0, 1e-9]], [[0.0, 0.0]])
    array([[-2.5e-10,  2.5e-10]])
    """
    return _gap(*_compared(logits, target_logits)) / divisor(reduction, logits.shape[-2])


@vectorwise("logits")
def _kl_div_with_logits_both(
    logits: Any, target_logits: Any, *, reduction: str = "mean"
) -> tuple[Any, Any]:
    found = _compared(logits, target_logits)
    value = reduced(total(_excess(*found)), reduction, -1)
    return value, _gap(*found) / divisor(reduction, logits.shape[-2])


def _compared(logits: Any, target_logits: Any) -> tuple[Any, Any, Any]:
    """Return the softmaxes p of the target and q, and log(p/q).

    With r the entry where p q is largest and u = log(p/q) - log(p_r/q_r), a difference of logits,
    q sums to 1 where p_r/q_r is the sum of p exp(-u). As 1 plus what the other entries change it
    keeps its digits, be p and q nearly equal, nearly certain or both.
    """
    target = _beside(target_logits, logits, ("target_logits", "logits"))
    z, t = widen(logits), widen(target)
    xp = namespace(z)
    t = xp.broadcast_to(t, z.shape)
    (a, _, q), (b, _, p) = (_exponentials(x, -1, 1.0, exact=not is_torch(z)) for x in (z, t))
    sum_q, sum_p = total(q, -1, True), total(p, -1, True)
    q, p = q / sum_q, p / sum_p
    at = entries(z, xp.argmax(a + b, axis=-1))

    d = t - z
    back = d - t
    e = (t - (d - back)) - (z + back)  # the rounding error of d (Knuth's two-sum)
    e = xp.where(xp.isfinite(e), e, xp.zeros_like(e))
    a_r, b_r, q_r, p_r, d_r, e_r = (pick(x, at)[..., None] for x in (a, b, q, p, d, e))
    u = (d - xp.where(xp.isfinite(d_r), d_r, xp.zeros_like(d_r))) + (e - e_r)

    close = (q_r > p_r / 8) & (p_r > q_r / 8)
    ratio = p_r / xp.where(close, q_r, xp.ones_like(q_r))
    near, half = _near(p, u)
    change = total(xp.where(near, p * xp.expm1(-2 * half), q * ratio - p), -1, True)
    own = xp.log1p(xp.where(close, change, xp.zeros_like(change)))
    return p, q, u + xp.where(close, own, (b_r - a_r) + xp.log(sum_q / sum_p))


def _near(p: Any, log_ratio: Any) -> tuple[Any, Any]:
    """Return where p > 0 and |log(p/q)| <= 2, and half of log(p/q) there, 0 elsewhere.

    Elsewhere p and q are far enough apart to be subtracted, and the exponential might overflow.
    """
    xp = namespace(p)
    near = (xp.abs(log_ratio) <= 2) & (p > 0)
    half = xp.where(near, log_ratio, xp.zeros_like(p)) / 2
    return near, half


def _gap(p: Any, q: Any, log_ratio: Any) -> Any:
    """Return q - p."""
    near, half = _near(p, log_ratio)
    xp = namespace(p)
    return xp.where(near, p * xp.expm1(-2 * half), q - p)


def _excess(p: Any, q: Any, log_ratio: Any) -> Any:
    r"""Return :math:`p\log(p/q)-p+q\ge0`, which is :math:`p\,\phi(\log(p/q))`.

    With :math:`\phi(2h)=(e^{-h}-1)^2+2\phi(h)` the series of :math:`\phi` is needed for |h| <= 1.
    """
    near, h = _near(p, log_ratio)
    xp = namespace(p)
    series = 1 - h / 19
    for k in range(18, 2, -1):
        series = 1 - h / k * series
    phi = xp.expm1(-h) ** 2 + h * h * series
    far = q - p + p * xp.where(p > 0, log_ratio, xp.zeros_like(p))
    return xp.where(near, p * phi, far)


@vectorwise("joint")
def mutual_information(joint: Any) -> Any:
    r"""Mutual information, :math:`I(X;Y)=\sum_{xy}p_{xy}\log\frac{p_{xy}}{p_xp_y}`, ``(a,b)->()``.

    The divergence of the joint distribution from the product of its margins: what one of the two
    variables tells about the other, 0 if and only if they are independent. As in
    :func:`kl_div_with_logits` no term of the sum is negative.

    Parameters
    ----------
    joint : array, shape (..., a, b)
        Probabilities of the pairs, which sum to 1 to within 0.01.

    Returns
    -------
    array
        In nats; shape (...).

    Raises
    ------
    ValueError
        If a probability is negative, or they do not sum to 1.

    References
    ----------
    Shannon (1948), "A mathematical theory of communication"; Cover and Thomas (2006), "Elements of
    information theory".

    Examples
    --------
    >>> mutual_information([[0.5, 0.0], [0.0, 0.5]]).round(4)
    np.float64(0.6931)
    """
    if joint.ndim < 2:
        raise ValueError(f"joint must have shape (..., a, b); got {tuple(joint.shape)}")
    p = widen(distribution(joint, (-2, -1), "joint"))
    xp = namespace(p)
    rows, columns = total(p, -1, True), total(p, -2, True)
    # divided by the sum, which rounding leaves near 1, the product has the same sum
    whole = total(columns, -1, True)
    one = xp.ones_like(p)
    log_ratio = xp.log(
        xp.where(p > 0, p, one) / xp.where(p > 0, rows / whole, one) / xp.where(p > 0, columns, one)
    )
    return total(_excess(p, rows * columns / whole, log_ratio), (-2, -1))


pair(kl_div, kl_div_grad)
pair(kl_div_with_logits, kl_div_with_logits_grad, _kl_div_with_logits_both)
