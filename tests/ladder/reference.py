"""The yardstick of the ladder: definitions in mpmath, the inputs, and errors in ULP.

An exact value is kept as the sum of two doubles, so that errors of a whole array are found at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
import numpy as np

from companion.registry import REGISTRY, Row

DTYPES = ("float32", "float64")
#: Number of entries of each vector of :func:`vectors`: it divides into groups of 2 and of 3.
WIDTH = 6


@dataclass(frozen=True)
class Exact:
    """Exact values at the inputs `x`, as high + low, and their condition numbers |x f'/f|."""

    x: np.ndarray
    high: np.ndarray
    low: np.ndarray
    kappa: np.ndarray

    def at(self, mask: np.ndarray) -> Exact:
        """Keep the masked inputs."""
        return Exact(self.x[mask], self.high[mask], self.low[mask], self.kappa[mask])


def cases(elementwise: bool = True) -> list[tuple[str, int]]:
    """Every row, of elementwise functions or of the others, with the number of each setting."""
    return [
        (name, i)
        for name, row in REGISTRY.items()
        if row.elementwise == elementwise
        for i in range(len(row.parameters))
    ]


# ---------------------------------------------------------------------------------------------
# Inputs


def inputs(dtype: str, kinks: tuple[float, ...]) -> np.ndarray:
    """Inputs of every scale, in the working range, in the tails, on and beside the kinks."""
    rng = np.random.default_rng(20)
    info = np.finfo(dtype)
    tiny = float(info.tiny)
    huge = min(float(info.max), 1e150)  # mpmath.erfc fails beyond
    scale = 10 ** rng.uniform(np.log10(tiny), 4, 150)
    tail = rng.uniform(80, 110, 40) if dtype == "float32" else rng.uniform(600, 760, 40)
    near = [
        np.nextafter(np.asarray(k, dtype), np.asarray(s, dtype)) for k in kinks for s in (-9, 9)
    ]
    x = [
        [0.0, tiny, tiny / 8, huge / 4, 1e4, 20.0, 20.1, 16.6, 37.0, -8.3],
        [-tiny, -tiny / 8, -huge / 4, -1e4, -20.0, -5.0],
        scale,
        -scale,
        tail,
        -tail,
        np.linspace(-712, -705, 15),  # here the float64 sigmoid leaves the normal numbers,
        np.linspace(-21.3, -20.9, 17),  # here the gate of GELU's tanh form,
        np.linspace(-7120, -7050, 15),  # and here that of swish at 0.1
        rng.uniform(-6, 6, 500),
        rng.uniform(-45, 45, 300),
        np.linspace(-14, 14, 57),
        kinks,
        near,
    ]
    return np.unique(np.concatenate([np.asarray(part, dtype) for part in x]))


def vectors(dtype: str, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of the functions of a whole axis, and for each a gradient of `width` to pull back.

    Each input comes three times: with random gradients, with 1 at a random entry, and with 1 at
    the largest.
    """
    rng = np.random.default_rng(21)
    normal = rng.normal(size=(5, WIDTH))
    saturated = rng.normal(size=(6, WIDTH))
    saturated[np.arange(6), [0, 3, 5, 1, 2, 4]] = [16, 30, 80, 100, 300, 700]
    spread = saturated - 700 * rng.uniform(0, 1, saturated.shape) * (saturated < 10)
    offsets = np.array([-1e3, 1e3, 1e4, -1e5, 1e6])[:, None] + normal
    x = np.concatenate(
        [normal * 1e-4, normal, normal * 100, offsets, offsets * 1.5, saturated, spread]
    )
    one_hot = np.eye(width)
    dy = [
        rng.normal(size=(len(x), width)),
        one_hot[rng.integers(width, size=len(x))],
        one_hot[np.argmax(x, axis=1) * width // WIDTH],
    ]
    return np.tile(x, (3, 1)).astype(dtype), np.concatenate(dy).astype(dtype)


# ---------------------------------------------------------------------------------------------
# Exact values


def _precision(x: float) -> int:
    # A function that saturates differs from its limit by e^(-|x|), which leaves the floating-point
    # numbers when |x| is some hundreds; its derivative is found from such differences.
    return 400 + int(5 * min(abs(x), 300))


def _split(values: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    high = np.array([float(v) for v in values])
    low = np.array([float(v - h) for v, h in zip(values, high, strict=True)])
    return high, low


def _parameters(row: Row, setting: int) -> tuple[tuple[str, Any], ...]:
    return tuple(row.parameters[setting].items())


def truth(row: Row, setting: int, dtype: str, order: int) -> Exact:
    """Return the exact f (order 0), or f' (order 1) off the kinks, at the inputs of a row."""
    values = _truth(row.definition, _parameters(row, setting), tuple(row.kinks), dtype)[order]
    return values.at(~np.isin(values.x, list(row.kinks))) if order else values


@cache
def _truth(definition: Any, parameters: Any, kinks: tuple[float, ...], dtype: str) -> list[Exact]:
    """Values and derivatives from three points by differences, at high precision."""
    xs = inputs(dtype, kinks)
    values: list[list[Any]] = [[], []]
    kappas: list[list[float]] = [[], []]
    for x in xs:
        x = mpmath.mpf(float(x))
        with mpmath.workprec(_precision(x)):
            # relative where the step must not reach over a kink at 0
            step = (abs(x) if 0.0 in kinks and x else max(abs(x), 1)) * mpmath.mpf(2) ** -60
            left, y, right = (
                definition(mpmath, t, **dict(parameters)) + mpmath.mpf(0)
                for t in (x - step, x, x + step)
            )
            first, second = (right - left) / (2 * step), (right - 2 * y + left) / step**2
            for order, (f, slope) in enumerate([(y, first), (first, second)]):
                values[order].append(f)
                kappas[order].append(float(abs(x * slope / f)) if f else 0.0)
    return [Exact(xs, *_split(v), np.array(k)) for v, k in zip(values, kappas, strict=True)]


@cache
def partial(definition: Any, name: str) -> Any:
    """Return the definition's derivative with respect to the parameter `name`."""

    def derivative(m: Any, x: Any, **parameters: Any) -> Any:
        step = mpmath.mpf(2) ** -80
        at = [{**parameters, name: parameters[name] + s * step} for s in (-1, 1)]
        with mpmath.workprec(mpmath.mp.prec + (max(0, -int(mpmath.mag(x))) if x else 0)):
            left, right = (definition(m, x, **p) for p in at)
            return (right - left) / (2 * step)

    return derivative


def parameter_truth(row: Row, setting: int, dtype: str, name: str) -> Exact:
    """Return the exact derivative of a row with respect to its parameter `name`."""
    parameters = _parameters(row, setting) or ((name, 1.0),)
    return _truth(partial(row.definition, name), parameters, tuple(row.kinks), dtype)[0]


def vector_truth(row: Row, setting: int, dtype: str) -> tuple[Exact, Exact]:
    """Return the exact values, and the exact pulled-back gradients, of a row of whole axes.

    The condition number of an entry is the sum of those with respect to every input.
    """
    return _vector_truth(row.definition, _parameters(row, setting), dtype)


@cache
def _vector_truth(definition: Any, parameters: Any, dtype: str) -> tuple[Exact, Exact]:
    xs, _ = vectors(dtype)
    n = len(xs) // 3
    values, kappas = [], []
    gradients: list[list[Any]] = [[] for _ in xs]
    with mpmath.workprec(1400):
        for row, x in enumerate(xs[:n]):
            x = [mpmath.mpf(float(t)) for t in x]
            y = definition(mpmath, x, **dict(parameters))
            jacobian = []
            for j, t in enumerate(x):
                step = max(abs(t), 1) * mpmath.mpf(2) ** -120
                left, right = (
                    definition(mpmath, [*x[:j], t + s * step, *x[j + 1 :]], **dict(parameters))
                    for s in (-1, 1)
                )
                jacobian.append([(b - a) / (2 * step) for a, b in zip(left, right, strict=True)])
            values += y
            kappas += [
                float(
                    sum(abs(t * slopes[i]) for t, slopes in zip(x, jacobian, strict=True)) / abs(f)
                )
                if f
                else 0.0
                for i, f in enumerate(y)
            ]
            for k in range(row, len(xs), n):
                dy = [mpmath.mpf(float(d)) for d in vectors(dtype, len(y))[1][k]]
                gradients[k] = [
                    sum(d * s for d, s in zip(dy, slopes, strict=True)) for slopes in jacobian
                ]
    shape = (n, -1)
    high, low = _split(values)
    value = Exact(xs[:n], *(np.reshape(a, shape) for a in (high, low, np.array(kappas))))
    high, low = _split([g for row in gradients for g in row])
    return value, Exact(xs, high.reshape(xs.shape), low.reshape(xs.shape), np.zeros(xs.shape))


# ---------------------------------------------------------------------------------------------
# Errors


def ulps(got: np.ndarray, exact: Exact, dtype: str, flush: float) -> np.ndarray:
    """Return the errors of `got` in units of the last place of the exact value.

    Where that is below `flush` smallest normal numbers, the unit is the smallest normal number.
    """
    info = np.finfo(dtype)
    tiny, eps = float(info.tiny), float(info.eps)
    error = absolute(got, exact)
    size = np.abs(exact.high)
    unit = np.where(size < flush * tiny, tiny, eps * 2.0 ** (np.frexp(size)[1] - 1))
    with np.errstate(over="ignore"):
        return error / unit


def absolute(got: np.ndarray, exact: Exact) -> np.ndarray:
    """Return the absolute errors of `got`, infinite where it is not finite."""
    got = np.asarray(got, "float64")
    finite = np.isfinite(got)
    return np.where(finite, np.abs(np.where(finite, got, 0.0) - exact.high - exact.low), np.inf)


def norm_error(got: np.ndarray, exact: Exact, dtype: str) -> np.ndarray:
    """Return the error of each vector of `got`, by norm, in units of eps times the exact norm."""
    info = np.finfo(dtype)
    tiny, eps = float(info.tiny), float(info.eps)
    scale = np.maximum(np.abs(exact.high).max(-1), tiny)
    error = np.linalg.norm(absolute(got, exact) / scale[:, None], axis=-1)
    size = np.linalg.norm(exact.high / scale[:, None], axis=-1)
    unit = np.where(scale < 2**7 * tiny, tiny / scale, eps * size)
    return error / unit


def near_root(exact: Exact, window: float = 0.25) -> np.ndarray:
    """Tell which inputs lie within `window` of a sign change of the exact values."""
    x, sign = np.asarray(exact.x, "float64"), np.sign(exact.high)
    change = (sign[1:] * sign[:-1] < 0) & (np.diff(x) < 1)
    roots = (x[1:][change] + x[:-1][change]) / 2
    return (np.abs(x[:, None] - roots) < window).any(axis=1)
