"""Which of two networks learns faster: updates to an error, at the best rate of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from companion import training
from companion.backend import array, to_numpy
from companion.layers import Layer, Linear
from companion.losses import cross_entropy
from companion.network import Sequential
from companion.optimizers import SGD


def mlp(
    n_in: int,
    depth: int,
    activation: Any,
    *,
    linear: type[Linear] = Linear,
    gain: float = 1.0,
    width: int = 32,
    n_out: int = 10,
) -> Sequential:
    """Make a network of `depth` hidden layers; `activation()` is called for each.

    Examples
    --------
    >>> from companion.layers import Tanh
    >>> mlp(64, 2, Tanh).size
    3466
    """
    layers: list[Layer] = [Linear(n_in, width, gain=gain), activation()]
    for _ in range(depth - 1):
        layers += [linear(width, width, gain=gain), activation()]
    return Sequential(*layers, linear(width, n_out, gain=gain))


def updates_to(
    level: float, net: Sequential, theta: Any, data: Any, lr: Any, steps: int, enough: Any = np.all
) -> Any:
    """Count the updates until the error on the first 300 samples is at most `level`.

    The rest is not run once ``enough(reached)`` holds for the replicas that are there.
    """
    some = data[0][:300], data[1][:300]
    updates = np.full(np.broadcast_shapes(theta.shape[:-1], lr.shape[:-1]), np.inf)

    def look(t: int, theta: Any) -> None:
        if t % 5 == 0:
            error = 1 - to_numpy(training.accuracy(net, theta, *some))
            updates[(error <= level) & np.isinf(updates)] = t
            if enough(updates < np.inf):
                raise StopIteration

    training.fit(
        net,
        theta + 0 * lr,
        data,
        loss=cross_entropy,
        optimizer=SGD(lr),
        rng=np.random.default_rng(0),
        steps=steps,
        batch_size=50,
        callbacks=[look],
    )
    return updates


def race(
    net: Sequential, data: Any, rates: Any, steps: int, *, level: float = 0.25
) -> tuple[float, Any]:
    """Choose the learning rate on three seeds, then count the updates to `level` on ten others.

    Returns
    -------
    rate : float
    updates : NumPy array, shape (10,)
        Multiples of 5; inf for a seed that did not get there in `steps`.

    Raises
    ------
    ValueError
        If the best rate lies at the edge of the grid, where nobody can call it best.
    """
    theta = net.init(np.random.default_rng(1), replicas=13)
    lr = array(np.asarray(rates, float))[:, None, None]

    def two_of_three(reached: Any) -> bool:  # at a rate, which then is the best
        return bool((reached.sum(axis=1) >= 2).any())

    counts = updates_to(level, net, theta[:3], data, lr, steps, enough=two_of_three)
    pilot = np.median(counts, axis=1)
    best = int(pilot.argmin())
    if best in (0, len(rates) - 1):
        raise ValueError(f"rates must reach beyond the best one; got {list(rates)} with {pilot}")
    return float(rates[best]), updates_to(level, net, theta[3:], data, lr[best], steps)
