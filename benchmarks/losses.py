"""Losses with their gradient, against torch eager, through its autograd.

A mean and its gradient, as ``fit`` asks for them, in float32: on NumPy, on torch by hand, and torch's
own loss or, where it has none, the usual formula. One thread, interleaved rounds, processor time.
``python -m benchmarks.losses --rounds 5 --quick`` keeps no record.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import conditions, write
from benchmarks.training import medians, rounded, show
from companion import losses
from companion.losses import value_and_grad
from tests.losses.cases_imbalance import torchvision_focal

ROUNDS, N = 21, 100_000
#: name -> shape, ours, torch's, the most that NumPy may take of torch's time
ROWS: dict[str, tuple[tuple[int, ...], Any, Any, float | None]] = {
    "cross-entropy, 1024×1000": ((1024, 1000), losses.cross_entropy, F.cross_entropy, 1.3),
    "cross-entropy, 128×10": ((128, 10), losses.cross_entropy, F.cross_entropy, None),
    "sigmoid focal loss": (
        (N,),
        losses.sigmoid_focal_loss,
        functools.partial(torchvision_focal, reduction="mean"),
        1.5,
    ),
    "binary cross-entropy": (
        (N,),
        losses.binary_cross_entropy_with_logits,
        F.binary_cross_entropy_with_logits,
        None,
    ),
    "smooth L1": ((N,), losses.smooth_l1_loss, F.smooth_l1_loss, None),
    "Huber": ((N,), losses.huber_loss, F.huber_loss, None),
    "L1": ((N,), losses.l1_loss, F.l1_loss, None),
    "squared error": ((N,), losses.mse_loss, F.mse_loss, None),
}


def drawn(shape: tuple[int, ...], real: bool) -> tuple[Any, Any]:
    """Draw predictions, and labels or real targets."""
    rng = np.random.default_rng(0)
    prediction = 2 * rng.standard_normal(shape).astype(np.float32)
    if len(shape) == 2:
        return prediction, rng.integers(shape[1], size=shape[0])
    target = rng.standard_normal(shape) if real else rng.random(shape) < 0.3
    return prediction, target.astype(np.float32)


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
    for name, (shape, loss, torchs, _) in ROWS.items():
        both = value_and_grad(loss)
        pair = drawn(shape, real=name in ("smooth L1", "Huber", "L1", "squared error"))
        tensors = tuple(map(torch.tensor, pair))
        calls = {
            "NumPy": lambda both=both, pair=pair: both(*pair),
            "ours on torch": lambda both=both, tensors=tensors: both(*tensors),
            "torch eager": theirs(torchs, *pair),
        }
        t = medians(calls, 1, rounds)
        ratios = {f"{of} / torch eager": t[of] / t["torch eager"] for of in list(t)[:2]}
        found[name] = {"microseconds a call": t, "ratios": rounded(ratios)}
        show(name, found[name])
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
