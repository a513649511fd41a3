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
from companion.layers import Linear
from companion.network import Sequential

ROUNDS, STEPS, COUNT, SIZE = 21, 20, 100, 1000
SIDE = 31  # of Muon's matrices, which with their biases are 992 numbers each
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
    "AMSBound": ("AMSBound", None, {}),
    "Lion": ("Lion", None, {}),
    "Muon": ("Muon", "Muon", {"lr": 0.001}),
}
FUSED = ("SGD", "Adagrad", "Adam", "AdamW")  # what torch has in one kernel, on a CPU
BARS = {"Adam": {"NumPy / torch.optim": 0.1, "NumPy / fused": 0.5}}


def ours(library: str, kind: str, options: dict[str, Any], compile: bool = False) -> Any:
    """Return so many steps of ours on the vector, to be timed."""
    backend.use(library, dtype="float32")
    theta, grad = (backend.array(a) for a in vectors())
    if kind == "Muon":
        net = Sequential(*[Linear(SIDE, SIDE)] * COUNT)
        theta, grad = theta[: net.size], grad[: net.size]
        options = {**options, "net": net, "rest": optimizers.AdamW()}
    optimizer = getattr(optimizers, kind)(**options)
    update = compiled(updated) if compile else updated
    carried = theta, optimizer.init(theta)

    def call() -> None:
        nonlocal carried
        for _ in range(STEPS):
            theta, state = carried
            carried = update(optimizer.at(state["step"], theta, compile), theta, grad, state)

    return call


def updated(rule: Any, theta: Any, grad: Any, state: Any) -> Any:
    """Take a step by the rule of this step: what ``fit`` compiles ends with it."""
    return rule.update(theta, grad, state)


def theirs(kind: str, **options: Any) -> Callable[[], None]:
    """Return so many steps of torch.optim on the tensors."""
    theta, grad = (torch.from_numpy(a).reshape(COUNT, SIZE) for a in vectors())
    if kind == "Muon":  # takes matrices only: here without the biases
        theta, grad = (a[:, : SIDE**2].reshape(COUNT, SIDE, SIDE) for a in (theta, grad))
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
        calls = {
            "NumPy": ours("numpy", kind, options),
            "ours on torch": ours("torch", kind, options),
        }
        if not quick and kind != "Muon":  # which would be one graph of 100 times 5 products
            torch.compiler.reset()
            calls["ours on torch, compiled"] = ours("torch", kind, options, compile=True)
        if torchs is not None:
            own = {**options, "amsgrad": True} if kind == "AMSGrad" else options
            calls["torch.optim"] = theirs(torchs, **own)
            if kind != "Muon":
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
