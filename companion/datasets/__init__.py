"""Data for the book's experiments: real digits, a text, and small synthetic sets.

A set is a pair ``(x, y)`` in the backend in force: inputs ``(n, d)`` with labels ``(n,)`` or
targets ``(n, 1)``; of the text, windows ``(n, t)`` of characters with the next ones. Random ones
take a ``numpy.random.Generator``, and both backends see the same.
"""

from companion.datasets.real import digits, split
from companion.datasets.synthetic import clusters, curve, moons, quadrants, spirals, xor
from companion.datasets.text import characters, decode, encode

__all__ = [
    "characters",
    "clusters",
    "curve",
    "decode",
    "digits",
    "encode",
    "moons",
    "quadrants",
    "spirals",
    "split",
    "xor",
]
