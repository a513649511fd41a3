"""The loop: batches, steps, and replicas that diverge."""

from __future__ import annotations

import functools
import itertools
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np

from companion.backend import (
    BLOCK,
    compiled,
    inspectable,
    is_torch,
    like,
    namespace,
    to_numpy,
    total,
)
from companion.gradients import clip_grad_norm
from companion.losses import value_and_grad
from companion.losses.base import holds_labels, weights_of
from companion.network import Sequential
from companion.optimizers import Optimizer
from companion.training.checkpoint import Checkpoint, resume, save
from companion.training.distributed import Processes
from companion.training.run import History, Run


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
    accumulate: int = 1,
    schedule: Callable[[int], Any] | None = None,
    clip: Any = None,
    ema: float | None = None,
    state: Any = None,
    callbacks: Any = (),
    checkpoint: Checkpoint | None = None,
    processes: Processes | None = None,
    compile: bool = False,
    progress: bool = True,
) -> tuple[Any, History]:
    """Train on shuffled minibatches, which all replicas share.

    A replica whose loss is nan or inf is left as it is from then on, and the others go on; the
    history says in which step it was, and which layer's output was the first not to be finite.

    Parameters
    ----------
    net : Sequential
    theta : array, shape (..., P)
        Start; it is not changed.
    data : pair of arrays ``(x, y)``
        Inputs of the network's kind, ``(n, d)``, ``(n, c, h, w)``, ``(n, t, d)`` or indices, with
        labels ``(n,)`` or targets ``(n, k)``, shared by all replicas; or both with the replicas'
        axes before n. Where the network gives ``(n, t, k)`` there are labels ``(n, t)``, and the
        loss is over all of them, or over those that it does not ignore.
    loss : callable
        One of :mod:`companion.losses`, or a ``functools.partial`` of one.
    optimizer
        Such as :class:`~companion.optimizers.SGD`. The gradient is taken where its `lookahead`
        says; so is the loss in the history.
    rng : numpy.random.Generator
        Shuffles the samples before each epoch. Where layers need noise, one number of it starts
        the generators that masks are drawn from: one for each step, each replica with its own
        masks.
    epochs, steps : int
        How long: one of the two. An epoch's last batch may be smaller.
    batch_size : int, optional
        Default: all samples in one batch.
    accumulate : int, default 1
        Compute a batch in so many parts, one after the other, and add up their gradients: the
        same step with less memory, also where the loss ignores labels or weighs them. Statistics
        over the batch are those of the parts.
    schedule : callable, optional
        Learning rate as a function of the step, from 0; it replaces the optimizer's.
    clip : float or array of shape (..., 1), optional
        Largest norm of the gradient: see
        :func:`~companion.gradients.clip_grad_norm`.
    ema : float, optional
        Decay of an exponential moving average of the parameters, such as 0.999.
    state : array, shape (..., S), optional
        Running statistics to start from; default those of ``net.init_state``.
    callbacks : sequence of callables
        Each is called as ``callback(t, theta)`` before the first step, with t = 0, and after each,
        with the number of updates made; as ``callback(t, theta, state)`` where the network has
        running statistics. If it returns a dictionary, that goes into the history (see
        :func:`evaluate`); if it raises StopIteration, training ends there, and a dictionary in
        the exception goes into the history.
    checkpoint : Checkpoint, optional
        The file to keep the training in, and to go on from if it is there.
    processes : Processes, optional
        From :func:`join`: each process computes its part of every batch.
    compile : bool, default False
        On torch, compile the whole step, forward, backward and update, as one graph; with
        `processes` as two, before and after they meet.
    progress : bool, default True
        Draw a bar, and say which replica diverged, where the standard error stream is a terminal.

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
    axis = x.ndim - net.input_ndim
    if axis < 0 or tuple(y.shape[: axis + 1]) != tuple(x.shape[: axis + 1]):
        raise ValueError(
            f"data must be (x, y), x with {net.input_ndim} axes or the replicas' before these, "
            f"with as many y as x; got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    n = x.shape[axis]
    if (epochs is None) == (steps is None):
        raise ValueError(f"give epochs or steps, one of the two; got {epochs} and {steps}")
    batch_size = n if batch_size is None else batch_size
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size must be 1 to the number of samples, {n}; got {batch_size}")
    least, count = n % batch_size or batch_size, 1 if processes is None else processes.size
    if not 1 <= accumulate <= least // count:
        raise ValueError(
            f"accumulate must be 1 to the samples of the smallest batch for each process, "
            f"{least // count}; got {accumulate}"
        )
    if compile and not is_torch(theta):
        raise ValueError(f"compile needs torch tensors; got theta of {type(theta).__name__}")
    steps = epochs * -(-n // batch_size) if steps is None else steps
    if steps < 1:
        raise ValueError(f"epochs and steps must be positive; got {epochs} and {steps}")
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema must be at least 0 and less than 1; got {ema}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of companion.optimizers; got {optimizer!r}")

    xp, replicas = namespace(theta), tuple(theta.shape[:-1])
    if net.state_size and state is None:
        state = like(to_numpy(net.init_state(replicas)), theta)
    needs_noise = net.row.needs_noise
    seed = int(rng.integers(2**63)) if needs_noise else 0
    if hasattr(clip, "dtype"):
        clip = like(clip, theta)
    step = _step_of(net, loss, clip, ema, processes, compile)
    own = slice(None) if processes is None else _own(processes, accumulate)
    weigh = functools.partial(weights_of(loss), like=theta) if _is_mean(loss) else None
    rank = 0 if processes is None else processes.rank
    scheduled = optimizer if schedule is None else replace(optimizer, lr=schedule)
    diverged = xp.full(replicas, -1, device=theta.device)
    run = Run(theta, scheduled.init(theta), state, seed, diverged)
    kept = None
    if checkpoint:
        identity = {
            "net": str(net),
            "theta": f"{theta.dtype} {tuple(theta.shape)}",
            "x": f"{x.dtype} {tuple(x.shape)}",
            "y": f"{y.dtype} {tuple(y.shape)}",
            "loss": _name(loss),
            "optimizer": _text(scheduled),
            "rng": type(rng.bit_generator).__name__,
            "batch_size": str(batch_size),
            "accumulate": str(accumulate),
            "clip": _text(clip),
            "ema": str(ema),
        }
        kept = resume(checkpoint.path, identity, theta)
    if kept is None:
        run.record(callbacks)
    else:
        run.resume(kept, rng, callbacks)
    batches = _batches(x, y, axis, batch_size, rng, run.order, run.t)
    running = run.diverged < 0
    todo = range(run.t, steps if run.goes_on else run.t)
    _keep_freed_memory()
    # Overflow is no accident here: a replica that diverges is known by its loss.
    with np.errstate(over="ignore", invalid="ignore"):
        for t in _bar(todo, progress and not rank, run.losses, run.messages):
            rule = scheduled.at(t, theta, compile)
            run.order, xs, ys = next(batches)
            parts = _parts(xs, ys, axis, accumulate * count, weigh, theta)[own]
            noise = [None] * len(parts)
            if needs_noise:
                noise = [
                    net.sample_noise(_noise_rng(run.seed, t, i), part[0], replicas)
                    for i, part in enumerate(parts, own.start or 0)
                ]
            before = rule.lookahead(run.theta, run.memory), run.state
            carry = run.theta, run.memory, run.state, run.average, running
            carry, value, well = step(carry, parts, noise, rule)
            run.theta, run.memory, run.state, run.average, running = carry
            run.losses.append(value)
            if not well:
                stopped = (run.diverged < 0) & ~running
                if bool(xp.any(stopped)):
                    run.diverged = xp.where(stopped, t, run.diverged)
                    run.messages += _messages(t, net, *before, parts, noise, value, stopped)
            run.t = t + 1
            run.record(callbacks)
            last = run.t == steps or not run.goes_on
            if checkpoint and not rank and (last or run.t % checkpoint.every == 0):
                save(checkpoint.path, {"identity": identity, **run.tree(rng, callbacks)})
            if not run.goes_on:
                break
    return run.theta, run.history()


def _step_of(
    net: Any,
    loss: Callable[..., Any],
    clip: Any,
    ema: float | None,
    processes: Processes | None = None,
    compile: bool = False,
) -> Any:
    """Make the function of one step: from all that a step starts with to all that it leaves.

    That is carried from step to step: theta, the optimizer's state, the running statistics, the
    average, and which replicas are running. Two more results are the loss, and whether all
    replicas are known to be running, so that nothing was masked.
    """
    both = _over_samples(value_and_grad(loss), "axis" in signature(loss).parameters)

    def gradient(theta: Any, state: Any, parts: Any, noise: Any) -> tuple[Any, Any, Any]:
        value = grad = None
        for (x, y, share), masks in zip(parts, noise, strict=True):
            prediction, cache = net.forward(theta, x, training=True, noise=masks, state=state)
            if state is not None:
                state = net.advance(state, cache)
            own, dy = both(prediction, y, theta.ndim - 1)
            _, own_grad = net.backward(cache, dy, input_grad=False)
            if share is not None:
                own, own_grad = share * own, share[..., None] * own_grad
            value = own if value is None else value + own
            grad = own_grad if grad is None else grad + own_grad
        return value, grad, state

    def finish(carry: Any, found: Any, rule: Any) -> tuple[Any, ...]:
        theta, memory, state, average, running = carry
        value, grad, advanced = found
        xp = namespace(theta)
        running = running & xp.isfinite(value)
        well = inspectable(running) and bool(xp.all(running) if running.ndim else running)
        if clip is not None:
            grad = clip_grad_norm(grad, clip)
        new, memory = rule.update(theta, grad, memory)
        if not well:
            new = xp.where(running[..., None], new, theta)
            if state is not None:
                advanced = xp.where(running[..., None], advanced, state)
        if ema is not None:
            average = new if average is None else ema * average + (1 - ema) * new
        return (new, memory, advanced, average, running), value, well

    def step(carry: Any, parts: Any, noise: Any, rule: Any) -> tuple[Any, ...]:
        theta, memory, state, *_ = carry
        found = first(rule.lookahead(theta, memory), state, parts, noise)
        return last(carry, found if processes is None else processes.sum(*found), rule)

    first, last = gradient, finish
    if compile and processes is not None:
        first, last = compiled(gradient), compiled(finish)
    return compiled(step) if compile and processes is None else step


def _over_samples(both: Callable[..., Any], takes_axis: bool) -> Callable[..., tuple[Any, Any]]:
    """Have a loss reduce all axes after the replicas': samples, and time or places as samples."""

    def over_axes(prediction: Any, target: Any, replicas: int) -> tuple[Any, Any]:
        return both(prediction, target, axis=tuple(range(replicas, prediction.ndim)))

    def merged(prediction: Any, target: Any, replicas: int) -> tuple[Any, Any]:
        more = prediction.ndim - replicas - 2
        if more <= 0:
            return both(prediction, target)
        xp, shape = namespace(prediction), prediction.shape
        rows = xp.reshape(prediction, (*shape[:replicas], -1, shape[-1]))
        own = () if holds_labels(target) else shape[-1:]  # probabilities have an axis more
        lead = target.shape[: target.ndim - more - 1 - len(own)]
        labels = xp.reshape(target, (*lead, -1, *own))
        value, grad = both(rows, labels)
        return value, xp.reshape(grad, shape)

    return over_axes if takes_axis else merged


def _messages(
    t: int, net: Any, theta: Any, state: Any, parts: Any, noise: Any, value: Any, stopped: Any
) -> list[str]:
    """Say for each replica that stopped in step t which layer's output was first not finite."""
    found = [f"the loss, {v}" for v in np.ravel(to_numpy(value))]
    for k in range(len(net.layers), 0, -1):  # from the last to the first, which is said
        part = Sequential(*net.layers[:k], input_ndim=net.input_ndim)
        for (x, *_), masks in zip(parts, noise, strict=True):
            y, _ = part.forward(
                theta[..., : part.size],
                x,
                training=True,
                noise=masks if part.row.needs_noise else None,
                state=None if state is None else state[..., : part.state_size],
            )
            bad = ~np.isfinite(to_numpy(y)).all(axis=tuple(range(theta.ndim - 1, y.ndim)))
            for i in np.flatnonzero(bad):
                found[i] = f"the output of layer {k - 1}, {net.layers[k - 1]!r}"
    for x, *_ in parts:
        bad = ~np.isfinite(to_numpy(x)).all(axis=tuple(range(x.ndim - net.input_ndim, x.ndim)))
        for i in np.flatnonzero(np.broadcast_to(bad, stopped.shape)):
            found[i] = "the input"
    rows = [(index, found[i]) for i, index in enumerate(np.ndindex(stopped.shape))]
    return [
        f"step {t}{f', replica {index}' if index else ''}: not finite, first {what}; "
        "left as it was before"
        for index, what in rows
        if bool(stopped[index])
    ]


def _noise_rng(seed: int, t: int, part: int) -> Any:
    """Return the generator of one step's masks: they depend on no other step's."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, part, t]))


def _parts(
    x: Any, y: Any, axis: int, count: int, weigh: Any, theta: Any
) -> list[tuple[Any, Any, Any]]:
    """Cut a batch into parts, as views, with the share of each in the loss, an array like theta.

    The loss is a sum if `weigh` is None. Otherwise `weigh` says what weight each label has in the
    mean, and a part's share is that of its labels: some may be ignored, here more than there.
    """
    if count == 1:
        return [(x, y, None)]
    n, before = x.shape[axis], (slice(None),) * axis
    cuts = [n * i // count for i in range(count + 1)]
    own = weigh and weigh(y)
    if own is not None:
        own = total(own, tuple(range(axis + 1, own.ndim)))
        whole = total(own)
        own = own / namespace(own).where(whole == 0, 1, whole)[..., None]
    parts = []
    for start, stop in itertools.pairwise(cuts):
        rows = (*before, slice(start, stop))
        share = (stop - start) / n if own is None else total(own[rows])
        parts.append((x[rows], y[rows], like(share, theta) if weigh else None))
    return parts


def _own(processes: Processes, accumulate: int) -> slice:
    """Return which parts of a batch are this process's."""
    return slice(processes.rank * accumulate, (processes.rank + 1) * accumulate)


def _is_mean(loss: Any) -> bool:
    options = loss.keywords if isinstance(loss, functools.partial) else {}
    return options.get("reduction", "mean") == "mean"


def _keep_freed_memory() -> None:
    """Let malloc keep what a step frees, for the next step: twice as fast with many replicas.

    glibc hands large blocks back to the system, and each step pays for their pages again; once a
    block just under 32 MB was freed, it keeps up to 64 MB. The block itself is never touched.
    """
    np.empty((32 << 20) - (1 << 16), dtype=np.uint8)


def _batches(
    x: Any, y: Any, axis: int, size: int, rng: Any, order: Any = None, done: int = 0
) -> Iterator[tuple[Any, Any, Any]]:
    """Yield minibatches without end, in a new order every epoch, which comes first.

    An epoch that was begun goes on in its `order`, after so many batches in all. As many batches
    are copied at a time as stay in the cache until they are used.
    """
    xp, n = namespace(x), x.shape[axis]
    before = (slice(None),) * axis
    chunk = max(1, BLOCK * n // (math.prod(x.shape) * size)) * size
    start = done * size % (-(-n // size) * size)
    while True:
        if not start:
            order = rng.permutation(n)
        rows = xp.asarray(order, device=x.device)
        for first in range(start, n, chunk):
            own = rows[first : first + chunk]
            xs, ys = xp.take(x, own, axis=axis), xp.take(y, own, axis=axis)
            for i in range(0, own.shape[0], size):
                batch = (*before, slice(i, i + size))
                yield order, xs[batch], ys[batch]
        start = 0


def _text(value: Any) -> str:
    """Write a value with all entries of its arrays, and a function without its address."""
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return re.sub(" at 0x[0-9a-f]+", "", str(to_numpy(value)))


def _name(loss: Any) -> str:
    if isinstance(loss, functools.partial):
        return f"{_name(loss.func)} {loss.args} {loss.keywords}"
    return loss.__name__


def _bar(steps: range, show: bool, losses: list[Any], messages: list[str]) -> Iterator[int]:
    """Count the steps, with a bar on standard error where that is a terminal."""
    if not (show and sys.stderr.isatty()):
        yield from steps
        return
    start = drawn = time.perf_counter()
    said = 0
    try:
        for t in steps:
            yield t
            now = time.perf_counter()
            for message in messages[said:]:
                print(f"\r{message:<79}", file=sys.stderr)
            said = len(messages)
            if now - drawn > 0.1 or t + 1 == steps.stop:
                drawn = now
                bar = "█" * ((t + 1) * 30 // steps.stop)
                loss, rate = np.median(to_numpy(losses[-1])), (t + 1 - steps.start) / (now - start)
                line = f"\r{bar:░<30} {t + 1}/{steps.stop}  loss {loss:.4g}  {rate:.0f} steps/s "
                print(line, end="", file=sys.stderr, flush=True)
    finally:  # also where a callback ends the training
        print(file=sys.stderr)
