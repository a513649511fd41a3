"""What is asked of a network during training and after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from companion.backend import namespace, to_numpy

if TYPE_CHECKING:
    from companion.training.run import History


def evaluate(every: int, **metrics: Callable[..., Any]) -> Callable[..., Any]:
    """Make a callback for :func:`fit` that records metrics of theta, at step 0 and every so often.

    Parameters
    ----------
    every : int
        Steps from one evaluation to the next.
    **metrics : callable
        ``metric(theta)``, one value for each replica; ``metric(theta, state)`` where the network
        has running statistics.

    Examples
    --------
    >>> callback = evaluate(10, norm=lambda theta: (theta**2).sum(axis=-1) ** 0.5)
    >>> callback(0, np.array([3.0, 4.0])), callback(1, np.array([3.0, 4.0]))
    ({'norm': np.float64(5.0)}, {})
    """

    def callback(t: int, *model: Any) -> dict[str, Any]:
        return {name: f(*model) for name, f in metrics.items()} if t % every == 0 else {}

    return callback


class EarlyStopping:
    """Callback that ends a training once a metric has not fallen for a while (Prechelt 1998).

    Each replica has its own best, which is settled once it has waited in vain, as if it were
    alone; training ends with the last of them. A metric that is nan counts as not fallen. The
    metric goes into the history as ``"stopping"``.

    Parameters
    ----------
    metric : callable
        ``metric(theta)``, or ``metric(theta, state)`` where the network has running statistics:
        one value for each replica, less is better.
    every : int, default 1
        Steps from one evaluation to the next.
    patience : int, default 10
        So many evaluations in a row without a fall end it, as in Keras.
    min_delta : float, default 0.0
        A fall of no more than this does not count.

    Attributes
    ----------
    best : array
        Least value of each replica, and ``step``, in that shape, after how many updates it was.
    theta : array
        The parameters there, of shape ``(..., P)``.
    state : array
        The running statistics there, if there are any.

    Examples
    --------
    >>> stopping = EarlyStopping(lambda theta: theta[..., 0] ** 2, patience=1)
    >>> for t, value in enumerate([3.0, 1.0, 2.0]):
    ...     try:
    ...         _ = stopping(t, np.array([value]))
    ...     except StopIteration:
    ...         print(f"ended at {t} with the best of step {stopping.step}")
    ended at 2 with the best of step 1
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        every: int = 1,
        patience: int = 10,
        min_delta: float = 0.0,
    ) -> None:
        for name, value in (("every", every), ("patience", patience)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")
        self.metric, self.every, self.patience, self.min_delta = metric, every, patience, min_delta
        self.best: Any = None
        self.step: Any = None
        self.theta: Any = None
        self.state: Any = None
        self.waited: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Return what it has seen, for a checkpoint."""
        return {name: getattr(self, name) for name in ("best", "step", "theta", "state", "waited")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        for name, value in state_dict.items():
            setattr(self, name, value)

    def __call__(self, t: int, theta: Any, state: Any = None) -> dict[str, Any]:
        if t % self.every:
            return {}
        model = (theta,) if state is None else (theta, state)
        value = np.asarray(to_numpy(self.metric(*model)))
        if self.best is None:
            self.best, self.step = np.full(value.shape, np.inf), np.zeros(value.shape, int)
            self.theta, self.state, self.waited = theta, state, np.zeros(value.shape, int)
        better = (value < self.best - self.min_delta) & (self.waited < self.patience)
        self.best, self.step = np.where(better, value, self.best), np.where(better, t, self.step)
        self.waited = np.where(better, 0, self.waited + 1)
        xp = namespace(theta)
        chosen = xp.asarray(better, device=theta.device)[..., None]
        self.theta = xp.where(chosen, theta, self.theta)
        if state is not None:
            self.state = xp.where(chosen, state, self.state)
        found = {"stopping": value[()]}
        if (self.waited >= self.patience).all():
            raise StopIteration(found)
        return found


def accuracy(net: Any, theta: Any, x: Any, y: Any, *, state: Any = None) -> Any:
    """Fraction of predictions whose largest entry is that of their label, for each replica.

    Parameters
    ----------
    net : Sequential
    theta : array, shape (..., P)
    x : array, shape (n, ...) or (..., n, ...)
        What the network takes: features, images, sequences or indices.
    y : integer array, shape (n,) or (..., n)
        With one label for each prediction: ``(n, t)`` where the network gives ``(n, t, k)``.
    state : array, shape (..., S), optional
        Running statistics, where the network has any.

    Returns
    -------
    array, shape (...)
        In the dtype of theta.
    """
    xp, axis = namespace(theta), x.ndim - net.input_ndim
    before, replicas, hits = (slice(None),) * axis, theta.ndim - 1, []
    for i in range(0, x.shape[axis], 256):  # in pieces, since the caches of all replicas are large
        piece = (*before, slice(i, i + 256))
        logits, _ = net.forward(theta, x[piece], state=state)
        hits.append(xp.argmax(logits, axis=-1) == y[piece])
    found = xp.astype(xp.concat(hits, axis=replicas), theta.dtype)
    return xp.mean(found, axis=tuple(range(replicas, found.ndim)))


def steps_to(history: History, level: float, metric: str = "error") -> Any:
    """Number of updates after which a metric was first at or below a level; inf if it never was.

    Parameters
    ----------
    history : History
        With `metric` among its metrics: the answer is a multiple of the evaluations' spacing.
    level : float
    metric : str, default "error"

    Returns
    -------
    NumPy array, shape (...)

    Examples
    --------
    >>> from companion.training import History
    >>> history = History(None, None, {"error": np.array([[0.9, 0.2], [0.9, 0.8]])},
    ...                   {"error": np.array([0, 10])})
    >>> steps_to(history, 0.25)
    array([10., inf])
    """
    if metric not in history.metrics:
        names = ", ".join(history.metrics) or "none"
        raise ValueError(f"metric must be one that was recorded ({names}); got {metric!r}")
    reached = history.metrics[metric] <= level
    first = history.steps[metric][np.argmax(reached, axis=-1)]
    return np.where(reached.any(axis=-1), first, np.inf)
