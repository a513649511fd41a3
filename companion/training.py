"""Training a network, or all its replicas at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

import numpy as np

from companion.backend import namespace, to_numpy
from companion.losses import grad_of


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
    """

    loss: Any
    diverged: Any
    metrics: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, Any] = field(default_factory=dict)


def fit(
    net: Any,
    theta: Any,
    data: tuple[Any, Any],
    *,
    loss: Callable[..., Any],
    optimizer: Any,
    rng: Any,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    schedule: Callable[[int], Any] | None = None,
    callbacks: Any = (),
    progress: bool = True,
) -> tuple[Any, History]:
    """Train on shuffled minibatches, which all replicas share.

    A replica whose loss is nan or inf is left as it is from then on, and the others go on.

    Parameters
    ----------
    net : Sequential
    theta : array, shape (..., P)
        Start; it is not changed.
    data : pair of arrays ``(x, y)``
        Inputs ``(n, d)`` with labels ``(n,)`` or targets ``(n, k)``, shared by all replicas; or
        both with the replicas' axes before n.
    loss : callable
        One of :mod:`companion.losses`, or a ``functools.partial`` of one.
    optimizer
        Such as :class:`~companion.optimizers.SGD`.
    rng : numpy.random.Generator
        Shuffles the samples before each epoch.
    epochs, steps : int
        How long: one of the two. An epoch's last batch may be smaller.
    batch_size : int, optional
        Default: all samples in one batch.
    schedule : callable, optional
        Learning rate as a function of the step, from 0; it replaces the optimizer's.
    callbacks : sequence of callables
        Each is called as ``callback(t, theta)`` before the first step, with t = 0, and after each,
        with the number of updates made. If it returns a dictionary, that goes into the history
        (see :func:`evaluate`); if it raises StopIteration, training ends there.
    progress : bool, default True
        Draw a bar, where the standard error stream is a terminal.

    Returns
    -------
    theta : array, shape (..., P)
    history : History

    Examples
    --------
    >>> from companion import datasets, layers, losses, network, optimizers
    >>> net = network.Sequential(layers.Linear(2, 8), layers.Tanh(), layers.Linear(8, 2))
    >>> rng = np.random.default_rng(0)
    >>> theta = net.init(rng, replicas=3)
    >>> theta, history = fit(net, theta, datasets.xor(), loss=losses.cross_entropy,
    ...                      optimizer=optimizers.SGD(lr=0.5), rng=rng, steps=500)
    >>> history.loss.shape, bool((history.loss[:, -1] < 0.01).all())
    ((3, 500), True)
    """
    x, y = data
    axis = x.ndim - 2
    n = x.shape[axis]
    if tuple(y.shape[: axis + 1]) != tuple(x.shape[: axis + 1]):
        raise ValueError(
            f"data must be (x, y) with as many y as x; "
            f"got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if (epochs is None) == (steps is None):
        raise ValueError(f"give epochs or steps, one of the two; got {epochs} and {steps}")
    batch_size = n if batch_size is None else batch_size
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size must be 1 to the number of samples, {n}; got {batch_size}")
    steps = epochs * -(-n // batch_size) if steps is None else steps
    if steps < 1:
        raise ValueError(f"epochs and steps must be positive; got {epochs} and {steps}")

    xp = namespace(theta)
    loss_grad = grad_of(loss)
    reduces_axes = "axis" in signature(loss).parameters
    options: dict[str, Any] = {}
    state = optimizer.init(theta)
    batches = _batches(x, y, axis, batch_size, rng)
    losses: list[Any] = []
    diverged = xp.full(theta.shape[:-1], -1, device=theta.device)
    all_running = True
    records: dict[str, list[tuple[int, Any]]] = {}
    if not _record(records, callbacks, 0, theta):
        steps = 0
    _keep_freed_memory()
    # Overflow is no accident here: a replica that diverges is known by its loss.
    with np.errstate(over="ignore", invalid="ignore"):
        for t in _bar(steps, progress, losses):
            xb, yb = next(batches)
            prediction, cache = net.forward(theta, xb, training=True)
            if reduces_axes:  # all but the replicas'
                options = {"axis": tuple(range(theta.ndim - 1, prediction.ndim))}
            losses.append(loss(prediction, yb, **options))
            finite = xp.isfinite(losses[-1])
            if not bool(xp.all(finite)):
                diverged = xp.where((diverged < 0) & ~finite, t, diverged)
                all_running = False
            dy = loss_grad(prediction, yb, **options)
            _, grad = net.backward(cache, dy, input_grad=False)
            if schedule is not None:
                optimizer = replace(optimizer, lr=schedule(t))
            new, state = optimizer.update(theta, grad, state)
            theta = new if all_running else xp.where((diverged < 0)[..., None], new, theta)
            if not _record(records, callbacks, t + 1, theta):
                break

    loss_of_steps = _stack(losses) if losses else np.empty((*theta.shape[:-1], 0))
    history = History(loss_of_steps, np.asarray(to_numpy(diverged)))
    for name, rows in records.items():
        history.steps[name] = np.array([t for t, _ in rows])
        history.metrics[name] = _stack([value for _, value in rows])
    return theta, history


def evaluate(every: int, **metrics: Callable[[Any], Any]) -> Callable[[int, Any], Any]:
    """Make a callback for :func:`fit` that records metrics of theta, at step 0 and every so often.

    Parameters
    ----------
    every : int
        Steps from one evaluation to the next.
    **metrics : callable
        ``metric(theta)``, one value for each replica.

    Examples
    --------
    >>> callback = evaluate(10, norm=lambda theta: (theta**2).sum(axis=-1) ** 0.5)
    >>> callback(0, np.array([3.0, 4.0])), callback(1, np.array([3.0, 4.0]))
    ({'norm': np.float64(5.0)}, {})
    """

    def callback(t: int, theta: Any) -> dict[str, Any]:
        return {name: f(theta) for name, f in metrics.items()} if t % every == 0 else {}

    return callback


def accuracy(net: Any, theta: Any, x: Any, y: Any) -> Any:
    """Fraction of samples whose largest output is that of their label, for each replica.

    Parameters
    ----------
    net : Sequential
    theta : array, shape (..., P)
    x : array, shape (n, d) or (..., n, d)
    y : integer array, shape (n,) or (..., n)

    Returns
    -------
    array, shape (...)
        In the dtype of theta.
    """
    xp = namespace(theta)
    hits = []
    for i in range(0, x.shape[-2], 256):  # in pieces, since the caches of all replicas are large
        logits, _ = net.forward(theta, x[..., i : i + 256, :])
        hits.append(xp.argmax(logits, axis=-1) == y[..., i : i + 256])
    return xp.mean(xp.astype(xp.concat(hits, axis=-1), theta.dtype), axis=-1)


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


def _keep_freed_memory() -> None:
    """Let malloc keep what a step frees, for the next step: twice as fast with many replicas.

    glibc hands large blocks back to the system, and each step pays for their pages again; once a
    block just under 32 MB was freed, it keeps up to 64 MB. The block itself is never touched.
    """
    np.empty((32 << 20) - (1 << 16), dtype=np.uint8)


def _batches(x: Any, y: Any, axis: int, size: int, rng: Any) -> Iterator[tuple[Any, Any]]:
    """Yield minibatches without end, in a new order every epoch."""
    xp = namespace(x)
    n = x.shape[axis]
    before = (slice(None),) * axis
    while True:
        order = xp.asarray(rng.permutation(n), device=x.device)
        xs, ys = xp.take(x, order, axis=axis), xp.take(y, order, axis=axis)
        for i in range(0, n, size):
            batch = (*before, slice(i, i + size))
            yield xs[batch], ys[batch]


def _record(records: dict[str, Any], callbacks: Any, t: int, theta: Any) -> bool:
    """Call every callback, and say whether training goes on."""
    goes_on = True
    for callback in callbacks:
        try:
            found = callback(t, theta) or {}
        except StopIteration:
            goes_on = False
            continue
        for name, value in found.items():
            records.setdefault(name, []).append((t, value))
    return goes_on


def _stack(values: list[Any]) -> Any:
    return np.stack([to_numpy(v) for v in values], axis=-1)


def _bar(steps: int, show: bool, losses: list[Any]) -> Iterator[int]:
    """Count the steps, with a bar on standard error where that is a terminal."""
    show = show and sys.stderr.isatty()
    start = drawn = time.perf_counter()
    try:
        for t in range(steps):
            yield t
            now = time.perf_counter()
            if show and (now - drawn > 0.1 or t + 1 == steps):
                drawn = now
                bar = "█" * ((t + 1) * 30 // steps)
                loss, rate = np.median(to_numpy(losses[-1])), (t + 1) / (now - start)
                line = f"\r{bar:░<30} {t + 1}/{steps}  loss {loss:.4g}  {rate:.0f} steps/s "
                print(line, end="", file=sys.stderr, flush=True)
    finally:  # also where a callback ends the training
        if show:
            print(file=sys.stderr)
