"""Losses with a margin: hinge, large-margin softmax, triplets, InfoNCE (chapter 3, section 5)."""

from __future__ import annotations

import math
from typing import Any

from companion.backend import (
    _cast,
    check_shape,
    entries,
    inspectable,
    largest,
    namespace,
    pick,
    positive,
    positive_part,
    replaced,
    total,
    vectorwise,
)
from companion.losses.base import divisor, labels, matched, pair, reduced, size
from companion.losses.classification import cross_entropy, cross_entropy_grad


@vectorwise("logits")
def multi_margin_loss(
    logits: Any, target: Any, *, p: int = 1, margin: float = 1.0, reduction: str = "mean"
) -> Any:
    r"""Hinge loss of several classes, :math:`\frac1k\sum_{j\ne t}\max(0,\,m-z_t+z_j)^p`.

    Core signature ``(n,k),(n)->()``; leading axes are replicas. The sum over the wrong classes is
    that of Weston and Watkins, over k as in torch; Crammer and Singer take the largest wrong
    class instead.

    Parameters
    ----------
    logits : array, shape (..., n, k)
    target : integer array, shape (..., n)
        Classes 0 to k-1; leading axes may be left out where the replicas share them.
    p : {1, 2}, default 1
    margin : float, default 1.0
        How far the target's logit has to lie above the others; 0 is the perceptron's loss.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n samples.

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction.

    Raises
    ------
    TypeError, ValueError
        As :func:`~companion.losses.cross_entropy`, and for another p or a negative margin.

    References
    ----------
    Weston and Watkins (1999), "Support vector machines for multi-class pattern recognition";
    Crammer and Singer (2001), "On the algorithmic implementation of multiclass kernel-based
    vector machines".

    Examples
    --------
    >>> multi_margin_loss([[2.0, 0.5, 1.5, 0.0]], [0], reduction="none")
    array([0.125])
    """
    missing, _ = _missing(logits, target, margin)
    each = total(_power(missing, p)) / logits.shape[-1]
    return reduced(each, reduction, -1)


@vectorwise("logits")
def multi_margin_loss_grad(
    logits: Any, target: Any, *, p: int = 1, margin: float = 1.0, reduction: str = "mean"
) -> Any:
    r"""Derivative of :func:`multi_margin_loss` in the logits; 0 at the kink, as in torch.

    A wrong class that violates the margin gets :math:`\frac1k`, for p = 2 times twice what is
    missing; the target gets minus their sum.

    Examples
    --------
    >>> multi_margin_loss_grad([[2.0, 0.5, 1.5, 0.0]], [0])
    array([[-0.25,  0.  ,  0.25,  0.  ]])
    """
    missing, at = _missing(logits, target, margin)
    count = logits.shape[-1] * divisor(reduction, logits.shape[-2])
    grad = _power_slope(missing, p) / count
    return replaced(grad, at, 0 - total(grad))


pair(multi_margin_loss, multi_margin_loss_grad)


def _missing(logits: Any, target: Any, margin: float) -> tuple[Any, Any]:
    """Return by how much each wrong class violates the margin, and where the target's 0 is."""
    if not margin >= 0:
        raise ValueError(f"margin must not be negative; got {margin!r}")
    at = entries(logits, labels(target, logits))
    missing = positive_part(logits - pick(logits, at)[..., None] + margin)
    return replaced(missing, at, 0.0), at


def _power(missing: Any, p: int) -> Any:
    if p not in (1, 2):
        raise ValueError(f"p must be 1 or 2; got {p!r}")
    return missing if p == 1 else missing * missing


def _power_slope(missing: Any, p: int) -> Any:
    _power(missing, p)
    return 2 * missing if p == 2 else namespace(missing).sign(missing)  # nan stays nan


@vectorwise("scores")
def hinge_loss(
    scores: Any, target: Any, *, p: int = 1, reduction: str = "mean", axis: Any = None
) -> Any:
    r"""Hinge loss of two classes, :math:`\max(0,\,1-ts)^p` with :math:`t=\pm1`.

    Parameters
    ----------
    scores : array, shape (...)
    target : array of -1 and 1
        In the shape of `scores`, whose leading axes it may lack. (Keras takes 0 for -1.)
    p : {1, 2}, default 1
    reduction : {"mean", "sum", "none"}, default "mean"
    axis : int or tuple of int, optional
        The axes to reduce; default all. The others are replicas.

    Returns
    -------
    array
        A scalar, or one loss for each replica.

    Raises
    ------
    ValueError
        If `target` holds anything else (looked at on the CPU only, and not inside a compiled
        graph), the shapes do not fit, or for another p.

    References
    ----------
    Cortes and Vapnik (1995), "Support-vector networks".

    Examples
    --------
    >>> hinge_loss([2.0, 0.5, -1.0], [1, 1, 1], reduction="none")
    array([0. , 0.5, 2. ])
    """
    missing = positive_part(1 - _signs(target, scores) * scores)
    return reduced(_power(missing, p), reduction, axis)


@vectorwise("scores")
def hinge_loss_grad(
    scores: Any, target: Any, *, p: int = 1, reduction: str = "mean", axis: Any = None
) -> Any:
    r"""Derivative of :func:`hinge_loss` in the scores, :math:`-t` below the margin, 0 from it on.

    Examples
    --------
    >>> hinge_loss_grad([2.0, 1.0, -1.0], [1, 1, 1], reduction="sum")
    array([ 0.,  0., -1.])
    """
    t = _signs(target, scores)
    slope = _power_slope(positive_part(1 - t * scores), p)
    return (0 - t * slope) / divisor(reduction, size(scores, axis))


pair(hinge_loss, hinge_loss_grad)


def _signs(target: Any, scores: Any) -> Any:
    """Return the targets as numbers like the scores, once they are checked."""
    target = matched(target, scores)
    if inspectable(target) and not bool(namespace(target).all(abs(target) == 1)):
        raise ValueError("target must hold -1 and 1 only")
    return target


@vectorwise("x", "weight")
def large_margin_logits(
    x: Any, weight: Any, target: Any, *, margin: int = 2, blend: float = 0.0
) -> Any:
    r"""Logits of the large-margin softmax: the target's is made harder to reach.

    Core signature ``(n,d),(d,k),(n)->(n,k)``; leading axes are replicas. All logits are
    :math:`z_j=w_j^Tx=\|w_j\|\|x\|\cos\theta_j`, but for the target's,

    .. math:: \|w_t\|\|x\|\,\frac{\psi(\theta_t)+\lambda\cos\theta_t}{1+\lambda},\qquad
       \psi(\theta)=(-1)^i\cos m\theta-2i\ \text{ for }\
       \tfrac{i\pi}m\le\theta\le\tfrac{(i+1)\pi}m.

    The loss is the cross-entropy of these; at test time there is no target, and the logits are
    ``x @ weight``. :math:`\cos m\theta` is the Chebyshev polynomial :math:`T_m(\cos\theta)`, which
    has a derivative at 1, and a value where rounding has brought the cosine above.

    Parameters
    ----------
    x : array, shape (..., n, d)
        Features.
    weight : array, shape (..., d, k)
        Of a last layer without bias, a class in each column.
    target : integer array, shape (..., n)
    margin : int, default 2
        The m of the angle; 1 is the plain softmax.
    blend : float, default 0.0
        The weight :math:`\lambda` of the plain logit, which the paper lets fall in training.

    Returns
    -------
    array, shape (..., n, k)
        Where x or the target's column is 0, the target's logit is 0.

    References
    ----------
    Liu, Wen, Yu and Yang (2016), "Large-margin softmax loss for convolutional neural networks".

    Examples
    --------
    >>> large_margin_logits([[3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]], [0]).round(12)
    array([[-1.4,  4. ]])
    """
    z, at, lengths, _, cosine = _angles(x, weight, target)
    psi, _ = _psi(cosine, margin, blend)
    return replaced(z, at, lengths * psi)


@vectorwise("dy", "x", "weight")
def large_margin_logits_vjp(
    dy: Any, x: Any, weight: Any, target: Any, *, margin: int = 2, blend: float = 0.0
) -> tuple[Any, Any]:
    r"""Pull a gradient back through :func:`large_margin_logits`, to the features and the weights.

    With :math:`c=\cos\theta_t` and the derivative :math:`\psi'` in c, the target's logit has the
    derivative :math:`\psi'w_t+(\psi-c\psi')\frac{\|w_t\|}{\|x\|}x` in x, and the same with x and
    :math:`w_t` exchanged in :math:`w_t`. Where one of them is 0, its own direction is left out.

    Examples
    --------
    >>> dx, dweight = large_margin_logits_vjp([[1.0, 0.0]], [[0.0, 2.0]], [[1.0, 0.0],
    ...                                       [0.0, 1.0]], [0], margin=1)
    >>> dx, dweight
    (array([[1., 0.]]), array([[0., 0.],
           [2., 0.]]))
    """
    z, at, _, (x_size, w_size), cosine = _angles(x, weight, target)
    check_shape(dy, z.shape, "dy")
    xp = namespace(z)
    psi, slope = _psi(cosine, margin, blend)
    own = pick(dy, at)
    rest = (own * (psi - cosine * slope))[..., None]
    # a copy, since NumPy replaces in place
    through = replaced(dy + 0, at, own * slope)
    own_size = pick(xp.broadcast_to(w_size, z.shape), at)[..., None]
    dx = through @ weight.mT + rest * own_size / _nonzero(x_size) * x
    share = replaced(z * 0, at, rest[..., 0])
    pull = total(share * x_size, -2, True) / _nonzero(w_size)
    return dx, x.mT @ through + pull * weight


def _angles(x: Any, weight: Any, target: Any) -> tuple[Any, Any, Any, tuple[Any, Any], Any]:
    """Return the plain logits, where the target's is, |x| |w| and the cosine there, and the
    norms of all features and columns.
    """
    if x.ndim < 2 or weight.ndim < 2 or x.shape[-1] != weight.shape[-2]:
        raise ValueError(
            f"x must have shape (..., n, d) and weight (..., d, k); "
            f"got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    z = x @ weight
    at = entries(z, labels(target, z))
    norms = _norm(x, -1), _norm(weight, -2)
    lengths = pick(norms[0] * norms[1], at)
    return z, at, lengths, norms, pick(z, at) / _nonzero(lengths)


def _norm(x: Any, axis: int, p: float = 2.0) -> Any:
    """Return the p-norm along an axis that stays; in autograd too its derivative at 0 is 0."""
    xp = namespace(x)
    some = xp.any(x != 0, axis=axis, keepdims=True)
    size = abs(xp.where(some, x, xp.ones_like(x)))
    top = largest(size, axis, True)  # by which nothing overflows or vanishes when it is squared
    norm = top * total((size / top) ** p, axis, True) ** (1 / p)
    return xp.where(some, norm, xp.zeros_like(norm))


def _nonzero(norm: Any) -> Any:
    xp = namespace(norm)
    return xp.where(norm > 0, norm, xp.ones_like(norm))


def _psi(c: Any, margin: int, blend: float) -> tuple[Any, Any]:
    """Return psi, blended with the cosine, and its derivative in the cosine c."""
    if not (isinstance(margin, int) and margin >= 1):
        raise ValueError(f"margin must be an integer of at least 1; got {margin!r}")
    if not blend >= 0:
        raise ValueError(f"blend must not be negative; got {blend!r}")
    xp = namespace(c)
    # T_m = cos(m theta) and U_(m-1) = sin(m theta) / sin(theta); T_m' = m U_(m-1)
    before, t, u_before, u = xp.ones_like(c), c, xp.zeros_like(c), xp.ones_like(c)
    piece = xp.zeros_like(c)
    for j in range(1, margin):
        before, t = t, 2 * c * t - before
        u_before, u = u, 2 * c * u - u_before
        piece = piece + _cast(c < math.cos(j * math.pi / margin), c.dtype)
    sign = 1 - 2 * (piece % 2)
    psi, slope = sign * t - 2 * piece, sign * (margin * u)
    return (psi + blend * c) / (1 + blend), (slope + blend) / (1 + blend)


@vectorwise("anchor", "positive", "negative")
def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    reduction: str = "mean",
) -> Any:
    r"""Triplet loss, :math:`\max(0,\,\|a-b\|_p-\|a-c\|_p+m)`.

    Core signature ``(n,d),(n,d),(n,d)->()``; leading axes are replicas. The anchor a is to be
    nearer to b, of its own class, than to c, of another, by the margin m.

    Torch adds 1e-6 to every difference before it takes the norm. Here the distance is exact; of
    two equal points it is 0, with derivative 0.

    Parameters
    ----------
    anchor, positive, negative : arrays of one shape, (..., n, d)
    margin : float, default 1.0
        In units of the distance. Schroff et al. take 0.2, *squared* distances and features of
        norm 1.
    p : float, default 2.0
        Of the norm, at least 1.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n triplets.

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction.

    References
    ----------
    Weinberger and Saul (2009), "Distance metric learning for large margin nearest neighbor
    classification"; Schroff, Kalenichenko and Philbin (2015), "FaceNet".

    Examples
    --------
    >>> a, b, c = [[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 5.5]]
    >>> float(triplet_margin_loss(a, b, c))
    0.5
    """
    missing, _, _ = _distances(anchor, positive, negative, margin, p)
    return reduced(positive_part(missing), reduction, -1)


@vectorwise("anchor", "positive", "negative")
def triplet_margin_loss_grad(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    reduction: str = "mean",
) -> tuple[Any, Any, Any]:
    r"""Derivatives of :func:`triplet_margin_loss` in the anchor, the positive and the negative.

    With u and v the unit vectors from b and from c to a, for p = 2: :math:`u-v`, :math:`-u` and
    :math:`v`; 0 where the margin is kept.

    Examples
    --------
    >>> triplet_margin_loss_grad([[0.0]], [[3.0]], [[-2.5]])
    (array([[-2.]]), array([[1.]]), array([[1.]]))
    """
    missing, near, far = _distances(anchor, positive, negative, margin, p)
    violated = _cast(missing > 0, missing.dtype)
    scale = (violated / divisor(reduction, missing.shape[-1]))[..., None]
    u, v = _norm_slope(*near, p), _norm_slope(*far, p)
    return scale * (u - v), scale * -u, scale * v


pair(triplet_margin_loss, triplet_margin_loss_grad)


def _distances(
    anchor: Any, positive: Any, negative: Any, margin: float, p: float
) -> tuple[Any, tuple[Any, Any], tuple[Any, Any]]:
    """Return what is missing to the margin, and the two differences with their norms."""
    for x, name in ((positive, "positive"), (negative, "negative")):
        check_shape(x, anchor.shape, name)
    if not 1 <= p < math.inf:
        raise ValueError(f"p must be a finite number of at least 1; got {p!r}")
    near, far = [(d, _norm(d, -1, p)) for d in (anchor - positive, anchor - negative)]
    return (near[1] - far[1] + margin)[..., 0], near, far


def _norm_slope(x: Any, norm: Any, p: float) -> Any:
    """Return the derivative of the p-norm; for p = 2 the unit vector."""
    return namespace(x).sign(x) * (abs(x) / _nonzero(norm)) ** (p - 1)


@vectorwise("queries", "keys")
def info_nce(
    queries: Any,
    keys: Any,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    reduction: str = "mean",
) -> Any:
    r"""InfoNCE: cross-entropy of the similarities :math:`s_{ij}=q_i^Tk_j/\tau` with target i.

    Core signature ``(n,d),(n,d)->()``; leading axes are replicas. Row i of `keys` belongs to row
    i of `queries`, and the other n - 1 rows are its negatives.

    Parameters
    ----------
    queries, keys : arrays of one shape, (..., n, d)
    temperature : float, default 0.1
        Of the similarities. MoCo has 0.07; CLIP learns it, from there.
    normalize : bool, default True
        Bring all rows to norm 1, so that the similarities are cosines; a row of zeros stays, and
        gets no gradient.
    reduction : {"mean", "sum", "none"}, default "mean"
        Over the n queries.

    Returns
    -------
    array
        Shape (...), or (..., n) without reduction. CLIP takes the mean of this and of that with
        `queries` and `keys` exchanged; SimCLR has the other 2n - 2 views as negatives.

    References
    ----------
    van den Oord, Li and Vinyals (2018), "Representation learning with contrastive predictive
    coding"; Sohn (2016), "Improved deep metric learning with multi-class N-pair loss objective".

    Examples
    --------
    >>> info_nce([[2.0, 0.0], [0.0, 3.0]], [[1.0, 0.0], [0.0, 1.0]], reduction="none")
    array([4.53988992e-05, 4.53988992e-05])
    """
    (q, _), (k, _) = _rows(queries, keys, normalize)
    s, own = _similarities(q, k, temperature)
    return cross_entropy(s, own, reduction=reduction)


@vectorwise("queries", "keys")
def info_nce_grad(
    queries: Any,
    keys: Any,
    *,
    temperature: float = 0.1,
    normalize: bool = True,
    reduction: str = "mean",
) -> tuple[Any, Any]:
    r"""Derivatives of :func:`info_nce` in the queries and in the keys.

    Of :math:`q_i` it is :math:`\frac1\tau\sum_j(p_{ij}-\delta_{ij})k_j`: a negative pushes as much
    as the softmax believes in it. What points along a row that is normalised is taken out.

    Examples
    --------
    >>> dq, dk = info_nce_grad([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]],
    ...                        temperature=1.0)
    >>> dq.round(4)
    array([[0.    , 0.1345],
           [0.1345, 0.    ]])
    """
    (q, q_size), (k, k_size) = _rows(queries, keys, normalize)
    s, own = _similarities(q, k, temperature)
    weight = cross_entropy_grad(s, own, reduction=reduction) / temperature
    dq, dk = weight @ k, weight.mT @ q
    if normalize:
        dq = (dq - total(dq * q, -1, True) * q) / q_size
        dk = (dk - total(dk * k, -1, True) * k) / k_size
    return dq, dk


pair(info_nce, info_nce_grad)


def _rows(queries: Any, keys: Any, normalize: bool) -> Any:
    """Return the rows as they are compared, and by what their gradients are divided."""
    if queries.ndim < 2:
        raise ValueError(f"queries must have shape (..., n, d); got {tuple(queries.shape)}")
    check_shape(keys, queries.shape, "keys")
    if not normalize:
        return (queries, 1), (keys, 1)
    sizes = _norm(queries, -1), _norm(keys, -1)
    xp = namespace(queries)
    never = [xp.where(s > 0, s, xp.full_like(s, math.inf)) for s in sizes]  # for rows of zeros
    return (queries / _nonzero(sizes[0]), never[0]), (keys / _nonzero(sizes[1]), never[1])


def _similarities(q: Any, k: Any, temperature: float) -> tuple[Any, Any]:
    """Return the similarities of queries and keys, and the index of each query's own key."""
    s = q @ k.mT / positive(temperature, "temperature")
    return s, namespace(s).arange(s.shape[-1], device=s.device)
