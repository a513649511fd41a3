"""Claims about the choice among activations."""

import math

import numpy as np

from companion.layers import ReLU, Sigmoid, Tanh
from tests.claims.experiments import mlp, race, tasks


def test_sigmoid_falls_behind_with_depth(ledger):
    ratio = {}
    for name, data in tasks().items():
        for depth, steps in ((1, 100), (3, 500)):
            n = [
                race(mlp(data[0].shape[1], depth, f, gain=gain), data, rates, steps)
                for f, gain, rates in (
                    (Sigmoid, 1.0, 2.0 ** np.arange(0, 5)),
                    (ReLU, math.sqrt(2), 2.0 ** np.arange(-4, 3)),
                )
            ]
            ratio[name, depth] = np.median(n[0]) / np.median(n[1])
    ledger(
        "ACT-70",
        holds=all(ratio[n, 3] > 3 * ratio[n, 1] for n in tasks()),
        measured="updates to 25 % training error, sigmoid with weights $N(0,1/n)$ over ReLU with "
        "He weights, each at its best rate, medians of ten seeds: "
        + "; ".join(
            f"{ratio[n, 1]:.1f} with one hidden layer and {ratio[n, 3]:.0f} with three on {n}"
            for n in tasks()
        ),
    )


def test_activation_and_optimizer(ledger):
    table = []
    for name, data in tasks().items():
        for momentum in (0.0, 0.9):
            n = {}
            for f, gain, lowest, steps in (
                (Sigmoid, 4.0, -2, 140),
                (Tanh, 5 / 3, -4, 60),
                (ReLU, math.sqrt(2), -4, 80),
            ):
                net = mlp(data[0].shape[1], 3, f, gain=gain)
                rates = 2.0 ** (np.arange(lowest, lowest + 7) - 2 * (momentum > 0))
                n[f.__name__] = np.median(race(net, data, rates, steps, momentum=momentum))
            row = ", ".join(f"{k} {v:g}" for k, v in n.items())
            table.append(f"{row} with momentum {momentum:g} on {name}")
    ledger(
        "ACT-67",
        measured="median updates to 25 % training error, three hidden layers, each at its best "
        "rate, ten seeds: " + "; ".join(table),
    )
