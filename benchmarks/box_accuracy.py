"""Largest errors of the losses of boxes, ours and others', in ten families of boxes.

Value and gradient, this by norm, relative to what is exact; "nan" where a value or a gradient is
not a number. The others are torchvision's formulas, with its constant of 1e-7 in the denominators,
and the same formulas without it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import torch

from benchmarks import conditions, write
from benchmarks.boxes import LOSSES
from companion import boxes
from companion.losses import value_and_grad
from tests.box_definitions import KINDS, exact_with_gradient, families, torchvision_loss

PAIRS = 60


def by_autograd(kind: str, prediction: Any, target: Any, eps: float) -> tuple[Any, Any]:
    x = torch.tensor(prediction, requires_grad=True)
    value = torchvision_loss(kind, x, torch.tensor(target), "none", eps)
    value.sum().backward()
    return value.detach().numpy(), x.grad.numpy()


def on_torch(both: Callable[..., Any], prediction: Any, target: Any) -> tuple[Any, Any]:
    found = both(torch.tensor(prediction), torch.tensor(target))
    return found[0].numpy(), found[1].numpy()


def worst(found: tuple[Any, Any], wanted: list[Any]) -> list[float | str]:
    """Return the largest relative errors of the values and of the gradients."""
    errors = [0.0, 0.0]
    for value, grad, (loss, slopes) in zip(*found, wanted, strict=True):
        if not (np.isfinite(value) and np.isfinite(grad).all()):
            return ["nan", "nan"]
        off = [mpmath.mpf(float(g)) - s for g, s in zip(grad, slopes, strict=True)]
        for i, (error, size) in enumerate(
            ((abs(float(value) - loss), loss), (mpmath.norm(off), mpmath.norm(slopes)))
        ):
            if error:
                errors[i] = max(errors[i], float(error / size) if size else math.inf)
    return [float(f"{e:.3g}") for e in errors]


def main() -> None:
    losses = {"iou": boxes.box_iou_loss, **LOSSES}
    record: dict[str, Any] = {}
    for dtype in ("float32", "float64"):
        for family, pair in families(PAIRS, dtype, np.random.default_rng(2)).items():
            for kind in KINDS:
                both = functools.partial(value_and_grad(losses[kind]), reduction="none")
                wanted = [exact_with_gradient(kind, *row) for row in zip(*pair, strict=True)]
                rows = {
                    "ours, NumPy": both(*pair),
                    "ours, torch": on_torch(both, *pair),
                    "torchvision": by_autograd(kind, *pair, eps=1e-7),
                    "no constant": by_autograd(kind, *pair, eps=0.0),
                }
                found = {name: worst(row, wanted) for name, row in rows.items()}
                record.setdefault(dtype, {}).setdefault(family, {})[kind] = found
                print(dtype, family, kind, found, flush=True)
    write("box_accuracy", {**conditions(), "pairs": PAIRS, "errors": record})


if __name__ == "__main__":
    main()
