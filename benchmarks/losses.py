"""Losses with their gradient, against torch eager, through its autograd.

A mean and its gradient, as ``fit`` asks for them: on NumPy, on torch by hand, and torch's own loss
or, where it has none, the formula of torchvision. One thread, interleaved rounds, processor time.
``python -m benchmarks.losses --rounds 5 --quick`` keeps no record.
"""

import argparse
import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import conditions, write
from benchmarks.training import medians, rounded, show
from companion import boxes, losses
from companion.losses import value_and_grad
from tests.box_definitions import torchvision_loss
from tests.losses.cases_imbalance import torchvision_focal

ROUNDS, N = 21, 100_000


def labelled(n: int, k: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return 2 * rng.standard_normal((n, k)), rng.integers(k, size=n)


def yes_or_no() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return 2 * rng.standard_normal(N), 1.0 * (rng.random(N) < 0.3)


def real() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return 2 * rng.standard_normal(N), rng.standard_normal(N)


def boxed() -> tuple[Any, Any]:
    """Draw boxes of which about half overlap."""
    rng = np.random.default_rng(0)
    centre, sides = rng.uniform(0, 1, (2, N, 2)), rng.uniform(0.05, 0.5, (2, N, 2))
    found = np.concatenate([centre - sides / 2, centre + sides / 2], -1)
    return found[0], found[1]


focal = functools.partial(torchvision_focal, reduction="mean")
#: name -> data, ours, torch's, the most that NumPy may take of torch's time
ROWS: dict[str, tuple[Callable[[], Any], Any, Any, float | None]] = {
    "cross-entropy, 1024×1000": (
        lambda: labelled(1024, 1000),
        losses.cross_entropy,
        F.cross_entropy,
        1.3,
    ),
    "cross-entropy, 128×10": (
        lambda: labelled(128, 10),
        losses.cross_entropy,
        F.cross_entropy,
        None,
    ),
    "binary cross-entropy": (
        yes_or_no,
        losses.binary_cross_entropy_with_logits,
        F.binary_cross_entropy_with_logits,
        None,
    ),
    "sigmoid focal loss": (yes_or_no, losses.sigmoid_focal_loss, focal, 1.5),
    "L1": (real, losses.l1_loss, F.l1_loss, None),
    "squared error": (real, losses.mse_loss, F.mse_loss, None),
    "smooth L1": (real, losses.smooth_l1_loss, F.smooth_l1_loss, None),
    "Huber": (real, losses.huber_loss, F.huber_loss, None),
    "GIoU": (
        boxed,
        boxes.generalized_box_iou_loss,
        functools.partial(torchvision_loss, "giou"),
        None,
    ),
    "DIoU": (boxed, boxes.distance_box_iou_loss, functools.partial(torchvision_loss, "diou"), None),
    "CIoU": (boxed, boxes.complete_box_iou_loss, functools.partial(torchvision_loss, "ciou"), 1.0),
}


def theirs(loss: Any, prediction: Any, target: Any) -> Callable[[], Any]:
    x, t = torch.tensor(prediction, requires_grad=True), torch.tensor(target)

    def call() -> Any:
        x.grad = None
        value = loss(x, t)
        value.backward()
        return value, x.grad

    return call


def measure(rounds: int) -> dict[str, Any]:
    """Time all of it; ratios below 1 say that ours is the faster."""
    found: dict[str, Any] = {}
    rows = itertools.product(ROWS.items(), ("float32", "float64"))
    for (name, (draw, loss, torchs, _)), dtype in rows:
        both = value_and_grad(loss)
        pair = tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in draw())
        tensors = tuple(map(torch.tensor, pair))
        calls = {
            "NumPy": functools.partial(both, *pair),
            "ours on torch": functools.partial(both, *tensors),
            "torch eager": theirs(torchs, *pair),
        }
        t = medians(calls, 1, rounds)
        ratios = {f"{of} / torch eager": t[of] / t["torch eager"] for of in list(t)[:2]}
        found[f"{name}, {dtype}"] = {"microseconds a call": t, "ratios": rounded(ratios)}
        show(f"{name}, {dtype}", found[f"{name}, {dtype}"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Time losses against torch's.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="no record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.rounds)
    bars = {name: {"NumPy / torch eager": bar} for name, (*_, bar) in ROWS.items() if bar}
    if not options.quick:
        write("losses", {**conditions(), "rounds": options.rounds, "bars": bars, "losses": found})


if __name__ == "__main__":
    main()
