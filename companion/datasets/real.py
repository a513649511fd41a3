"""Real data, and the division into training and test set. Origin and licences: README.md."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

from companion.backend import array, namespace


def digits() -> tuple[Any, Any]:
    """Load 1,797 handwritten digits of 8×8 pixels, real data.

    Returns
    -------
    x : array, shape (1797, 64)
        Ink in each pixel, row by row, from 0 (none) to 1. The file counts 0 to 16; this is the
        count divided by 16, and nothing else: the mean over all pixels is 0.305, not 0.
    y : integer array, shape (1797,)
        The digit, 0 to 9.

    References
    ----------
    Alpaydin and Kaynak (1998), "Optical recognition of handwritten digits", UCI Machine Learning
    Repository, CC BY 4.0.

    Examples
    --------
    >>> x, y = digits()
    >>> tuple(x.shape), int(y[0])
    ((1797, 64), 0)
    """
    with (
        resources.files(__package__).joinpath("digits.npz").open("rb") as file,
        np.load(file) as stored,
    ):
        return array(stored["pixels"] / 16), array(stored["labels"].astype(np.int64))


def split(data: tuple[Any, Any], rng: Any, test: float = 0.25) -> tuple[Any, Any]:
    """Divide samples at random into a training and a test set.

    Parameters
    ----------
    data : pair of arrays ``(x, y)`` of the same length
    rng : numpy.random.Generator
    test : float, default 0.25
        Fraction of the samples that go to the test set, rounded to whole samples.

    Returns
    -------
    train, test : pairs ``(x, y)``

    Examples
    --------
    >>> import numpy as np
    >>> train, test = split(digits(), np.random.default_rng(0))
    >>> len(train[0]), len(test[0])
    (1348, 449)
    """
    x, y = data
    n = x.shape[0]
    if y.shape[0] != n:
        raise ValueError(f"data must hold as many y as x; got {y.shape[0]} and {n}")
    if not 0 < round(test * n) < n:
        raise ValueError(f"test must leave samples on both sides of {n}; got {test}")
    order = rng.permutation(n)
    cut = n - round(test * n)
    return _rows(x, y, order[:cut]), _rows(x, y, order[cut:])


def _rows(x: Any, y: Any, rows: Any) -> tuple[Any, Any]:
    xp = namespace(x)
    rows = xp.asarray(rows, device=x.device)
    return xp.take(x, rows, axis=0), xp.take(y, rows, axis=0)
