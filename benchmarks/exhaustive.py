"""Check a function and its derivative on all 2^32 float32 inputs: ``make exhaustive``.

The yardstick is our own float64, which the ladder checks against 60 digits. The error is counted
in float32 ULP, as in the ladder: below 2^7 smallest normal numbers the unit is the smallest normal
number, and within 0.25 of a root of the derivative the error is absolute, in eps.

``python -m benchmarks.exhaustive [names]`` takes ``all`` for every elementwise function. What is
done is kept in ``exhaustive.json``, and a run that was stopped goes on where it was; ``--again``
begins anew.
"""

import argparse
import time
from functools import cache
from typing import Any

import numpy as np

from benchmarks import conditions, read, write
from companion.registry import REGISTRY, Row

MAIN = ("sigmoid", "tanh", "softplus", "silu", "gelu")
END = 1 << 32
CHUNK = 1 << 14  # inputs at a time
SLICE = 1 << 26  # inputs between two entries in the record
BAR_ULP, BAR_KAPPA, BAR_ROOT = 8.0, 4.0, 1.0

EPS = float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)


def check(name: str, start: int = 0, stop: int = END, stride: int = 1) -> dict[str, Any]:
    """Return the worst errors of a function and its derivative over a range of bit patterns.

    For each of the two: ``ulp`` and the input ``at`` it; ``kappa_ratio``, a bound on the error in
    units of 4(1 + κ), where κ counts as 0 up to 4 ULP; ``root_eps``, the largest error near a root
    of the derivative. A nan, or an infinity, that should not be there or is missing counts as an
    infinite error.
    """
    row = REGISTRY[name]
    worst: dict[str, Any] = {}
    for i in range(start, stop, CHUNK * stride):
        bits = np.arange(i, min(i + CHUNK * stride, stop), stride, dtype=np.uint64)
        with np.errstate(all="ignore"):
            worst = merge(worst, _errors(row, bits.astype(np.uint32).view(np.float32)))
    return worst


def merge(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Return the worse of two results of :func:`check`."""
    if not a:
        return b
    merged = {}
    for key in ("value", "derivative"):
        first, second = a[key], b[key]
        larger = first if first["ulp"] >= second["ulp"] else second
        merged[key] = {
            "ulp": larger["ulp"],
            "at": larger["at"],
            **{k: max(first[k], second[k]) for k in ("kappa_ratio", "root_eps")},
        }
    return merged


def passed(result: dict[str, Any]) -> bool:
    """Tell whether value and derivative meet the bars for NumPy."""
    return all(
        r["ulp"] <= BAR_ULP and r["kappa_ratio"] <= 1 and r["root_eps"] <= BAR_ROOT
        for r in (result["value"], result["derivative"])
    )


def _errors(row: Row, x: np.ndarray) -> dict[str, Any]:
    parameters = row.parameters[0]
    wide = x.astype(np.float64)
    assert row.grad is not None
    value, slope = row.function(wide, **parameters), row.grad(wide, **parameters)

    def slope_slope(t: np.ndarray) -> np.ndarray:
        h = np.abs(t) * 2.0**-20
        return (row.grad(t + h, **parameters) - row.grad(t - h, **parameters)) / (2 * h)

    near = np.zeros(x.shape, bool)
    for root in _roots(row.name):
        near |= np.abs(wide - root) < 0.25
    return {
        "value": _worst(row.function(x, **parameters), value, wide, lambda i: slope[i]),
        "derivative": _worst(
            row.grad(x, **parameters), slope, wide, lambda i: slope_slope(wide[i]), near
        ),
    }


def _worst(got: Any, exact: Any, x: Any, derivative: Any, near: Any = None) -> dict[str, Any]:
    got = got.astype(np.float64)
    error = np.abs(got - exact)
    # the power of two in |exact|, by its exponent's bits
    power = (exact.view(np.uint64) & np.uint64(0x7FF << 52)).view(np.float64)
    ulp = error / np.where(power < 2.0**7 * TINY, TINY, EPS * power)
    odd = np.flatnonzero(~np.isfinite(error))
    if odd.size:
        ulp[odd] = np.where(_expected(got[odd], exact[odd], x[odd]), 0.0, np.inf)
    root_eps = 0.0
    if near is not None and near.any():
        root_eps = float(np.max(error[near])) / EPS
        ulp[near] = 0.0
    at = int(np.argmax(ulp))
    ratio = float(min(ulp[at], BAR_KAPPA)) / BAR_KAPPA
    if ulp[at] > BAR_KAPPA:
        large = np.flatnonzero(ulp > BAR_KAPPA)
        kappa = np.abs(x[large] * derivative(large) / exact[large])
        ratio = float(np.max(ulp[large] / (BAR_KAPPA * (1 + np.nan_to_num(kappa, nan=0.0)))))
    return {"ulp": float(ulp[at]), "at": float(x[at]), "kappa_ratio": ratio, "root_eps": root_eps}


def _expected(got: Any, exact: Any, x: Any) -> Any:
    """Tell which nans and infinities are right: nan for nan, infinity for what is too large."""
    same_infinity = (np.abs(exact) > LARGEST) & (got == np.copysign(np.inf, exact))
    return same_infinity | (np.isnan(got) & np.isnan(x))


@cache
def _roots(name: str) -> tuple[float, ...]:
    """Return the roots of the derivative to 1e-3."""
    row = REGISTRY[name]
    assert row.grad is not None
    x = np.linspace(-20, 20, 40_002)
    slope = row.grad(x, **row.parameters[0])
    return tuple(float(t) for t in x[1:][slope[1:] * slope[:-1] < 0])


def run(name: str, again: bool) -> dict[str, Any]:
    """Check `name` whole, from where the record stands, and keep the result."""
    record = read("exhaustive")
    entry = {} if again else record.get(name, {})
    while entry.get("checked", 0) < END:
        i = entry.get("checked", 0)
        start = time.process_time()
        result = merge(entry.get("worst", {}), check(name, i, i + SLICE))
        entry = {
            "checked": i + SLICE,
            "passed": passed(result),
            "worst": result,
            "seconds": round(entry.get("seconds", 0) + time.process_time() - start, 1),
            **conditions(),
        }
        write("exhaustive", {**read("exhaustive"), name: entry})
        print(f"\r{name}: {entry['checked'] / END:.0%}", end="", flush=True)
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description="Check functions on all float32 inputs.")
    parser.add_argument("names", nargs="*", default=MAIN, help="functions, or all")
    parser.add_argument("--again", action="store_true", help="also what is done already")
    options = parser.parse_args()
    elementwise = [name for name, row in REGISTRY.items() if row.elementwise]
    for name in elementwise if options.names == ["all"] else options.names:
        entry = run(name, options.again)
        for key, r in entry["worst"].items():
            print(
                f"\r{name:12} {key:10} {r['ulp']:8.3g} ULP at {r['at']:<12.6g}"
                f" {r['kappa_ratio']:6.3g} of 4(1 + κ), near a root {r['root_eps']:.3g} eps"
            )
        print(f"{'':12} {'passed' if entry['passed'] else 'FAILED'} in {entry['seconds']:.0f} s")


if __name__ == "__main__":
    main()
