"""A training with all that a checkpoint has to keep, as a program that can be killed.

    python -m tests.interrupted PATH LIBRARY

It imports no more than it needs, since it is started many times.
"""

import sys
import time

import numpy as np

from companion import backend, datasets, losses
from companion.backend import array, to_numpy
from companion.layers import BatchNorm, Dropout, Linear, Tanh
from companion.network import Sequential
from companion.optimizers import SGD
from companion.training import Checkpoint, EarlyStopping, evaluate, fit

NET = Sequential(Linear(20, 12), BatchNorm(12), Tanh(), Dropout(0.2), Linear(12, 10))
STEPS = 400


def run(path=None, *, steps=STEPS, every=1000, wait=0.0, callbacks=(), **options):
    """Train with all that there is to keep; the seventh step of an epoch is the last."""
    rng = np.random.default_rng(3)
    data = datasets.clusters(100, rng=rng)
    settings = {
        "loss": losses.cross_entropy,
        "optimizer": SGD(lr=array(np.array([[0.05], [0.1]])), momentum=0.9),
        "batch_size": 15,
        "accumulate": 2,
        "ema": 0.9,
        "clip": 1.0,
        "schedule": lambda t: 0.1 / (1 + t / 100),
        **options,
    }
    norm = evaluate(10, norm=lambda theta, state: (theta**2).sum(-1))
    stopping = EarlyStopping(lambda theta, state: (theta**2).sum(-1), every=7, patience=1000)
    theta, history = fit(
        NET,
        NET.init(rng, replicas=2),
        data,
        rng=rng,
        steps=steps,
        callbacks=[norm, stopping, lambda *_: time.sleep(wait), *callbacks],
        checkpoint=path and Checkpoint(path, every),
        **settings,
    )
    return {
        "theta": theta,
        "loss": history.loss,
        "state": history.state,
        "average": history.average,
        "norm": history.metrics["norm"],
        "norm steps": history.steps["norm"],
        "stopping": history.metrics["stopping"],
        "best": stopping.theta,
        "best step": stopping.step,
        "diverged": history.diverged,
        "next": rng.random(4),
    }


if __name__ == "__main__":
    path, library = sys.argv[1:]
    backend.use(library)
    print("begun", flush=True)
    found = run(path, every=1, wait=0.002)
    np.savez(path + ".end", **{name: to_numpy(value) for name, value in found.items()})
