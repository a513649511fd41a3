"""What optimizers share: hyperparameters that are numbers, arrays or schedules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from companion.backend import fits, like, to_numpy


@dataclass(frozen=True)
class Optimizer:
    """An update rule over the whole parameter vector; subclasses say which.

    Every hyperparameter is a number, an array or a schedule, which is a function of the step, from
    0, that returns one of these. Arrays broadcast against theta ``(..., P)``: of shape
    ``(..., 1)`` they have a value for each replica, of shape ``(P,)`` one for each parameter, which
    makes parameter groups: a weight decay that leaves out biases is
    ``0.01 * optimizers.decay_mask(net)``.
    """

    lr: Any
    now: ClassVar[Any] = None

    #: Names of fields that are no hyperparameters: a function there is no schedule.
    _constant: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Say so if a hyperparameter is out of range, and note which are not mere numbers."""
        self._check()
        for flag in (f.name for f in fields(self) if f.type == "bool"):
            if not isinstance(getattr(self, flag), bool):
                raise TypeError(f"{flag} must be True or False; got {getattr(self, flag)!r}")
        names = [f.name for f in fields(self) if f.name not in self._constant]
        varied = [name for name in names if any(_is_varied(v) for v in _flat(getattr(self, name)))]
        object.__setattr__(self, "_varied", tuple(varied))
        if not varied and type(self)._numbers is Optimizer._numbers:
            object.__setattr__(self, "now", ())  # every step has this rule

    def init(self, theta: Any) -> dict[str, Any]:
        """Return the state before the first step."""
        if "float" not in str(getattr(theta, "dtype", None)):
            raise TypeError(f"theta must be an array of floating-point numbers; got {theta!r}")
        shape = tuple(theta.shape)
        for name in self._varied:  # type: ignore[attr-defined]
            for value in _flat(getattr(self, name)):
                first = np.asarray(to_numpy(value(0) if callable(value) else value))
                if first.dtype.kind not in "iuf":
                    raise TypeError(f"{name} must return a number or an array; got {first}")
                own = first.shape
                if not fits(own, shape):
                    raise ValueError(
                        f"{name} must broadcast against theta: (..., 1) has a value for each "
                        f"replica, (P,) one for each parameter; got {own} for {shape}"
                    )
        return {"step": 0, **self._start(theta)}

    def update(self, theta: Any, grad: Any, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return theta and the state after one step."""
        if tuple(grad.shape) != tuple(theta.shape):
            raise ValueError(
                f"grad must have the shape of theta, {tuple(theta.shape)}; got {tuple(grad.shape)}"
            )
        t = state["step"]
        theta, memory = self.at(t, theta)._step(theta, grad, state, t + 1)
        return theta, {**state, "step": t + 1, **memory}

    def _numbers(self, t: int) -> tuple[Any, ...]:
        """Return what step t, from 1, needs of t and the hyperparameters, as ``self.now``.

        Powers of t would be computed for each parameter where they are part of a compiled graph.
        """
        return ()

    def lookahead(self, theta: Any, state: dict[str, Any]) -> Any:
        """Return where the gradient of the next step is to be taken: at theta, in most rules."""
        return theta

    def at(self, step: int, theta: Any, as_arrays: bool = False) -> Self:
        """Return the rule of one step: schedules replaced by their values, arrays made like theta.

        With `as_arrays` numbers that change with the step are arrays as well: a compiled step
        would be compiled anew for every other number.

        Examples
        --------
        >>> from companion.optimizers import SGD
        >>> SGD(lr=lambda t: 0.5**t).at(2, np.zeros(3)).lr
        0.25
        """
        if self.now is not None:
            return self
        rule = copy.copy(self)
        rule._set(self._varied, lambda v: v(step) if callable(v) else v)  # type: ignore[attr-defined]
        object.__setattr__(rule, "now", rule._numbers(step + 1))  # subtracts: not rounded yet
        names = (*self._varied, "now")  # type: ignore[attr-defined]
        rule._set(names, lambda v: like(v, theta) if as_arrays or hasattr(v, "dtype") else v)
        return rule

    def _set(self, names: tuple[str, ...], change: Callable[[Any], Any]) -> None:
        """Change the values of hyperparameters, of which some are several."""
        for name in names:
            found = getattr(self, name)
            new = tuple(map(change, found)) if isinstance(found, tuple) else change(found)
            object.__setattr__(self, name, new)

    def _check(self) -> None:
        """Raise ValueError for a hyperparameter out of range; schedules are not looked at."""
        self._not_negative("lr")

    def _not_negative(self, *names: str) -> None:
        self._within(names, lambda v: v >= 0, "not be negative")

    def _fractions(self, *names: str) -> None:
        self._within(names, lambda v: (v >= 0) & (v < 1), "be at least 0 and less than 1")

    def _within(self, names: Any, holds: Any, what: str) -> None:
        for name in names:
            given = getattr(self, name)
            for value in _flat(given):
                if callable(value):
                    continue
                found = np.asarray(to_numpy(value))
                several = isinstance(value, list) or (isinstance(given, tuple) and name != "betas")
                if several or found.dtype.kind not in "iuf":
                    raise TypeError(
                        f"{name} must be a number, an array or a schedule; got {given!r}"
                    )
                if not np.all(holds(found)):
                    raise ValueError(f"{name} must {what}; got {given}")

    def _check_betas(self) -> None:
        betas = self.betas  # type: ignore[attr-defined]
        if not isinstance(betas, tuple) or len(betas) != 2:
            raise ValueError(f"betas must be a tuple of two, (beta1, beta2); got {betas!r}")
        self._fractions("betas")

    def _start(self, theta: Any) -> dict[str, Any]:
        """Return the memory before the first step; most rules have some."""
        return {}

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        """Return theta and the memory after step t, from 1; all hyperparameters are values."""
        raise NotImplementedError


def decay_mask(net: Any) -> Any:
    """Return 1 for each parameter that weight decay is meant for, and 0 for the others.

    Decayed are the weights that multiply features: parameters of two or more axes. Biases, and
    scales and shifts of normalisation, are left out.

    Parameters
    ----------
    net : Sequential

    Returns
    -------
    numpy.ndarray, shape (P,)

    Examples
    --------
    >>> from companion.layers import Linear
    >>> from companion.network import Sequential
    >>> decay_mask(Sequential(Linear(2, 3))).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """
    mask = np.zeros(net.size)
    for values in net.unpack(mask).values():
        values[...] = values.ndim > 1
    return mask


def averaged(old: Any, decay: Any, new: Any) -> Any:
    """Return the moving average after one more value, ``decay * old + (1 - decay) * new``."""
    average = decay * old
    average += (1 - decay) * new  # ours: one pass less
    return average


def averaged_square(old: Any, decay: Any, new: Any) -> Any:
    """Return the moving average of squares; the factor comes first, and overflow later."""
    average = decay * old
    average += ((1 - decay) * new) * new
    return average


def penalized(grad: Any, weight_decay: Any, theta: Any) -> Any:
    """Return the slope with that of the penalty, half of weight_decay times theta², added."""
    return grad + weight_decay * theta if is_used(weight_decay) else grad


def is_used(value: Any) -> bool:
    """Tell whether a hyperparameter is anything but the number 0."""
    return not isinstance(value, (int, float, np.number)) or value != 0


def _flat(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _is_varied(value: Any) -> bool:
    return callable(value) or hasattr(value, "dtype")
