"""What the common tests need to know of a loss, and what it and its gradient are exactly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

from companion.backend import array, to_numpy
from companion.losses import grad_of

#: Digits of the definition, and the step of its differences: right to 60 digits of 1e-308.
DIGITS, STEP = 500, mpmath.mpf(10) ** -40


@dataclass(frozen=True, eq=False)
class Case:
    """A loss with its options, its definition, and inputs.

    Parameters
    ----------
    loss : callable
        A loss, or a ``functools.partial`` of one that holds its options.
    exact : callable
        ``exact(z, t)``, the loss of one sample by definition: z is a list of mpmath numbers (of
        one, for an elementwise loss), t the sample's target. Written so that it keeps its digits
        when it is small: through ``mpmath.log1p`` and the like.
    draw : callable
        ``draw(rng, lead)``, a prediction of shape ``(*lead, n, ...)`` and its target, as NumPy
        arrays of ordinary size and away from kinks.
    hard : callable
        ``hard()``, a prediction ``(n, ...)`` and its target where the loss is hard to compute,
        away from kinks, in numbers that float32 holds too.
    peer : callable, optional
        ``peer(prediction, target, reduction=...)`` on torch tensors: an independent implementation.
    core : int
        Axes of a sample's prediction: 1 for logits ``(n, k)``, 0 for an elementwise loss.
    by_axis : bool
        Whether a loss whose samples have axes takes ``axis``, as elementwise ones do.
    soft : bool
        The target holds real numbers that the gradient is compared with, as p with q in p - q:
        errors are then measured by the condition with respect to it too.
    """

    loss: Callable[..., Any]
    exact: Callable[[list[Any], Any], Any]
    draw: Callable[..., tuple[Any, Any]]
    hard: Callable[[], tuple[Any, Any]]
    peer: Callable[..., Any] | None = None
    core: int = 0
    by_axis: bool = False
    soft: bool = False

    def axes(self, prediction: Any, replicas: int) -> dict[str, Any]:
        """Return the option that names the axes after the replicas', where a loss has it."""
        if self.core and not self.by_axis:
            return {}
        return {"axis": tuple(range(replicas, prediction.ndim))}


@functools.cache
def exactly(case: Case) -> list[tuple[Any, Any, list[tuple[Any, Any]]]]:
    """Return value and gradient of each hard sample by definition, each with its κ."""
    prediction, target = case.hard()
    assert (prediction == prediction.astype(np.float32)).all(), "the same for both dtypes"
    h, found = STEP, []
    with mpmath.workdps(DIGITS):
        for i in np.ndindex(prediction.shape[: prediction.ndim - case.core]):
            z = [mpmath.mpf(float(v)) for v in np.ravel(prediction[i])]
            n = range(len(z))

            t = [mpmath.mpf(float(v)) for v in target[i]] if case.soft else target[i]

            def f(*moves: Any, z: list[Any] = z, t: Any = t) -> Any:
                moved = list(z)
                for j, step in moves:
                    moved[j] += step
                return case.exact(moved, t)

            value = f()
            slope = [(f((j, h)) - f((j, -h))) / (2 * h) for j in n]
            kappas = [_ratio(sum(abs(z[j] * slope[j]) for j in n), value)]
            for j in n:
                bends = [f((j, h), (k, h)) - f((j, -h), (k, h)) for k in n]
                change = (abs(z[k] * (bends[k] / (2 * h) - slope[j]) / h) for k in n)
                kappas.append(_ratio(sum(change), slope[j]))
            for k in n if case.soft else ():
                more = [v * (1 + h) if m == k else v for m, v in enumerate(t)]
                kappas[0] += _ratio(abs(f(t=more) - value) / h, value)
                for j in n:
                    bend = (f((j, h), t=more) - f((j, -h), t=more)) / (2 * h)
                    kappas[j + 1] += _ratio(abs(bend - slope[j]) / h, slope[j])
            found.append((value, kappas[0], list(zip(slope, kappas[1:], strict=True))))
    return found


def _ratio(change: Any, size: Any) -> Any:
    return change / abs(size) if size else 0


def check_accuracy(case: Case, dtype: str) -> None:
    """Hold value and gradient at the hard inputs to 8 (1 + κ) ULP of the definition.

    κ is the condition number of what is computed, with respect to the prediction and, where that
    is `soft`, the target.
    """
    prediction, target = case.hard()
    inputs = array(prediction, dtype), array(target)
    value = to_numpy(case.loss(*inputs, reduction="none"))
    grad = to_numpy(grad_of(case.loss)(*inputs, reduction="sum"))
    limits = np.finfo(dtype)

    def held(got: Any, exact: Any, kappa: Any, what: str) -> None:
        if abs(exact) > float(limits.max):
            assert got == np.copysign(np.inf, float(mpmath.sign(exact))), f"{what}: {got}"
            return
        size = max(abs(exact), float(limits.tiny) * 2**7)
        error = abs(mpmath.mpf(float(got)) - exact) / (size * float(limits.eps))
        assert error <= 8 * (1 + kappa), f"{what}: {float(error)} ULP, κ {float(kappa)}"

    rows = zip(np.ndindex(value.shape), exactly(case), strict=True)
    for i, (exact, kappa, slopes) in rows:
        where = f"{case.loss} at {prediction[i]}, {target[i]}"
        held(value[i], exact, kappa, f"value of {where}")
        for j, (got, slope) in enumerate(zip(np.ravel(grad[i]), slopes, strict=True)):
            held(got, *slope, f"gradient {j} of {where}")
