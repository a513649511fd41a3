"""Time of every activation, ours against torch's, in one interleaved run on one thread.

Three comparisons in float32: ours on NumPy against torch eager, forward and forward + gradient
(ours ``y = f(x); dx = dy * f_grad(x)``, torch's ``y = f(x); y.backward(dy)``); ours on torch
tensors against torch's own function, eager; and both of them compiled. What is measured is
processor time, so that other programs count little. Names, sizes and rounds can be given:
``python -m benchmarks.activations relu gelu --sizes 1000 --rounds 5``.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import conditions, write
from companion import activations as act

SIZES = (1_000, 100_000, 10_000_000)
ROUNDS = 15
WIDTH = 100  # entries on the last axis, for the functions of a whole axis
BARS = {
    "numpy forward+gradient": {"1000": 0.8, "100000": 6.0, "10000000": 2.5},
    "torch eager": 3.0,
    "torch compiled": 1.25,
}


class Peer(NamedTuple):
    """torch's function of the same meaning."""

    function: Callable[..., Any]
    native: bool = True  # False: composed of several torch functions
    differentiable: bool = True
    parameters: Mapping[str, Any] = MappingProxyType({})  # what ours is called with


WEIGHT = torch.tensor([0.25])
ZERO_VALUE = torch.tensor(1.0)

#: ``name of ours [variant]``; identity is left out, since torch's returns its argument
PEERS = {
    "heaviside": Peer(lambda x: torch.heaviside(x, ZERO_VALUE), differentiable=False),
    "sigmoid": Peer(torch.sigmoid),
    "hardsigmoid": Peer(F.hardsigmoid),
    "tanh": Peer(torch.tanh),
    "lecun_tanh": Peer(lambda x: 1.7159 * torch.tanh(2 / 3 * x), native=False),
    "softsign": Peer(F.softsign),
    "relu": Peer(torch.relu),
    "relu6": Peer(F.relu6),
    "leaky_relu": Peer(F.leaky_relu),
    "prelu": Peer(lambda x: F.prelu(x, WEIGHT), parameters={"weight": 0.25}),
    "rrelu": Peer(F.rrelu),
    "crelu": Peer(lambda x: torch.cat([x.relu(), (-x).relu()], -1), native=False),
    "softplus": Peer(F.softplus),
    "elu": Peer(F.elu),
    "celu": Peer(F.celu),
    "selu": Peer(F.selu),
    "silu": Peer(F.silu),
    "swish": Peer(lambda x: x * (1.5 * x).sigmoid(), native=False, parameters={"beta": 1.5}),
    "hardswish": Peer(F.hardswish),
    "mish": Peer(F.mish),
    "gelu": Peer(F.gelu),
    "gelu tanh": Peer(lambda x: F.gelu(x, approximate="tanh"), parameters={"approximate": "tanh"}),
    "gelu sigmoid": Peer(
        lambda x: x * (1.702 * x).sigmoid(), native=False, parameters={"approximate": "sigmoid"}
    ),
    "glu": Peer(F.glu),
    "geglu": Peer(lambda x: _gated(x, F.gelu), native=False),
    "swiglu": Peer(lambda x: _gated(x, F.silu), native=False),
    "maxout": Peer(
        lambda x: x.unflatten(-1, (-1, 2)).amax(-1), native=False, parameters={"num_pieces": 2}
    ),
    "softmax": Peer(lambda x: torch.softmax(x, -1)),
    "log_softmax": Peer(lambda x: torch.log_softmax(x, -1)),
}


def _gated(x: Any, gate: Callable[..., Any]) -> Any:
    a, b = x.chunk(2, -1)
    return a * gate(b)


def ours(name: str) -> tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]:
    """Return our f(x) and the gradient from dy and x."""
    base, parameters = name.split()[0], PEERS[name].parameters
    f = getattr(act, base)
    if hasattr(act, f"{base}_grad"):
        grad = getattr(act, f"{base}_grad")
        return lambda x: f(x, **parameters), lambda dy, x: dy * grad(x, **parameters)
    vjp = getattr(act, f"{base}_vjp")
    return lambda x: f(x, **parameters), lambda dy, x: vjp(dy, x, **parameters)


def runs(name: str, size: int) -> dict[str, Callable[[], Any]]:
    """Return what is timed for one function at one size."""
    rng = np.random.default_rng(size)
    x = (3 * rng.standard_normal((size // WIDTH, WIDTH))).astype(np.float32)
    f, grad = ours(name)
    dy = rng.standard_normal(f(x).shape).astype(np.float32)
    target = np.empty_like(x)
    peer = PEERS[name].function
    tx, tdy = torch.from_numpy(x), torch.from_numpy(dy)
    leaf = tx.clone().requires_grad_()

    def numpy_both() -> None:
        f(x)
        grad(dy, x)

    def torch_both() -> None:
        leaf.grad = None
        peer(leaf).backward(tdy)

    def eager(function: Callable[[Any], Any]) -> Callable[[], Any]:
        def call() -> Any:
            with torch.no_grad():
                return function(tx)

        return call

    result = {
        "copy": lambda: np.copyto(target, x),
        "numpy forward": lambda: f(x),
        "torch forward": eager(peer),
        "ours on torch": eager(f),
    }
    if PEERS[name].differentiable:
        result |= {"numpy forward+gradient": numpy_both, "torch forward+gradient": torch_both}
    if size == SIZES[-1]:
        torch._dynamo.reset()  # or the recompilation limit is met
        result["ours on torch, compiled"] = eager(torch.compile(f, fullgraph=True))
        result["torch compiled"] = eager(torch.compile(peer, fullgraph=True))
    return result


def medians(calls: dict[str, Callable[[], Any]], size: int, rounds: int) -> dict[str, float]:
    """Return the median time of each call in microseconds, the calls taking turns."""
    number = max(1, 100_000 // size)
    for call in calls.values():
        call(), call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            for _ in range(number):
                call()
            times[name].append(1e6 * (time.process_time() - start) / number)
    return {name: round(statistics.median(t), 3) for name, t in times.items()}


#: Ratios, as quotients of two of the times.
RATIOS = {
    "numpy forward": ("numpy forward", "torch forward"),
    "numpy forward+gradient": ("numpy forward+gradient", "torch forward+gradient"),
    "torch eager": ("ours on torch", "torch forward"),
    "torch compiled": ("ours on torch, compiled", "torch compiled"),
}


def ratios(t: dict[str, float]) -> dict[str, float]:
    return {k: round(t[a] / t[b], 3) for k, (a, b) in RATIOS.items() if a in t and b in t}


def geometric_means(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the means of every ratio over all functions, and over those native in torch."""
    means = {}
    for label, chosen in (
        ("all", list(rows)),
        ("native", [name for name in rows if PEERS[name].native]),
    ):
        columns: dict[str, list[float]] = {}
        for name in chosen:
            for key, ratio in rows[name]["ratios"].items():
                columns.setdefault(key, []).append(ratio)
        means[label] = {k: round(statistics.geometric_mean(v), 3) for k, v in columns.items()}
    return means


def beside_matmul(rounds: int = 101) -> dict[str, Any]:
    """Time a layer's matrix product and activations of its output, on NumPy."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((256, 1024)).astype(np.float32)
    w = rng.standard_normal((1024, 1024)).astype(np.float32)
    calls: dict[str, Callable[[], Any]] = {"matmul": lambda: a @ w}
    for name in ("relu", "leaky_relu", "tanh", "sigmoid", "elu"):
        calls[name] = partial(getattr(act, name), a)
        calls[f"{name}_grad"] = partial(getattr(act, f"{name}_grad"), a)
    return {
        "what": "256 x 1024 float32: the product with a 1024 x 1024 matrix, and activations, NumPy",
        "microseconds": medians(calls, a.size, rounds),
    }


def show(name: str, t: dict[str, float], r: dict[str, float]) -> None:
    cells = [name if PEERS[name].native else f"{name} *"]
    for key in ("numpy forward", "torch forward"):
        cells.append(f"{t[key]:.6g}")
    for key in ("numpy forward+gradient", "torch forward+gradient"):
        cells.append(f"{t[key]:.6g}" if key in t else "-")
    cells.append(f"{t['copy']:.6g}")
    cells += [f"{r[key]:.2f}" if key in r else "-" for key in RATIOS]
    print(LINE.format(*cells), flush=True)


LINE = "{:15}" + "{:>11}" * 5 + "{:>9}" * 4
HEADS = (
    ("", "NumPy", "torch", "NumPy", "torch", "memory", "ratio", "ratio", "on torch", "on torch"),
    ("", "f", "f", "f+grad", "f+grad", "copy", "f", "f+grad", "eager", "compiled"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the activations against torch's.")
    parser.add_argument("names", nargs="*", default=list(PEERS), help="functions; all by default")
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.time()
    record: dict[str, Any] = {**conditions(), "rounds": options.rounds, "bars": BARS, "sizes": {}}
    print("Medians in microseconds, ratios ours / torch; * composed of several torch functions")
    for size in options.sizes:
        print(f"\n{size:,} elements")
        for head in HEADS:
            print(LINE.format(*head))
        rows = {}
        for name in options.names:
            t = medians(runs(name, size), size, options.rounds)
            rows[name] = {"native": PEERS[name].native, "microseconds": t, "ratios": ratios(t)}
            show(name, t, rows[name]["ratios"])
        means = geometric_means(rows)
        for label, mean in means.items():
            print(f"geometric means, {label}: " + ", ".join(f"{k} {v}" for k, v in mean.items()))
        record["sizes"][str(size)] = {"functions": rows, "geometric means": means}
    record["layer"] = beside_matmul()
    print(f"\n{record['layer']['what']}, microseconds:\n{record['layer']['microseconds']}")
    record["seconds"] = round(time.time() - start)
    if options.names == list(PEERS) and tuple(options.sizes) == SIZES:
        write("activations", record)


if __name__ == "__main__":
    main()
