"""One process of a training that several do together.

torchrun --nproc-per-node 2 -m tests.processes FOLDER LIBRARY CASE
"""

import functools
import sys
from pathlib import Path

import numpy as np

from companion import backend, datasets, losses, training
from companion.backend import to_numpy
from companion.layers import BatchNorm, Dropout, Linear, Tanh
from companion.network import Sequential
from companion.optimizers import SGD
from companion.training import Checkpoint, distributed

PLAIN = Sequential(Linear(20, 16), Tanh(), Linear(16, 10))
NORMED = Sequential(Linear(20, 16), BatchNorm(16), Dropout(0.3), Tanh(), Linear(16, 10))


def run(case, processes=None, folder=None):
    """Train, together or alone; one that is alone computes the parts one after the other."""
    rng = np.random.default_rng(0)
    net = NORMED if case == "noise" else PLAIN
    theta = net.init(rng, replicas=3)
    if case == "diverging":
        theta = backend.array(to_numpy(theta) * np.array([[1.0], [np.nan], [1.0]]))
    x, y = datasets.clusters(104, rng=rng)
    loss = losses.cross_entropy
    if case == "ignoring":  # about half, in one part more than in the other
        y = backend.namespace(y).where(y < 5, 0 * y - 100, y)
        loss = functools.partial(loss, ignore_index=-100)
    theta, history = training.fit(
        net,
        theta,
        (x, y),
        loss=loss,
        optimizer=SGD(lr=0.1, momentum=0.9),
        rng=rng,
        steps=25,
        batch_size=33,
        clip=1.0,
        processes=processes,
        compile=case == "compiled" and processes is not None,
        accumulate=2 if case == "noise" and processes is None else 1,
        checkpoint=Checkpoint(folder / "run.npz", 10) if folder else None,
        progress=False,
    )
    found = {"theta": theta, "loss": history.loss, "diverged": history.diverged}
    if case != "noise":  # the running statistics of two parts in a row are not the mean of both
        return {name: to_numpy(value) for name, value in found.items()}
    return {name: to_numpy(value) for name, value in {**found, "state": history.state}.items()}


if __name__ == "__main__":
    folder, library, case = sys.argv[1:]
    backend.use(library, dtype="float64")
    processes = distributed.join("gloo")
    counted = []
    if case == "counted":
        import torch.distributed as dist

        reduce = dist.all_reduce
        dist.all_reduce = lambda vector: (counted.append(vector.shape), reduce(vector))
    found = run(case, processes, Path(folder) / str(processes.rank))
    np.savez(Path(folder) / f"end{processes.rank}.npz", counted=np.array(counted), **found)
