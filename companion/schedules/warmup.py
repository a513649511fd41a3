"""Rates that rise first (chapter 4, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.schedules.base import (
    Schedule,
    _cosine,
    _count,
    _left,
    _number,
    _rate,
    _schedule,
)


def linear_warmup(schedule: Any, warmup_steps: int) -> Schedule:
    r"""Rise to a schedule's first rate in equal steps, then follow the schedule from its start.

    .. math:: \eta_t=\frac{t+1}{m}\,\eta_0\ (t<m), \qquad \eta_{t}=\eta(t-m)\ (t\ge m)

    with m warm-up steps. The first step is taken at :math:`\eta_0/m` and not at 0, the last of the
    warm-up, t = m - 1, at the full :math:`\eta_0`, and so is step m. Goyal et al. write
    :math:`\eta t/m` and count from 1, which is the same. Torch's ``LinearLR`` agrees if it gets
    ``start_factor=1/m, total_iters=m-1``; its own default starts at a third. Optax
    (``warmup_cosine_decay_schedule``) and Keras (``CosineDecay(warmup_steps=...)``) begin at their
    ``init_value`` or ``initial_learning_rate``, and at 0 the first step is none.

    Parameters
    ----------
    schedule : callable or float
        A function of the step, or a rate that stays.
    warmup_steps : int
        m; with 0 there is no warm-up.

    References
    ----------
    Goyal et al. (2017), "Accurate, large minibatch SGD: training ImageNet in 1 hour".

    Examples
    --------
    >>> linear_warmup(1.0, 4)(range(6))
    array([0.25, 0.5 , 0.75, 1.  , 1.  , 1.  ])
    """
    later, m = _schedule(schedule), _count(warmup_steps, "warmup_steps", 0)
    return Schedule(
        lambda t: _then(t, m, later(0) * (t + 1) / max(m, 1), later),
        "linear_warmup",
        schedule=schedule,
        warmup_steps=m,
    )


def constant_warmup(schedule: Any, warmup_steps: int, factor: float = 0.1) -> Schedule:
    r"""Stay at a share of a schedule's first rate, then follow the schedule from its start.

    .. math:: \eta_t=f\,\eta_0\ (t<m), \qquad \eta_t=\eta(t-m)\ (t\ge m)

    The first step is taken at :math:`f\eta_0`, step m at :math:`\eta_0`. He et al. trained
    ResNet-110 like this, at a tenth until the training error was below 80 %. Torch's ``ConstantLR``
    agrees, with ``factor=1/3`` as default.

    Parameters
    ----------
    schedule : callable or float
    warmup_steps : int
        m; with 0 there is no warm-up.
    factor : float, default 0.1
        f.

    References
    ----------
    He, Zhang, Ren and Sun (2016), "Deep residual learning for image recognition".

    Examples
    --------
    >>> constant_warmup(1.0, 2)(range(4))
    array([0.1, 0.1, 1. , 1. ])
    """
    later, m = _schedule(schedule), _count(warmup_steps, "warmup_steps", 0)
    factor = _rate(factor, "factor")
    return Schedule(
        lambda t: _then(t, m, later(0) * factor, later),
        "constant_warmup",
        schedule=schedule,
        warmup_steps=m,
        factor=factor,
    )


def inverse_sqrt(lr: Any, warmup_steps: int) -> Schedule:
    r"""Rise in equal steps, then fall like one over the root of the step.

    .. math:: \eta_t=\eta\,\min\Bigl(\frac{t+1}{m},\sqrt{\frac{m}{t+1}}\Bigr)

    The first step is taken at :math:`\eta/m`, step m - 1 at :math:`\eta`, the largest; there is no
    last. Vaswani et al. write it with :math:`\eta=1/\sqrt{dm}` for models of width d. Torch and
    Keras have none.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        The largest rate, :math:`\eta`.
    warmup_steps : int
        m.

    References
    ----------
    Vaswani et al. (2017), "Attention is all you need", section 5.3.

    Examples
    --------
    >>> inverse_sqrt(1.0, 4)([0, 3, 15])
    array([0.25, 1.  , 0.5 ])
    """
    lr, m = _rate(lr, "lr"), _count(warmup_steps, "warmup_steps")
    return Schedule(
        lambda t: lr * np.minimum((t + 1) / m, np.sqrt(m / (t + 1))),
        "inverse_sqrt",
        lr=lr,
        warmup_steps=m,
    )


def one_cycle(
    max_lr: Any,
    total_steps: int,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    r"""Rise to the largest rate and fall far below the first.

    With :math:`\eta_0=\eta_{\max}/d` and :math:`\eta_{\text{end}}=\eta_0/f`: from :math:`\eta_0`
    in step 0 to :math:`\eta_{\max}` at :math:`t=pT-1`, then to :math:`\eta_{\text{end}}` in the
    last step, t = T - 1, where it stays. With `three_phase` it falls to :math:`\eta_0` first, as
    long as it rose, and then to :math:`\eta_{\text{end}}`. All of it, with its names and defaults,
    is that of torch's ``OneCycleLR``, which in its default also moves the momentum, from 0.95 to
    0.85 and back, and raises an error after T steps. Smith's own cycle is linear and has three
    phases.

    Parameters
    ----------
    max_lr : float or array, shape (..., 1)
        :math:`\eta_{\max}`.
    total_steps : int
        T.
    pct_start : float, default 0.3
        Share p of the rise.
    anneal_strategy : {"cos", "linear"}
    div_factor, final_div_factor : float, default 25.0 and 1e4
        d and f.
    three_phase : bool, default False

    References
    ----------
    Smith and Topin (2018), "Super-convergence: very fast training of neural networks using large
    learning rates".

    Examples
    --------
    >>> one_cycle(1.0, 10, anneal_strategy="linear", div_factor=5.0)([0, 1, 2, 9]).round(5)
    array([2.e-01, 6.e-01, 1.e+00, 2.e-05])
    """
    high, T = _rate(max_lr, "max_lr"), _count(total_steps, "total_steps", 2)
    if anneal_strategy not in ("cos", "linear"):
        raise ValueError(f"anneal_strategy must be 'cos' or 'linear'; got {anneal_strategy!r}")
    _number(pct_start, "pct_start")
    for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
        if not _number(value, name) > 0:
            raise ValueError(f"{name} must be positive; got {value}")
    top = pct_start * T - 1
    last = 2 * top if three_phase else top
    if not 0 < top <= last < T - 1:
        raise ValueError(
            f"pct_start must leave each phase of {T} steps more than one of them; got {pct_start}"
        )
    low, end = high / div_factor, high / div_factor / final_div_factor
    shape = _cosine if anneal_strategy == "cos" else lambda left: left

    def formula(t: Any) -> Any:
        def phase(start: float, stop: float, a: Any, b: Any) -> Any:
            return b + (a - b) * shape((stop - np.clip(t, start, stop)) / (stop - start))

        fall = phase(last, T - 1, low if three_phase else high, end)
        if three_phase:
            fall = np.where(t <= last, phase(top, last, high, low), fall)
        return np.where(t <= top, phase(0, top, low, high), fall)

    return Schedule(
        formula,
        "one_cycle",
        max_lr=high,
        total_steps=T,
        pct_start=pct_start,
        anneal_strategy=anneal_strategy,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        three_phase=three_phase,
    )


def wsd(
    lr: Any,
    total_steps: int,
    warmup_steps: int,
    decay_steps: int,
    decay: str = "linear",
    eta_min: Any = 0.0,
) -> Schedule:
    r"""Warm up, stay, decay: a rate whose end need not be known at its start.

    :math:`\eta_t=\eta(t+1)/m` in the first m steps, :math:`\eta` until d steps are left, and then,
    with :math:`s=(t-T+d)/d`, from :math:`\eta` down to :math:`\eta_{\min}` by the share
    :math:`1-s` (``"linear"``) or :math:`1-\sqrt s` (``"1-sqrt"``). Step 0 is taken at
    :math:`\eta/m`, the last of T steps one short of :math:`\eta_{\min}`, which stays from t = T
    on. Hu et al. decay exponentially; Hägele et al. found the root better than the line. Torch and
    Keras have none. A run goes on by starting from before the decay with another `total_steps`.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        :math:`\eta`.
    total_steps, warmup_steps, decay_steps : int
        T, m and d; m + d at most T.
    decay : {"linear", "1-sqrt"}
    eta_min : float or array, default 0.0

    References
    ----------
    Hu et al. (2024), "MiniCPM"; Hägele et al. (2024), "Scaling laws and compute-optimal training
    beyond fixed training durations".

    Examples
    --------
    >>> wsd(1.0, 8, 2, 4)(range(9))
    array([0.5 , 1.  , 1.  , 1.  , 1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    lr, low, T = _rate(lr, "lr"), _rate(eta_min, "eta_min"), _count(total_steps, "total_steps")
    m, d = _count(warmup_steps, "warmup_steps", 0), _count(decay_steps, "decay_steps")
    if m + d > T:
        raise ValueError(f"warmup_steps and decay_steps must fit into {T} steps; got {m} and {d}")
    if decay not in ("linear", "1-sqrt"):
        raise ValueError(f"decay must be 'linear' or '1-sqrt'; got {decay!r}")

    def formula(t: Any) -> Any:
        left = np.minimum(_left(t, T) / d, 1.0)
        # 1 - sqrt(s) is left / (1 + sqrt(s)), which does not cancel near the end
        share = left if decay == "linear" else left / (1 + np.sqrt(1 - left))
        return np.where(t < m, lr * (t + 1) / max(m, 1), low + (lr - low) * share)

    return Schedule(
        formula,
        "wsd",
        lr=lr,
        total_steps=T,
        warmup_steps=m,
        decay_steps=d,
        decay=decay,
        eta_min=low,
    )


def _then(t: Any, m: int, before: Any, schedule: Callable[[Any], Any]) -> Any:
    """Give one value before step m, and from there on those of a schedule from its start."""
    return np.where(t < m, before, schedule(np.maximum(t - m, 0)))
