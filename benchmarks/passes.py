"""Time of a network's passes against the matrix products in them."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import conditions, write
from companion import backend, losses
from companion.layers import Linear, ReLU
from companion.network import Sequential

SAMPLES, LAYERS, WIDTHS, ROUNDS = 128, 4, (32, 128, 512, 1024), 41


def network(width: int) -> Sequential:
    """Return `LAYERS` hidden layers of `width` units."""
    hidden = [layer for _ in range(LAYERS) for layer in (Linear(width, width), ReLU())]
    return Sequential(*hidden, Linear(width, 10))


def passes(width: int) -> dict[str, Callable[[], Any]]:
    """Return the passes through a network, and the products that they cannot do without."""
    rng = np.random.default_rng(0)
    net = network(width)
    theta = net.init(rng)
    x = backend.array(rng.standard_normal((SAMPLES, width)))
    y = backend.array(rng.integers(0, 10, SAMPLES))
    weights = [w for name, w in net.unpack(theta).items() if name.endswith("weight")]
    hidden = [x] * len(weights)

    def forward() -> Any:
        return net.forward(theta, x)

    def step() -> Any:
        logits, cache = forward()
        return net.backward(cache, losses.cross_entropy_grad(logits, y), input_grad=False)

    def products() -> Any:
        return [a @ w for a, w in zip(hidden, weights, strict=True)]

    outputs = products()

    def all_products() -> Any:
        products()
        weight_grads = [a.mT @ d for a, d in zip(hidden, outputs, strict=True)]
        return weight_grads, [d @ w.mT for d, w in zip(outputs[1:], weights[1:], strict=True)]

    return {
        "forward": forward,
        "forward and backward": step,
        "forward's products": products,
        "all products": all_products,
    }


def measure(width: int) -> dict[str, float]:
    """Return the medians in microseconds, of interleaved rounds."""
    runs = passes(width)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: round(1e6 * statistics.median(t), 1) for name, t in times.items()}


def main() -> None:
    start = time.time()
    result: dict[str, Any] = {}
    for library in ("numpy", "torch"):
        backend.use(library, dtype="float32")
        result[library] = {str(width): measure(width) for width in WIDTHS}
        for width, t in result[library].items():
            ratio = t["forward and backward"] / t["forward"]
            print(f"{library:6} width {width:>4}: forward and backward {ratio:.2f} x forward", t)
    settings = {"samples": SAMPLES, "layers": LAYERS, "rounds": ROUNDS}
    write("passes", {**conditions(), **settings, **result, "seconds": round(time.time() - start)})


if __name__ == "__main__":
    main()
