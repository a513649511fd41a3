r"""Weights drawn as a whole: orthogonal, the identity, sparse, gate by gate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.initializers.independent import check_real, checked, normal, sides


@checked
def orthogonal(shape: Any, *, rng: Any, gain: float = 1.0) -> Any:
    r"""Draw g Q, where Q has orthonormal columns, or rows if it has more columns than rows.

    Q comes from the QR decomposition of a Gaussian matrix A = QR, with the column j multiplied
    by the sign of :math:`R_{jj}`. The decomposition is unique only up to these signs, and which
    one a library returns depends on its algorithm; with all :math:`R_{jj}>0` Q is a function of A
    alone, and since UA has the distribution of A for every orthogonal U, Q has that of UQ: it is
    uniform over all orthogonal matrices (Haar's measure).

    Parameters
    ----------
    shape : tuple ``(..., n_in, n_out)``
        Axes before the last are taken together, as in Keras: the columns of a kernel
        ``(kh, kw, c, o)`` are orthonormal as vectors of kh kw c entries. torch takes the axes
        after its first together, which is the same matrix transposed.
    rng : numpy.random.Generator
    gain : float, default 1.0

    Raises
    ------
    ValueError
        If the shape has fewer than two axes.

    Notes
    -----
    A square Q keeps every length, both ways. With more inputs than outputs, orthonormal columns
    keep the length of what goes back, while forward a random direction keeps a share of
    :math:`n_{out}/n_{in}` of its square. An orthonormal kernel makes no orthogonal convolution:
    windows overlap.

    References
    ----------
    Saxe, McClelland and Ganguli (2014), "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks". Mezzadri (2007), "How to generate random matrices from the
    classical compact groups", for the signs.

    Examples
    --------
    >>> q = orthogonal((3, 2), rng=np.random.default_rng(0), gain=2.0)
    >>> bool(np.allclose(q.T @ q, 4 * np.eye(2), atol=1e-12))
    True
    """
    if len(shape) < 2:
        raise ValueError(f"shape must be (..., n_in, n_out); got {tuple(shape)}")
    rows, columns = math.prod(shape[:-1]), shape[-1]
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return gain * np.reshape(q.T if rows < columns else q, shape)


def eye(shape: Any, *, rng: Any = None, gain: float = 1.0) -> Any:
    """Return g times the identity, with zeros where `shape` is not square; `rng` is not used.

    Raises
    ------
    ValueError
        If the shape does not have two axes; for kernels there is :func:`dirac`.

    References
    ----------
    Le, Jaitly and Hinton (2015), "A simple way to initialize recurrent networks of rectified
    linear units".

    Examples
    --------
    >>> eye((2, 3))
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """
    check_real(gain, "gain")
    shape = sides(shape)
    if len(shape) != 2:
        raise ValueError(f"shape must be (n_in, n_out); got {shape}")
    return gain * np.eye(*shape)


def dirac(shape: Any, *, rng: Any = None) -> Any:
    """Return the kernel of the convolution that changes nothing; `rng` is not used.

    Channel i goes to channel i, as far as there are both; the 1 stands in the middle of the
    kernel, or right and below of it where a side is even, as in torch.

    Raises
    ------
    ValueError
        If the shape has no kernel axes before ``(c, o)``.

    Examples
    --------
    >>> dirac((3, 1, 1))[:, 0, 0]
    array([0., 1., 0.])
    """
    shape = sides(shape)
    if len(shape) < 3:
        raise ValueError(f"shape must be (..., c, o) with kernel axes; got {shape}")
    weight = np.zeros(shape)
    weight[tuple(n // 2 for n in shape[:-2])] = np.eye(*shape[-2:])
    return weight


def sparse(shape: Any, *, rng: Any, sparsity: float, std: float = 0.01) -> Any:
    r"""Draw from :math:`N(0,\sigma^2)`, and set the share `sparsity` of each column to 0.

    A column holds what goes into one unit, so that each unit has the same number of non-zero
    inputs. The number of zeros is rounded up, as in torch.

    Parameters
    ----------
    shape : (n_in, n_out)
    rng : numpy.random.Generator
    sparsity : float, from 0 to 1
    std : float, default 0.01
        That of the entries that are left.

    Raises
    ------
    ValueError
        If the shape does not have two axes, or sparsity is not from 0 to 1.

    Notes
    -----
    The paper limits what comes *into* a unit, to 15 weights. torch's function also goes by
    columns, but its weights are ``(n_out, n_in)``: there the limit is on what goes *out* of a
    unit, and some units may get nothing at all.

    References
    ----------
    Martens (2010), "Deep learning via Hessian-free optimization".

    Examples
    --------
    >>> w = sparse((10, 4), rng=np.random.default_rng(0), sparsity=0.75)
    >>> (w == 0).sum(axis=0)
    array([8, 8, 8, 8])
    """
    shape = sides(shape)
    if len(shape) != 2:
        raise ValueError(f"shape must be (n_in, n_out); got {shape}")
    check_real(sparsity, "sparsity")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must be from 0 to 1; got {sparsity}")
    weight = normal(shape, rng=rng, std=std)
    # the places of the smallest of uniform numbers are a random choice without repetition
    order = np.argsort(rng.random(shape), axis=0)
    zeros = order[: math.ceil(sparsity * shape[0])]
    np.put_along_axis(weight, zeros, 0.0, axis=0)
    return weight


def stacked(init: Callable[..., Any], num: int) -> Callable[..., Any]:
    """Return the initializer that draws `num` weights with `init`, side by side.

    For weights that hold several maps: the four gates of an LSTM, ``(h, 4h)``, or the queries,
    keys and values of attention, ``(d, 3d)``. Drawn at once, their fan-out is that of all maps
    together, and Xavier's scale smaller: for ``(h, 4h)`` by :math:`\\sqrt{2.5}`, and by less than
    :math:`\\sqrt{num}` for any shape; and only the rows of the whole would be orthogonal, not each
    gate.

    Parameters
    ----------
    init : initializer
    num : int
        By which the last axis is cut, 1 or more.

    Examples
    --------
    >>> w = stacked(orthogonal, 4)((2, 8), rng=np.random.default_rng(0))
    >>> [bool(np.allclose(q.T @ q, np.eye(2))) for q in np.split(w, 4, axis=-1)]
    [True, True, True, True]
    """

    if not isinstance(num, (int, np.integer)) or num < 1:
        raise ValueError(f"num must be a whole number from 1; got {num!r}")

    def draw(shape: Any, *, rng: Any, **options: Any) -> Any:
        shape = sides(shape)
        if not shape or shape[-1] % num:
            raise ValueError(f"shape must end in a multiple of {num}; got {shape}")
        one = (*shape[:-1], shape[-1] // num)
        return np.concatenate([init(one, rng=rng, **options) for _ in range(num)], axis=-1)

    return draw
