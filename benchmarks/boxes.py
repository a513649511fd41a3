"""Losses of boxes, with their gradient, against torch eager running torchvision's formulas.

A mean of 10⁵ pairs of boxes and its gradient, as ``fit`` asks for them, in float32 and float64: on
NumPy, on torch by hand, and the formulas of torchvision's losses through torch's autograd. One
thread, interleaved rounds, processor time. ``python -m benchmarks.boxes --rounds 5 --quick`` keeps
no record.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import conditions, write
from benchmarks.training import medians, rounded, show
from companion import boxes
from companion.losses import value_and_grad
from tests.box_definitions import torchvision_loss

ROUNDS, PAIRS = 15, 100_000
LOSSES = {
    "giou": boxes.generalized_box_iou_loss,
    "diou": boxes.distance_box_iou_loss,
    "ciou": boxes.complete_box_iou_loss,
}
#: ours on NumPy over torch eager
BAR = 1.0


def drawn(dtype: str) -> tuple[Any, Any]:
    """Draw boxes of which about half overlap."""
    rng = np.random.default_rng(0)
    centre, sides = rng.uniform(0, 1, (2, PAIRS, 2)), rng.uniform(0.05, 0.5, (2, PAIRS, 2))
    found = np.concatenate([centre - sides / 2, centre + sides / 2], -1).astype(dtype)
    return found[0], found[1]


def theirs(kind: str, prediction: Any, target: Any) -> Callable[[], Any]:
    x, t = torch.tensor(prediction, requires_grad=True), torch.tensor(target)

    def call() -> Any:
        x.grad = None
        value = torchvision_loss(kind, x, t)
        value.backward()
        return value, x.grad

    return call


def measure(rounds: int) -> dict[str, Any]:
    """Time all of it; ratios below 1 say that ours is the faster."""
    found: dict[str, Any] = {}
    for dtype in ("float32", "float64"):
        pair = drawn(dtype)
        tensors = tuple(map(torch.tensor, pair))
        for kind, loss in LOSSES.items():
            both = value_and_grad(loss)
            calls = {
                "NumPy": lambda both=both, pair=pair: both(*pair),
                "ours on torch": lambda both=both, tensors=tensors: both(*tensors),
                "torch eager": theirs(kind, *pair),
            }
            t = medians(calls, 1, rounds)
            ratios = {f"{name} / torch eager": t[name] / t["torch eager"] for name in list(t)[:2]}
            name = f"{kind}, {dtype}"
            found[name] = {"microseconds a call": t, "ratios": rounded(ratios)}
            show(name, found[name])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the losses of boxes against torchvision's.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="no record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.rounds)
    if not options.quick:
        write("boxes", {**conditions(), "rounds": options.rounds, "bar": BAR, "losses": found})


if __name__ == "__main__":
    main()
