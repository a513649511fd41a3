"""Steps per second of ``fit`` against torch, in one interleaved run on one thread.

Small and larger networks in float32, on NumPy and on torch, against torch eager with
``torch.optim``: minibatches of shuffled samples, each loss kept. Then 50 replicas at once against a
loop of torch trainings and against ``torch.func.vmap``; jax.jit with optax beside them where these
are installed. What is measured is processor time, so that other programs count little.
``python -m benchmarks.training --rounds 5 --quick`` leaves out what compiles.
"""

import argparse
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import conditions, write
from companion import backend, layers, losses, network, optimizers, training

ROUNDS = 15
#: An optimizer's name and options, torch's and ours.
SGD, MOMENTUM = ("SGD", {"lr": 0.01}), ("SGD", {"lr": 0.01, "momentum": 0.9})
ADAM = ("Adam", {"lr": 0.001})
#: sizes, batch, samples, steps in a round, optimizer
NETWORKS = {
    "2-16-16-2, batch 32, SGD": ((2, 16, 16, 2), 32, 320, 300, SGD),
    "784-256-128-10, batch 128, SGD": ((784, 256, 128, 10), 128, 1280, 30, SGD),
    "784-256-128-10, batch 128, SGD with momentum": ((784, 256, 128, 10), 128, 1280, 30, MOMENTUM),
    "784-256-128-10, batch 128, Adam": ((784, 256, 128, 10), 128, 1280, 30, ADAM),
}
REPLICAS, SMALL = 50, ((64, 32, 10), 64, 640, 20, MOMENTUM)
BARS = {
    "2-16-16-2, batch 32, SGD": {"torch eager / NumPy": 3.0},
    "784-256-128-10, batch 128, SGD": {"NumPy / its matrix products": 1.2},
    "784-256-128-10, batch 128, SGD with momentum": {"torch eager / NumPy": 1.2},
    "784-256-128-10, batch 128, Adam": {"torch eager / NumPy": 1.2},
    "50 replicas": {"torch loop / NumPy": 5.0, "torch.func.vmap / NumPy": 1.0},
}


def ours(sizes: tuple[int, ...]) -> network.Sequential:
    row: list[layers.Layer] = []
    for n_in, n_out in itertools.pairwise(sizes):
        row += [layers.Linear(n_in, n_out), layers.ReLU()]
    return network.Sequential(*row[:-1])


def theirs(sizes: tuple[int, ...]) -> torch.nn.Sequential:
    row: list[torch.nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        row += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*row[:-1])


def data(sizes: tuple[int, ...], n: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, sizes[0])).astype(np.float32)
    return x, rng.integers(sizes[-1], size=n)


def fitted(
    library: str, setting: Any, replicas: Any = (), compile: bool = False
) -> Callable[[], Any]:
    """Return a training of ours, to be timed."""
    sizes, batch, n, steps, (kind, options) = setting
    backend.use(library, dtype="float32")
    net = ours(sizes)
    theta = net.init(np.random.default_rng(0), replicas=replicas)
    x, y = (backend.array(a) for a in data(sizes, n))
    optimizer = getattr(optimizers, kind)(**options)

    def call() -> Any:
        return training.fit(
            net,
            theta,
            (x, y),
            loss=losses.cross_entropy,
            optimizer=optimizer,
            rng=np.random.default_rng(0),
            steps=steps,
            batch_size=batch,
            compile=compile,
            progress=False,
        )

    return call


def shuffled(n: int, batch: int, steps: int) -> Any:
    """Yield the rows of each step, in a new order every epoch."""
    while True:
        for rows in torch.randperm(n).split(batch):
            if not steps:
                return
            steps -= 1
            yield rows


def torch_training(setting: Any) -> Callable[[], Any]:
    """Return the same training, as it is written with torch."""
    sizes, batch, n, steps, (kind, options) = setting
    model = theirs(sizes)
    x, y = (torch.from_numpy(a) for a in data(sizes, n))

    def call() -> Any:
        optimizer = getattr(torch.optim, kind)(model.parameters(), **options)
        found = []
        for rows in shuffled(n, batch, steps):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    return call


def vmapped(setting: Any, replicas: int) -> Callable[[], Any]:
    """Return the trainings of all replicas as one, through ``torch.func``."""
    sizes, batch, n, steps, (_, options) = setting
    model = theirs(sizes)
    models = [theirs(sizes) for _ in range(replicas)]
    start, _ = torch.func.stack_module_state(models)
    x, y = (torch.from_numpy(a) for a in data(sizes, n))

    def loss(params: Any, x: Any, y: Any) -> Any:
        return F.cross_entropy(torch.func.functional_call(model, params, (x,)), y)

    both = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, None, None))

    def call() -> Any:
        params = [p.detach() for p in start.values()]
        buffers, found = [torch.zeros_like(p) for p in params], []
        with torch.no_grad():
            for rows in shuffled(n, batch, steps):
                grads, value = both(dict(zip(start, params, strict=True)), x[rows], y[rows])
                torch._foreach_mul_(buffers, options["momentum"])
                torch._foreach_add_(buffers, list(grads.values()))
                params = torch._foreach_sub(params, torch._foreach_mul(buffers, options["lr"]))
                found.append(value)
        return found

    return call


def jax_training(setting: Any) -> Callable[[], Any]:
    """Return the same training with jax.jit and optax, the whole step one compiled function."""
    import jax
    import jax.numpy as jnp
    import optax

    sizes, batch, n, steps, (kind, options) = setting
    rng = np.random.default_rng(0)
    start = [
        (rng.standard_normal(shape).astype(np.float32) / shape[0] ** 0.5, np.zeros(shape[1], "f4"))
        for shape in itertools.pairwise(sizes)
    ]
    x, y = data(sizes, n)
    rate, *rest = options.values()
    optimizer = {"SGD": optax.sgd, "Adam": optax.adam}[kind](rate, *rest)

    def loss(params: Any, x: Any, y: Any) -> Any:
        for weight, bias in params[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        weight, bias = params[-1]
        logits = x @ weight + bias
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params, x, y)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    def call() -> Any:
        params = jax.tree.map(jnp.asarray, start)
        state, found = optimizer.init(params), []
        for rows in shuffled(n, batch, steps):
            params, state, value = step(params, state, x[rows.numpy()], y[rows.numpy()])
            found.append(float(value))
        return found

    return call


def products(setting: Any) -> Callable[[], Any]:
    """Return the matrix products of a training on NumPy, and nothing else."""
    sizes, batch, _, steps, _ = setting
    rng = np.random.default_rng(0)
    hidden = [rng.standard_normal((batch, k)).astype(np.float32) for k in sizes]
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in itertools.pairwise(sizes)]

    def call() -> None:
        for _ in range(steps):
            for h, w in zip(hidden, weights, strict=False):
                h @ w
            for i, (h, w) in enumerate(zip(hidden, weights, strict=False)):
                h.mT @ hidden[i + 1]
                if i:
                    hidden[i + 1] @ w.mT

    return call


def medians(calls: dict[str, Callable[[], Any]], steps: int, rounds: int) -> dict[str, float]:
    """Return the median time of a step in microseconds, the calls taking turns."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(1e6 * (time.process_time() - start) / steps)
    return {name: round(statistics.median(t), 1) for name, t in times.items()}


def measure(rounds: int, quick: bool) -> dict[str, Any]:
    """Time all of it; ratios above 1 say how many times as fast ours is."""
    found: dict[str, Any] = {}
    with_jax = all(importlib.util.find_spec(name) for name in ("jax", "optax"))
    for name, setting in NETWORKS.items():
        calls = {
            "NumPy": fitted("numpy", setting),
            "torch eager": torch_training(setting),
            "ours on torch": fitted("torch", setting),
            "its matrix products": products(setting),
        }
        if with_jax:
            calls["jax.jit with optax"] = jax_training(setting)
        if not quick:
            calls["ours on torch, compiled"] = fitted("torch", setting, compile=True)
        t = medians(calls, setting[3], rounds)
        ratios = {
            "torch eager / NumPy": t["torch eager"] / t["NumPy"],
            "torch eager / ours on torch": t["torch eager"] / t["ours on torch"],
            "NumPy / its matrix products": t["NumPy"] / t["its matrix products"],
        }
        if with_jax:
            ratios["jax / NumPy"] = t["jax.jit with optax"] / t["NumPy"]
        if not quick:
            compiled = t["ours on torch, compiled"]
            ratios["torch eager / ours on torch, compiled"] = t["torch eager"] / compiled
        found[name] = {"microseconds a step": t, "ratios": rounded(ratios)}
        show(name, found[name])
    single = torch_training(SMALL)
    t = medians(
        {
            "NumPy": fitted("numpy", SMALL, REPLICAS),
            "one torch training": single,
            "ours on torch": fitted("torch", SMALL, REPLICAS),
            "torch.func.vmap": vmapped(SMALL, REPLICAS),
        },
        SMALL[3],
        rounds,
    )
    ratios = {
        "torch loop / NumPy": REPLICAS * t["one torch training"] / t["NumPy"],
        "torch loop / ours on torch": REPLICAS * t["one torch training"] / t["ours on torch"],
        "torch.func.vmap / NumPy": t["torch.func.vmap"] / t["NumPy"],
    }
    name = f"{REPLICAS} replicas"
    found[name] = {"microseconds a step": t, "ratios": rounded(ratios)}
    show(f"{name} of 64-32-10, batch 64, SGD with momentum", found[name])
    return found


def rounded(ratios: dict[str, float]) -> dict[str, float]:
    return {name: round(ratio, 2) for name, ratio in ratios.items()}


def show(name: str, row: dict[str, dict[str, float]]) -> None:
    print(f"\n{name}")
    for unit, values in row.items():
        print(f"  {unit}: " + ", ".join(f"{k} {v}" for k, v in values.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time training against torch's.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="without what compiles, no record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start, old = time.time(), backend.current()
    found = measure(options.rounds, options.quick)
    backend.use(old.library, old.device, old.dtype)
    record = {**conditions(), "rounds": options.rounds, "bars": BARS, "trainings": found}
    if not options.quick:
        write("training", {**record, "seconds": round(time.time() - start)})


if __name__ == "__main__":
    main()
