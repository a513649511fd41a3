"""What a training consists of between two steps, and what is seen of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from companion.backend import to_numpy


@dataclass
class History:
    """What happened in :func:`fit`, as NumPy arrays whose leading axes are the replicas.

    Attributes
    ----------
    loss : array
        Loss of each step's batch, before the update; shape ``(..., steps)``.
    diverged : array
        The step (from 0) whose loss was nan or inf, from which on the replica was left as it was;
        -1 for a replica that trained to the end. Shape ``(...)``.
    metrics : dict
        What the callbacks returned, by name, each of shape ``(..., evaluations)``.
    steps : dict
        After how many updates each metric was taken, by name.
    messages : list of str
        For each replica that diverged: when, and the first layer whose output was not finite.
    state : array
        The running statistics after the last step, where the network has any; in the library of
        theta, as is the next.
    average : array
        The exponential moving average of the parameters, where there was to be one.
    """

    loss: Any
    diverged: Any
    metrics: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, Any] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    state: Any = None
    average: Any = None


@dataclass
class Run:
    """All that a training goes on from after a step, and that a checkpoint keeps.

    The losses and what the callbacks returned are those of the steps before.
    """

    theta: Any
    memory: Any
    state: Any
    seed: int
    diverged: Any
    average: Any = None
    order: Any = None
    t: int = 0
    goes_on: bool = True
    losses: list[Any] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    records: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)

    def record(self, callbacks: Any) -> None:
        """Call every callback, and note what it returns and whether training goes on."""
        model = (self.theta,) if self.state is None else (self.theta, self.state)
        for callback in callbacks:
            try:
                found = callback(self.t, *model)
            except StopIteration as stop:
                self.goes_on, found = False, stop.value
            for name, value in (found or {}).items():
                self.records.setdefault(name, []).append((self.t, value))

    def tree(self, rng: Any, callbacks: Any) -> dict[str, Any]:
        """Return everything as numbers, strings and arrays, in lists and dictionaries."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        records = {
            name: [[t for t, _ in rows], _stack([value for _, value in rows])]
            for name, rows in self.records.items()
        }
        seen = [c.state_dict() if hasattr(c, "state_dict") else None for c in callbacks]
        return found | {
            "losses": _stack(self.losses),
            "records": records,
            "rng": rng.bit_generator.state,
            "callbacks": seen,
        }

    def resume(self, kept: dict[str, Any], rng: Any, callbacks: Any) -> None:
        """Become what :meth:`tree` kept, and the generator and the callbacks with it."""
        for name in self.__dataclass_fields__:
            setattr(self, name, kept[name])
        self.losses = _split(kept["losses"])
        self.records = {
            name: list(zip(ts, _split(values), strict=True))
            for name, (ts, values) in kept["records"].items()
        }
        rng.bit_generator.state = kept["rng"]
        for callback, seen in zip(callbacks, kept["callbacks"], strict=True):
            if seen is not None:
                callback.load_state_dict(seen)

    def history(self) -> History:
        """Return what happened, as NumPy arrays."""
        diverged = np.asarray(to_numpy(self.diverged))
        loss = _stack(self.losses) if self.losses else np.empty((*diverged.shape, 0))
        history = History(loss, diverged)
        history.messages, history.state = self.messages, self.state
        history.average = self.average
        for name, rows in self.records.items():
            history.steps[name] = np.array([t for t, _ in rows])
            history.metrics[name] = _stack([value for _, value in rows])
        return history


def _stack(values: list[Any]) -> Any:
    return np.stack([to_numpy(v) for v in values], axis=-1)


def _split(values: Any) -> list[Any]:
    return list(np.moveaxis(values, -1, 0))
