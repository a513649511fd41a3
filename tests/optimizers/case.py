"""What the common tests need to know of an optimizer."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from companion.backend import is_torch, to_numpy


@dataclass(frozen=True)
class Case:
    """An optimizer, and what does not hold for it.

    Parameters
    ----------
    opt : Optimizer
        With numbers, all of whose options do something, for parameters of ``parity.NET``.
    fixed : tuple of str
        Hyperparameters that must be a number, besides integers, strings and what is no number.
    signed : tuple of str
        Hyperparameters that may have any value.
    elementwise : bool
        What becomes of a parameter does not depend on the others, as it does with norms.
    rtol : float
        How much a replica may differ from a run of its own: 0 unless there are sums, which a
        library may add up in another order.
    """

    opt: Any
    fixed: tuple[str, ...] = ()
    signed: tuple[str, ...] = ()
    elementwise: bool = True
    rtol: float = 0.0

    def hyperparameters(self) -> list[tuple[str, int | None]]:
        """Return the name of each hyperparameter, and its place where it is one of a pair."""
        found: list[tuple[str, int | None]] = []
        for field in fields(self.opt):
            value = getattr(self.opt, field.name)
            if field.name in self.fixed:
                continue
            if isinstance(value, tuple):
                found += [(field.name, i) for i, v in enumerate(value) if isinstance(v, float)]
            elif isinstance(value, float):
                found.append((field.name, None))
        return found

    def value(self, name: str, place: int | None) -> float:
        """Return a hyperparameter."""
        value = getattr(self.opt, name)
        return value if place is None else value[place]

    def having(self, changes: dict[tuple[str, int | None], Any]) -> Any:
        """Return the optimizer with other hyperparameters."""
        new: dict[str, Any] = {}
        for (name, place), value in changes.items():
            if place is None:
                new[name] = value
            else:
                old = new.get(name, getattr(self.opt, name))
                new[name] = (*old[:place], value, *old[place + 1 :])
        return replace(self.opt, **new)


def arrays(tree: Any) -> list[Any]:
    """Return the arrays of a state in order, those in lists and dictionaries too."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [found for branch in tree for found in arrays(branch)]
    return [tree] if hasattr(tree, "dtype") else []


def copied(tree: Any) -> list[Any]:
    """Return copies of a state's arrays, as NumPy's."""
    return [np.array(to_numpy(a)) for a in arrays(tree)]


def is_floating(a: Any) -> bool:
    """Tell whether an array holds real numbers, and not counts or marks."""
    return bool(a.is_floating_point()) if is_torch(a) else a.dtype.kind == "f"
