"""Sets that are drawn from a formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import array, to_numpy


def clusters(
    n: int = 2000, *, rng: Any, centers: Any = None, num_classes: int = 10, noise: float = 0.35
) -> tuple[Any, Any]:
    r"""Gaussian clusters, several to a class: not linearly separable, yet learned in seconds.

    Cluster :math:`c` belongs to class :math:`c \bmod K`; a sample is the centre of a random
    cluster plus normal noise.

    Parameters
    ----------
    n : int, default 2000
        Number of samples.
    rng : numpy.random.Generator
        Draws the samples. Another generator with the same centres gives a test set.
    centers : array, shape (number of clusters, number of features), optional
        Default: the book's common task, 80 centres from :math:`N(0, I_{20})`, always the same.
    num_classes : int, default 10
    noise : float, default 0.35
        Standard deviation around a centre.

    Returns
    -------
    x : array, shape (n, number of features)
    y : integer array, shape (n,)

    Examples
    --------
    >>> x, y = clusters(rng=np.random.default_rng(0))
    >>> tuple(x.shape), int(y.max())
    ((2000, 20), 9)
    """
    if centers is None:
        centers = np.random.default_rng(123).standard_normal((80, 20))
    centers = np.asarray(to_numpy(centers))
    cluster = rng.integers(len(centers), size=n)
    x = centers[cluster] + noise * rng.standard_normal((n, centers.shape[1]))
    return array(x), array(cluster % num_classes)


def xor() -> tuple[Any, Any]:
    """Exclusive or: four points that no straight line separates.

    Returns
    -------
    x : array, shape (4, 2)
    y : integer array, shape (4,)

    Examples
    --------
    >>> xor()[1].tolist()
    [0, 1, 1, 0]
    """
    return array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), array([0, 1, 1, 0])


def quadrants(n: int = 500, *, rng: Any) -> tuple[Any, Any]:
    r"""Draw points of :math:`N(0, I_2)`; the label is 1 where :math:`x_1x_2>0`, a continuous xor.

    Returns
    -------
    x : array, shape (n, 2)
    y : integer array, shape (n,)

    Examples
    --------
    >>> x, y = quadrants(rng=np.random.default_rng(0))
    >>> bool(((x[:, 0] * x[:, 1] > 0) == (y == 1)).all())
    True
    """
    x = rng.standard_normal((n, 2))
    return array(x), array((x[:, 0] * x[:, 1] > 0).astype(np.int64))


def spirals(
    n: int = 300, *, rng: Any, num_classes: int = 2, turns: float = 1.0, noise: float = 0.05
) -> tuple[Any, Any]:
    """Interleaved spirals in the plane, one a class, of radius 0 to 1.

    Parameters
    ----------
    n : int, default 300
        Number of samples, dealt out to the classes in turn.
    rng : numpy.random.Generator
    num_classes : int, default 2
    turns : float, default 1
        How often an arm goes round.
    noise : float, default 0.05
        Standard deviation of a point around its arm.

    Returns
    -------
    x : array, shape (n, 2)
    y : integer array, shape (n,)

    Examples
    --------
    >>> tuple(spirals(rng=np.random.default_rng(0), num_classes=3)[0].shape)
    (300, 2)
    """
    y = np.arange(n) % num_classes
    radius = np.sqrt(rng.uniform(size=n))  # even over the disc
    angle = 2 * np.pi * (turns * radius + y / num_classes)
    arms = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return array(arms + noise * rng.standard_normal((n, 2))), array(y)


def moons(n: int = 300, *, rng: Any, noise: float = 0.1) -> tuple[Any, Any]:
    """Two half circles, each with one end inside the other.

    Parameters
    ----------
    n : int, default 300
    rng : numpy.random.Generator
    noise : float, default 0.1
        Standard deviation of a point around its half circle of radius 1.

    Returns
    -------
    x : array, shape (n, 2)
    y : integer array, shape (n,)

    Examples
    --------
    >>> tuple(moons(rng=np.random.default_rng(0))[0].shape)
    (300, 2)
    """
    y = np.arange(n) % 2
    angle = np.pi * (rng.uniform(size=n) + y)
    circles = np.stack([np.cos(angle) + y, np.sin(angle) + y / 2], axis=1)
    return array(circles + noise * rng.standard_normal((n, 2))), array(y)


def curve(
    function: Callable[[Any], Any], n: int = 201, low: float = -1.0, high: float = 1.0
) -> tuple[Any, Any]:
    """Values of a function on an even grid, to be fitted.

    Parameters
    ----------
    function : callable
        From a NumPy array of inputs to their values.
    n : int, default 201
    low, high : float
        Ends of the grid, both included.

    Returns
    -------
    x, y : arrays, shape (n, 1)

    Examples
    --------
    >>> curve(np.abs, 3)[1].tolist()
    [[1.0], [0.0], [1.0]]
    """
    x = np.linspace(low, high, n)[:, None]
    return array(x), array(function(x))
