"""Text to learn a language from, character by character. Origin and licence: README.md."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np

from companion.backend import array, to_numpy


def characters(
    t: int = 64, *, stride: int | None = None, validation: float = 0.1
) -> tuple[tuple[Any, Any], tuple[Any, Any], str]:
    r"""Load the first chapters of *Pride and Prejudice*, for the prediction of the next character.

    190,786 characters, 74 different ones: letters, digits, punctuation, the space and the end of a
    paragraph. The end of the text is the validation set, all before it the training set. Both are
    cut into windows of t characters, in the order of the text; what is left over is left out.

    Parameters
    ----------
    t : int, default 64
        Length of a window.
    stride : int, optional
        From the start of one window of the training set to that of the next. Default t: each
        character stands in one window. The windows of the validation set are always of this kind.
    validation : float, default 0.1
        Fraction of the characters that go to the validation set.

    Returns
    -------
    train, validation : pairs ``(x, y)`` of integer arrays, shape (n, t)
        Indices into the vocabulary, as :func:`encode` gives them. ``y[i, j]`` is the character
        after ``x[i, j]``.
    vocabulary : str
        The different characters of the text, in the order of their codes.

    Raises
    ------
    ValueError
        If t or the stride is not positive, or either part has no window.

    References
    ----------
    Austen (1813), *Pride and Prejudice*, chapters 1 to 19; in the public domain.

    Examples
    --------
    >>> (x, y), _, vocabulary = characters(24)
    >>> decode(x[1], vocabulary), decode(y[1], vocabulary)
    ('universally acknowledged', 'niversally acknowledged,')
    """
    stride = t if stride is None else stride
    for name, value in {"t": t, "stride": stride}.items():
        if value < 1:
            raise ValueError(f"{name} must be a positive number of characters; got {value}")
    text = resources.files(__package__).joinpath("pride_and_prejudice.txt").read_text("ascii")
    vocabulary = "".join(sorted(set(text)))
    indices = _indices(text, vocabulary)
    cut = len(text) - round(validation * len(text))
    if not t < cut < len(text) - t:
        raise ValueError(
            f"validation must leave a window of {t} characters, and the one after it, on both "
            f"sides of {len(text)}; got {validation}"
        )
    return _windows(indices[:cut], t, stride), _windows(indices[cut:], t, t), vocabulary


def encode(text: str, vocabulary: str) -> Any:
    """Return the index of each character in the vocabulary, in the backend in force.

    Parameters
    ----------
    text : str
    vocabulary : str
        Different characters, as from :func:`characters`.

    Returns
    -------
    integer array, shape (number of characters,)

    Raises
    ------
    ValueError
        If a character is not in the vocabulary.

    Examples
    --------
    >>> encode("abba", "abc").tolist()
    [0, 1, 1, 0]
    """
    return array(_indices(text, vocabulary))


def decode(indices: Any, vocabulary: str) -> str:
    """Return the text of indices in the vocabulary; the inverse of :func:`encode`.

    Parameters
    ----------
    indices : integer array, shape (number of characters,)
    vocabulary : str

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If an index is not in the vocabulary, or `indices` has more than one axis.

    Examples
    --------
    >>> decode([2, 0, 1], "abc")
    'cab'
    """
    values = np.asarray(to_numpy(indices))
    if values.ndim != 1:
        raise ValueError(f"indices must have shape (t,); got {values.shape}")
    for i in values:
        if not 0 <= i < len(vocabulary):
            raise ValueError(f"indices must be 0 to {len(vocabulary) - 1}; got {i}")
    return "".join(vocabulary[i] for i in values)


def _indices(text: str, vocabulary: str) -> Any:
    place = {character: i for i, character in enumerate(vocabulary)}
    try:
        return np.array([place[character] for character in text], dtype=np.int64)
    except KeyError as error:
        raise ValueError(
            f"text must consist of characters of the vocabulary; got {error.args[0]!r}"
        ) from None


def _windows(indices: Any, t: int, stride: int) -> tuple[Any, Any]:
    """Cut windows of t indices, and the same moved on by one."""
    both = np.lib.stride_tricks.sliding_window_view(indices, t + 1)[::stride]
    return array(both[:, :-1].copy()), array(both[:, 1:].copy())
