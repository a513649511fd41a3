"""Data for the book's experiments: real digits, and small synthetic sets.

A set is a pair ``(x, y)`` in the backend in force: inputs ``(n, d)`` with labels ``(n,)`` or
targets ``(n, 1)``. Random ones take a ``numpy.random.Generator``, and both backends see the same.
"""

from companion.datasets.real import digits, split
from companion.datasets.synthetic import clusters, curve, moons, quadrants, spirals, xor

__all__ = ["clusters", "curve", "digits", "moons", "quadrants", "spirals", "split", "xor"]
