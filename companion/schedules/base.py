"""What schedules share: they are functions of the step, and print as they were made."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import to_numpy


class Schedule:
    """A function of the step, from 0, that prints as the call that made it.

    Parameters
    ----------
    formula : callable
        Takes an array of steps and returns the values there.
    name : str
    **parameters
        What the printed call shows.

    Examples
    --------
    >>> from companion.schedules import cosine_annealing
    >>> cosine_annealing(0.1, 100)
    cosine_annealing(lr=0.1, T_max=100, eta_min=0.0)
    >>> cosine_annealing(0.1, 100)(0)
    0.1
    """

    def __init__(self, formula: Callable[[Any], Any], name: str, **parameters: Any) -> None:
        self._formula, self._name, self._parameters = formula, name, parameters

    def __call__(self, step: Any) -> Any:
        t = _numbers(step, "step")
        t = t if t.dtype.kind == "f" else t.astype(np.int64)
        if not (t >= 0).all():
            raise ValueError(f"step must be counted from 0; got {step}")
        value = self._formula(t)
        return float(value) if np.ndim(value) == 0 else value

    def __reduce__(self) -> Any:
        """Pickle as the call that made it; with a formula of a user's own, as that formula."""
        from companion import schedules  # which imports this module

        make, formula = getattr(schedules, self._name, None), self._formula
        # functions made by a function, which is how the formulas are written, have no pickle
        inside = getattr(formula, "__qualname__", "").startswith(f"{self._name}.<locals>.")
        if make and inside and make.__module__ == formula.__module__:
            return functools.partial(make, **self._parameters), ()
        return super().__reduce__()

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(f'{k}={_text(v)}' for k, v in self._parameters.items())})"


def constant(lr: Any) -> Schedule:
    r"""Return :math:`\eta_t=\eta` from the first step to the last, however many there are.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        Rate :math:`\eta`.

    Examples
    --------
    >>> constant(0.1)([0, 10])
    array([0.1, 0.1])
    """
    lr = _rate(lr, "lr")
    return Schedule(lambda t: lr + 0.0 * t, "constant", lr=lr)


def linear_scaling(lr: Any, batch_size: int, base_batch_size: int = 256) -> Any:
    r"""Return the rate of another batch size, :math:`\eta\,b/b_0`.

    k steps of a small batch go as far as one of k times as many samples at k times the rate, as
    long as the gradient changes little over them: a rule for SGD, which ends where the rate
    comes near 2 over the largest curvature. With rates of Adam's kind the root of
    :math:`b/b_0` is better supported.

    Parameters
    ----------
    lr : float or array
        Rate :math:`\eta` that is right for `base_batch_size`.
    batch_size, base_batch_size : int
        b and :math:`b_0`.

    References
    ----------
    Goyal et al. (2017), "Accurate, large minibatch SGD: training ImageNet in 1 hour"; Malladi et
    al. (2022), "On the SDEs and scaling rules for adaptive gradient algorithms".

    Examples
    --------
    >>> linear_scaling(0.1, 1024)
    0.4
    """
    size, base = _count(batch_size, "batch_size"), _count(base_batch_size, "base_batch_size")
    return _rate(lr, "lr") * (size / base)


def _schedule(value: Any) -> Callable[[Any], Any]:
    """Return a function of steps; one of a user's own is asked for each step, as an int."""
    if isinstance(value, Schedule):
        return value
    if not callable(value):
        return constant(_rate(value, "schedule"))

    def later(t: Any) -> Any:
        rates = [_numbers(value(k), "schedule") for k in np.ravel(t).tolist()]
        if any(rate.ndim for rate in rates):  # (..., 1) each
            return np.concatenate(rates, axis=-1)
        return np.reshape(rates, np.shape(t))

    return later


def _left(t: Any, steps: int) -> Any:
    return steps - np.minimum(t, steps)


def _cosine(left: Any) -> Any:
    """Evaluate (1 + cos(pi (1 - left)))/2 without cancelling where little is left."""
    return np.sin(0.5 * math.pi * left) ** 2


def _rate(value: Any, name: str) -> Any:
    """Return a number or an array, in float64, that is not negative."""
    found = _numbers(value, name).astype(np.float64)
    if not (found >= 0).all():
        raise ValueError(f"{name} must not be negative; got {value}")
    return float(found) if found.ndim == 0 else found


def _numbers(value: Any, name: str) -> Any:
    """Return a number or numbers as a NumPy array; strings that look like them are none."""
    try:
        found = np.asarray(to_numpy(value))
    except (TypeError, ValueError):  # rows of different lengths
        found = np.asarray(None)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be a number or an array; got {value!r}")
    return found


def _number(value: Any, name: str) -> float:
    if np.ndim(to_numpy(value)):
        raise TypeError(f"{name} must be a number; got {value!r}")
    return float(_numbers(value, name))


def _count(value: Any, name: str, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number; got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")
    return int(value)


def _text(value: Any) -> str:
    """Print a parameter with all digits and all entries: others must not print the same."""
    if isinstance(value, np.ndarray):
        return np.array2string(value, separator=", ", threshold=sys.maxsize, floatmode="unique")
    return repr(value)
