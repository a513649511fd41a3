"""An optimizer's step over 100 tensors of 1,000 parameters in float32, against ``torch.optim``.

Ours takes them as one vector, on NumPy and on torch, eager and compiled to one graph; torch.optim
takes a list of tensors, in its default construction, which on a CPU is a loop over them, and in
its foreach and fused forms where it has these. One thread, interleaved rounds, processor time.
``python -m benchmarks.optimizers --rounds 5 --quick`` leaves out what compiles and keeps no record.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import conditions, write
from benchmarks.training import medians, rounded, show
from companion import backend, optimizers
from companion.backend import compiled

ROUNDS, STEPS, COUNT, SIZE = 21, 20, 100, 1000
#: name -> ours and torch's class (None: torch has no such rule), with the same options
MOMENTUM = {"lr": 0.01, "momentum": 0.9}
ROWS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "SGD": ("SGD", "SGD", {"lr": 0.01}),
    "SGD with momentum": ("SGD", "SGD", MOMENTUM),
    "SGD with Nesterov's momentum": ("SGD", "SGD", {**MOMENTUM, "nesterov": True}),
    "HeavyBall": ("HeavyBall", None, MOMENTUM),
    "Nesterov": ("Nesterov", None, MOMENTUM),
    **{name: (name, name, {}) for name in ("Adagrad", "Adadelta", "RMSprop")},
    **{name: (name, name, {}) for name in ("Adam", "AdamW", "NAdam", "RAdam")},
    "AMSGrad": ("AMSGrad", "Adam", {}),
    "AdaBound": ("AdaBound", None, {}),
    "Lion": ("Lion", None, {}),
}
FUSED = ("SGD", "Adagrad", "Adam", "AdamW")  # what torch has in one kernel, on a CPU
BARS = {"Adam": {"NumPy / torch.optim": 0.1, "NumPy / fused": 0.5}}


def ours(library: str, kind: str, options: dict[str, Any], compile: bool = False) -> Any:
    """Return so many steps of ours on the vector, to be timed."""
    backend.use(library, dtype="float32")
    theta, grad = (backend.array(a) for a in vectors())
    optimizer = getattr(optimizers, kind)(**options)
    update = compiled(optimizer.update) if compile else optimizer.update
    carried = theta, optimizer.init(theta)

    def call() -> None:
        nonlocal carried
        for _ in range(STEPS):
            carried = update(carried[0], grad, carried[1])

    return call


def theirs(kind: str, **options: Any) -> Callable[[], None]:
    """Return so many steps of torch.optim on the tensors."""
    theta, grad = (torch.from_numpy(a).reshape(COUNT, SIZE) for a in vectors())
    params = [torch.nn.Parameter(row.clone()) for row in theta]
    for param, row in zip(params, grad, strict=True):
        param.grad = row.clone()
    optimizer = getattr(torch.optim, kind)(params, **options)

    def call() -> None:
        for _ in range(STEPS):
            optimizer.step()

    return call


def vectors() -> Any:
    """Draw parameters and a gradient."""
    return np.random.default_rng(0).standard_normal((2, COUNT * SIZE)).astype(np.float32)


def measure(rounds: int, quick: bool) -> dict[str, Any]:
    """Time all of it; ratios below 1 say that ours is the faster."""
    found: dict[str, Any] = {}
    for name, (kind, torchs, options) in ROWS.items():
        if not hasattr(optimizers, kind):
            continue
        calls = {
            "NumPy": ours("numpy", kind, options),
            "ours on torch": ours("torch", kind, options),
        }
        if not quick:
            torch.compiler.reset()
            calls["ours on torch, compiled"] = ours("torch", kind, options, compile=True)
        if torchs is not None:
            own = {**options, "amsgrad": True} if kind == "AMSGrad" else options
            calls["torch.optim"] = theirs(torchs, **own)
            calls["foreach"] = theirs(torchs, foreach=True, **own)
            if torchs in FUSED:
                calls["fused"] = theirs(torchs, fused=True, **own)
        t = medians(calls, STEPS, rounds)
        mine = [of for of in t if of.startswith(("NumPy", "ours"))]
        forms = [of for of in t if of not in mine]
        ratios = {f"{of} / {form}": t[of] / t[form] for form in forms for of in mine}
        found[name] = {"microseconds a step": t, "ratios": rounded(ratios)}
        show(name, found[name])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Time optimizers against torch's.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="without what compiles, no record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    old = backend.current()
    found = measure(options.rounds, options.quick)
    backend.use(old.library, old.device, old.dtype)
    record = {**conditions(), "rounds": options.rounds, "bars": BARS, "optimizers": found}
    if not options.quick:
        write("optimizers", record)


if __name__ == "__main__":
    main()
