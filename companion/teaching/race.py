"""Which of two networks, or of several rules, learns faster, each at its best rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
        If no rate gets there in `steps`, or the best lies at the edge of the grid, where nobody can
        call it best.
    """
    theta = net.init(np.random.default_rng(1), replicas=13)
    lr = array(np.asarray(rates, float))[:, None, None]

    def two_of_three(reached: Any) -> bool:  # at a rate, which then is the best
        return bool((reached.sum(axis=1) >= 2).any())

    counts = updates_to(level, net, theta[:3], data, lr, steps, enough=two_of_three)
    pilot = np.median(counts, axis=1)
    if np.isinf(pilot).all():
        raise ValueError(f"none of the rates {list(rates)} reached {level} in {steps} updates")
    best = int(pilot.argmin())
    if best in (0, len(rates) - 1):
        raise ValueError(f"rates must reach beyond the best one; got {list(rates)} with {pilot}")
    return float(rates[best]), updates_to(level, net, theta[3:], data, lr[best], steps)


@dataclass(frozen=True)
class Task:
    """What optimizers are compared on: a network, what it learns from, and how it is judged.

    A seed has its own initial weights and its own samples in an order of its own. The pilots,
    which choose, and the seeds that are reported are different ones, and so are the samples that
    either are judged by.
    """

    net: Sequential
    train: tuple[Any, Any]
    validation: tuple[Any, Any]
    test: tuple[Any, Any]
    steps: int = 200
    batch_size: int = 32
    pilots: int = 5
    seeds: int = 20

    def search(
        self,
        rule: Callable[[Any], Any],
        rates: Any,
        *,
        pilots: int | None = None,
        budgets: Sequence[int] = (),
    ) -> tuple[Any, ...]:
        """Return the validation loss of every rate and pilot, after each of the budgets in steps.

        Parameters
        ----------
        rule : callable
            ``rule(lr)`` makes the optimizer.
        rates : sequence of float
        pilots : int, default all
        budgets : sequence of int, default the whole training

        Returns
        -------
        arrays, shape (rates, pilots)
            One for each budget, in their order; inf where training diverged.

        Raises
        ------
        ValueError
            If a budget is more than the whole training.
        """
        found, count = {}, self.pilots if pilots is None else pilots
        budgets = budgets or [self.steps]
        if not set(budgets) <= set(range(self.steps + 1)):
            raise ValueError(f"budgets must be from 0 to {self.steps}; got {budgets}")

        def look(t: int, theta: Any) -> None:
            if t in budgets:
                found[t] = mean_loss(self.net, theta, self.validation)

        self._train(rule, rates, slice(count), [look])
        return tuple(found[t] for t in budgets)

    def report(self, rule: Callable[[Any], Any], rates: Any) -> Any:
        """Return the test loss of the seeds at each of the rates, shape (rates, seeds)."""
        theta = self._train(rule, rates, slice(self.pilots, None))
        return mean_loss(self.net, theta, self.test)

    @cached_property
    def _starts(self) -> tuple[Any, Any, Any]:
        """Initial weights and samples of all pilots and seeds."""
        rng, many = np.random.default_rng(2), self.pilots + self.seeds
        n, count = self.train[0].shape[0], self.steps * self.batch_size
        rows = np.stack([np.resize(rng.permutation(n), count) for _ in range(many)])
        x, y = (array(to_numpy(part)[rows]) for part in self.train)
        return self.net.init(np.random.default_rng(1), many), x, y

    def _train(self, rule: Any, rates: Any, seeds: slice, callbacks: Any = ()) -> Any:
        start, x, y = (part[seeds] for part in self._starts)
        lr = array(np.asarray(rates, float))[:, None, None]
        theta, _ = training.fit(
            self.net,
            start + 0 * lr,
            (x, y),
            loss=cross_entropy,
            optimizer=rule(lr),
            rng=np.random.default_rng(0),
            steps=self.steps,
            batch_size=self.batch_size,
            callbacks=callbacks,
            progress=False,
        )
        return theta


def mean_loss(net: Sequential, theta: Any, data: tuple[Any, Any]) -> Any:
    """Return the cross-entropy of each replica as a NumPy array, inf where it is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        logits, _ = net.forward(theta, data[0])
        value = to_numpy(cross_entropy(logits, data[1]))
    return np.where(np.isfinite(value), value, np.inf)
