"""A rate that falls when a metric has not become better (chapter 4, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import to_numpy
from companion.schedules.base import _count, _number, _rate, _text


class ReduceLROnPlateau:
    r"""Lower the rate when a metric has not become better for a while.

    A callback of ``fit``, which looks at the metric, and a schedule, :meth:`rate`, which says what
    rate that has led to: ``fit(schedule=plateau.rate, callbacks=[plateau])``. Names and rules are
    those of torch's class of this name: an evaluation is better if it is below
    :math:`\text{best}\,(1-\text{threshold})`, or :math:`\text{best}-\text{threshold}` with "abs";
    after more than `patience` that are not, the rate is multiplied by `factor`. The first step is
    taken at lr, the last at what is left of it. Keras's class of this name acts one evaluation
    earlier, and compares by differences only (``min_delta``).

    Each replica has its own rate, best and counts, of the shape that the metric has.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        The first rate.
    metric : callable
        ``metric(theta)``, or ``metric(theta, state)`` where the network has running statistics:
        one value for each replica, or one for all. One that is nan is not better.
    every : int, default 1
        Steps from one evaluation to the next.
    mode : {"min", "max"}
        Whether less or more is better.
    factor : float, default 0.1
        Less than 1.
    patience : int, default 10
    threshold : float, default 1e-4
    threshold_mode : {"rel", "abs"}
    cooldown : int, default 0
        So many evaluations after a reduction are not counted.
    min_lr : float, default 0.0
    eps : float, default 1e-8
        A reduction by no more than this is not made.

    Examples
    --------
    >>> plateau = ReduceLROnPlateau(1.0, lambda theta: theta[..., 0] ** 2, patience=1)
    >>> for t, value in enumerate([3.0, 1.0, 1.0, 1.0, 1.0]):
    ...     _ = plateau(t, np.array([value]))
    ...     print(t, plateau.rate(t))
    0 1.0
    1 1.0
    2 1.0
    3 0.1
    4 0.1
    """

    def __init__(
        self,
        lr: Any,
        metric: Callable[..., Any],
        *,
        every: int = 1,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not 0 <= _number(factor, "factor") < 1:
            raise ValueError(f"factor must be at least 0 and less than 1; got {factor}")
        for name, value, known in (
            ("mode", mode, ("min", "max")),
            ("threshold_mode", threshold_mode, ("rel", "abs")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        self.lr = _rate(lr, "lr")
        self.metric, self.every = metric, _count(every, "every")
        self.mode, self.factor = mode, factor
        self.patience = _count(patience, "patience", 0)
        self.threshold, self.threshold_mode = _rate(threshold, "threshold"), threshold_mode
        self.cooldown = _count(cooldown, "cooldown", 0)
        self.min_lr, self.eps = _rate(min_lr, "min_lr"), _rate(eps, "eps")
        self.now: Any = self.lr
        self.best: Any = None
        self.num_bad_epochs: Any = None
        self.cooldown_counter: Any = None

    def __repr__(self) -> str:
        own = ("lr", "every", "mode", "factor", "patience", "threshold", "threshold_mode")
        names = (*own, "cooldown", "min_lr", "eps")
        return f"ReduceLROnPlateau({', '.join(f'{n}={_text(getattr(self, n))}' for n in names)})"

    def rate(self, step: int) -> Any:
        """Return the rate as it is now, a number or of shape ``(..., 1)``."""
        return self.now

    def state_dict(self) -> dict[str, Any]:
        """Return what it has seen, for a checkpoint."""
        return {name: getattr(self, name) for name in _SEEN}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        for name in _SEEN:
            setattr(self, name, state_dict[name])

    def __call__(self, t: int, *model: Any) -> dict[str, Any]:
        if t % self.every:
            return {}
        value = np.asarray(to_numpy(self.metric(*model)))
        sign = 1 if self.mode == "min" else -1
        if self.best is None:
            rates = np.shape(self.lr)[:-1]
            try:
                both = np.broadcast_shapes(value.shape, rates)
            except ValueError:
                both = None
            if both not in (value.shape, rates):
                raise ValueError(
                    f"metric must return values that fit those of lr, shape {rates}; "
                    f"got shape {value.shape}"
                )
            self.best = np.full(value.shape, sign * np.inf)
            self.num_bad_epochs = np.zeros(value.shape, int)
            self.cooldown_counter = np.zeros(value.shape, int)
        margin = self.threshold
        bound = self.best - sign * margin
        if self.threshold_mode == "rel":
            bound = self.best * (1 - sign * margin)
        better = sign * value < sign * bound
        self.best = np.where(better, value, self.best)
        cooling = self.cooldown_counter > 0
        bad = np.where(better | cooling, 0, self.num_bad_epochs + 1)
        reduce = bad > self.patience
        self.num_bad_epochs = np.where(reduce, 0, bad)
        self.cooldown_counter = np.where(reduce, self.cooldown, self.cooldown_counter - cooling)
        new = np.maximum(self.now * self.factor, self.min_lr)
        own = reduce[..., None] if value.ndim else reduce
        now = np.where(own & (self.now - new > self.eps), new, self.now)
        self.now = float(now) if now.ndim == 0 else now
        return {"plateau": value[()], "lr": now[..., 0] if now.ndim else self.now}


#: What a plateau rule has seen.
_SEEN = ("now", "best", "num_bad_epochs", "cooldown_counter")
