"""One training on several processes or machines, each with a part of every batch."""

from __future__ import annotations

import atexit
from dataclasses import dataclass
from typing import Any

from companion.backend import current, is_torch, namespace


@dataclass(frozen=True)
class Processes:
    """The processes that train together; made by :func:`join`.

    All of them call :func:`fit` with the same arguments: the same start, data and generator. A
    step adds up their gradients, all-reduced as one vector, and each makes the same update. The
    result is that of one process with the whole batch, but for the order of the sums; statistics
    over a batch are those of each part, and running statistics their mean.
    The first keeps the checkpoint, on a disk that all of them read when they start.
    """

    rank: int
    size: int

    def sum(self, value: Any, grad: Any, state: Any) -> tuple[Any, Any, Any]:
        """Return the sums of the losses and gradients, and the mean of the running statistics.

        Each process gives a part of the loss and of the gradient; all are sent in one vector.
        """
        import torch
        import torch.distributed as dist

        xp, width = namespace(grad), grad.shape[-1]
        arrays = [grad, value[..., None]] + ([] if state is None else [state / self.size])
        vector = xp.concat(arrays, axis=-1)
        dist.all_reduce(vector if is_torch(vector) else torch.from_numpy(vector))  # in place
        grad, value, rest = vector[..., :width], vector[..., width], vector[..., width + 1 :]
        return value, grad, None if state is None else rest


def join(backend: str | None = None) -> Processes:
    """Meet the other processes that ``torchrun`` started.

    A script that calls it is started as ``torchrun --nproc-per-node 2 script.py``; arrays may be
    of either library.

    Parameters
    ----------
    backend : {"gloo", "nccl"}, optional
        Default: nccl where new arrays are made on a GPU, gloo elsewhere.

    Returns
    -------
    Processes
        For ``fit(..., processes=...)``.
    """
    import torch.distributed as dist

    on_gpu = current().device.startswith("cuda")
    if not dist.is_initialized():
        dist.init_process_group(backend or ("nccl" if on_gpu else "gloo"))
        # gloo's threads, still running when Python ends, abort a process now and then
        atexit.register(lambda: dist.is_initialized() and dist.destroy_process_group())
    return Processes(dist.get_rank(), dist.get_world_size())
