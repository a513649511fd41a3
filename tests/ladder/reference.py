"""The yardstick of the ladder: definitions at high precision, inputs, and errors in ULP."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np

from companion.registry import REGISTRY, Row

#: Below this many smallest normal numbers a result is judged by its absolute error.
FLUSH = 2.0**7


def cases() -> list[tuple[str, int]]:
    """Every elementwise row with the number of each of its parameter settings."""
    return [
        (name, i)
        for name, row in REGISTRY.items()
        if row.elementwise
        for i in range(len(row.parameters))
    ]


def inputs(dtype: str, kinks: tuple[float, ...]) -> np.ndarray:
    """Inputs over the whole range: every scale, the working range, tails, and beside the kinks."""
    rng = np.random.default_rng(20)
    info = np.finfo(dtype)
    tiny = float(info.tiny)
    huge = min(float(info.max), 1e150)  # mpmath.erfc fails beyond
    scale = 10 ** rng.uniform(np.log10(tiny), 4, 500)
    tail = rng.uniform(80, 110, 100) if dtype == "float32" else rng.uniform(600, 760, 100)
    x = np.concatenate(
        [
            scale,
            -scale,
            rng.uniform(-6, 6, 900),
            rng.uniform(-45, 45, 600),
            tail,
            -tail,
            [0.0, tiny, tiny / 8, huge / 4, 1e4, 20.0, 20.1, 16.6, 37.0],
            [-tiny, -tiny / 8, -huge / 4, -1e4, -20.0, -5.0, -8.3],
            np.linspace(-14, 14, 113),
        ]
    ).astype(dtype)
    near = [
        np.nextafter(np.asarray(k, dtype), np.asarray(s * np.inf, dtype))
        for k in kinks
        for s in (-1, 1)
    ]
    x = np.concatenate([x, np.asarray(near, dtype)])
    return np.unique(x[~np.isin(x, kinks)])


def _precision(x: mpmath.mpf) -> int:
    # saturating functions differ from their limit by e^-|x|, and near 0 from f(0) by |x|
    small = -int(mpmath.frexp(x)[1]) if x else 1100
    return 500 + 5 * int(min(abs(x), 1600)) + max(small, 0)


def value(row: Row, x: float, parameters: dict) -> mpmath.mpf:
    """Return f(x) by definition, at high precision."""
    x = mpmath.mpf(float(x))
    with mpmath.workprec(_precision(x)):
        return row.definition(mpmath, x, **parameters) + mpmath.mpf(0)


def slope(f, x: mpmath.mpf) -> mpmath.mpf:
    """Return f'(x) by a central difference with a step of 2^-100 |x| at high precision."""
    with mpmath.workprec(_precision(x)):
        h = (abs(x) or mpmath.mpf(2) ** -1100) * mpmath.mpf(2) ** -100
        return (f(x + h) - f(x - h)) / (2 * h)


@cache
def truth(name: str, setting: int, dtype: str, order: int) -> tuple[np.ndarray, list, np.ndarray]:
    """Inputs, the exact f (order 0) or f' (order 1) there, and its condition number."""
    row = REGISTRY[name]
    parameters = row.parameters[setting]
    xs = inputs(dtype, tuple(row.kinks))

    def f(t):
        return row.definition(mpmath, t, **parameters) + mpmath.mpf(0)

    def g(t):
        return f(t) if order == 0 else slope(f, t)

    exact, kappa = [], []
    for x in map(float, xs):
        x = mpmath.mpf(x)
        with mpmath.workprec(_precision(x)):
            y = g(x)
            step = x * mpmath.mpf(2) ** -30
            exact.append(y)
            kappa.append(float(abs((g(x + step) - y) / y) * 2**30) if y and x else 0.0)
    return xs, exact, np.asarray(kappa)


def ulps(got: np.ndarray, exact: list, dtype: str) -> np.ndarray:
    """Return the errors of `got` in units of the last place of the exact value.

    Below 2^7 smallest normal numbers the unit is the smallest normal number: torch flushes there.
    """
    info = np.finfo(dtype)
    tiny, eps = mpmath.mpf(float(info.tiny)), mpmath.mpf(float(info.eps))
    out = np.empty(len(exact))
    for i, (a, b) in enumerate(zip(np.asarray(got, "float64"), exact, strict=True)):
        if not np.isfinite(a):
            out[i] = 0.0 if abs(b) > float(info.max) and np.sign(a) == mpmath.sign(b) else np.inf
            continue
        error = abs(mpmath.mpf(float(a)) - b)
        if abs(b) < FLUSH * tiny:
            out[i] = float(error / tiny) if error > 0 else 0.0
        else:
            out[i] = float(error / (eps * mpmath.mpf(2) ** (mpmath.frexp(b)[1] - 1)))
    return out


def near_root(xs: np.ndarray, exact: list) -> np.ndarray:
    """Tell which inputs lie within 0.25 of a sign change of the exact values."""
    sign = np.array([int(mpmath.sign(y)) for y in exact])
    x = np.asarray(xs, "float64")
    change = (sign[1:] * sign[:-1] < 0) & (np.diff(x) < 1)
    roots = (x[1:][change] + x[:-1][change]) / 2
    return (
        np.any(np.abs(x[:, None] - roots) < 0.25, axis=1) if roots.size else np.zeros(x.size, bool)
    )
