r"""Learning rates, and other hyperparameters, that change from step to step.

A schedule is a function of the step, counted from 0: the rate of the first update is
``schedule(0)``. It goes in as ``fit(schedule=...)`` or as the hyperparameter of an optimizer,
``SGD(lr=schedule)``. An array of steps gives an array of rates, for a plot; a rate of shape
``(..., 1)`` has a value for each replica. Values are computed in float64 whatever theta is, as
Python numbers or NumPy arrays, and a schedule prints as the call that made it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import to_numpy

__all__ = [
    "ReduceLROnPlateau",
    "Schedule",
    "constant",
    "constant_warmup",
    "cosine_annealing",
    "cosine_annealing_warm_restarts",
    "exponential_lr",
    "inverse_sqrt",
    "inverse_time",
    "linear_scaling",
    "linear_warmup",
    "multi_step_lr",
    "one_cycle",
    "polynomial_lr",
    "step_lr",
    "wsd",
]


class Schedule:
    """A function of the step, from 0, that prints as the call that made it.

    Parameters
    ----------
    formula : callable
        Takes an array of steps and returns the values there.
    name : str
    **parameters
        What the printed call shows.

    Examples
    --------
    >>> cosine_annealing(0.1, 100)
    cosine_annealing(lr=0.1, T_max=100, eta_min=0.0)
    >>> cosine_annealing(0.1, 100)(0)
    0.1
    """

    def __init__(self, formula: Callable[[Any], Any], name: str, **parameters: Any) -> None:
        self._formula, self._name, self._parameters = formula, name, parameters

    def __call__(self, step: Any) -> Any:
        t = _numbers(step, "step")
        t = t if t.dtype.kind == "f" else t.astype(np.int64)
        if not (t >= 0).all():
            raise ValueError(f"step must be counted from 0; got {step}")
        value = self._formula(t)
        return float(value) if np.ndim(value) == 0 else value

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(f'{k}={_text(v)}' for k, v in self._parameters.items())})"


def constant(lr: Any) -> Schedule:
    r"""Return :math:`\eta_t=\eta` from the first step to the last, however many there are.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        Rate :math:`\eta`.

    Examples
    --------
    >>> constant(0.1)([0, 10])
    array([0.1, 0.1])
    """
    lr = _rate(lr, "lr")
    return Schedule(lambda t: lr + 0.0 * t, "constant", lr=lr)


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


def step_lr(lr: Any, step_size: int, gamma: float = 0.1) -> Schedule:
    r"""Multiply the rate every so often, :math:`\eta_t=\eta\,\gamma^{\lfloor t/s\rfloor}`.

    Step 0 is taken at :math:`\eta`, step s is the first at :math:`\eta\gamma`, and there is no
    last. Torch's ``StepLR`` and Keras's ``ExponentialDecay(staircase=True)``.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        :math:`\eta`.
    step_size : int
        s.
    gamma : float, default 0.1

    Examples
    --------
    >>> step_lr(1.0, 2, 0.5)(range(5))
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    lr, gamma, size = _rate(lr, "lr"), _rate(gamma, "gamma"), _count(step_size, "step_size")
    return Schedule(
        lambda t: lr * gamma ** (t // size), "step_lr", lr=lr, step_size=size, gamma=gamma
    )


def multi_step_lr(lr: Any, milestones: Any, gamma: float = 0.1) -> Schedule:
    r"""Multiply the rate at milestones, :math:`\eta_t=\eta\,\gamma^{\#\{m_i\le t\}}`.

    The step :math:`m_i` itself is taken at the new rate, step 0 at :math:`\eta`, and from the last
    milestone on the rate stays. Torch's ``MultiStepLR``; Keras's ``PiecewiseConstantDecay`` takes
    the new rate one step later.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        :math:`\eta`.
    milestones : sequence of int
        Increasing.
    gamma : float, default 0.1

    Examples
    --------
    >>> multi_step_lr(1.0, [2, 3], 0.5)(range(5))
    array([1.  , 1.  , 0.5 , 0.25, 0.25])
    """
    lr, gamma = _rate(lr, "lr"), _rate(gamma, "gamma")
    if not np.iterable(milestones):
        raise TypeError(f"milestones must be a sequence of whole numbers; got {milestones!r}")
    marks = [_count(m, "milestones") for m in milestones]
    if sorted(set(marks)) != marks:
        raise ValueError(f"milestones must increase; got {marks}")
    return Schedule(
        lambda t: lr * gamma ** np.searchsorted(marks, t, side="right"),
        "multi_step_lr",
        lr=lr,
        milestones=marks,
        gamma=gamma,
    )


def exponential_lr(lr: Any, gamma: float) -> Schedule:
    r"""Multiply the rate in each step, :math:`\eta_t=\eta\,\gamma^t`.

    Step 0 is taken at :math:`\eta`; it never ends. Torch's ``ExponentialLR``; Keras's
    ``ExponentialDecay`` and optax's ``exponential_decay`` have :math:`\gamma^{t/s}`.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        :math:`\eta`.
    gamma : float

    Examples
    --------
    >>> exponential_lr(1.0, 0.5)(range(4))
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    lr, gamma = _rate(lr, "lr"), _rate(gamma, "gamma")
    return Schedule(lambda t: lr * gamma**t, "exponential_lr", lr=lr, gamma=gamma)


def polynomial_lr(lr: Any, total_iters: int, power: float = 1.0, eta_min: Any = 0.0) -> Schedule:
    r"""Fall to the least rate, :math:`\eta_t=\eta_{\min}+(\eta-\eta_{\min})(1-t/T)^p`.

    Step 0 is taken at :math:`\eta`; :math:`\eta_{\min}` is reached at t = T and stays, so the last
    of T steps, t = T - 1, is one short of it. Torch's ``PolynomialLR``, which has no
    :math:`\eta_{\min}`; Keras's ``PolynomialDecay`` ends at 1e-4 by default.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        :math:`\eta`.
    total_iters : int
        T.
    power : float, default 1.0
        p; 1 is a straight line.
    eta_min : float or array, default 0.0

    Examples
    --------
    >>> polynomial_lr(1.0, 4)(range(6))
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """
    lr, low, T = _rate(lr, "lr"), _rate(eta_min, "eta_min"), _count(total_iters, "total_iters")
    power = _rate(power, "power")
    return Schedule(
        lambda t: low + (lr - low) * (_left(t, T) / T) ** power,
        "polynomial_lr",
        lr=lr,
        total_iters=T,
        power=power,
        eta_min=low,
    )


def inverse_time(lr: Any, decay_rate: float) -> Schedule:
    r"""Fall like one over the step, :math:`\eta_t=\eta/(1+kt)`.

    Step 0 is taken at :math:`\eta`; the sum of the rates is infinite and that of their squares is
    not, as Robbins and Monro ask. Keras's ``InverseTimeDecay``; torch has it inside ``Adagrad`` as
    ``lr_decay``.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        :math:`\eta`.
    decay_rate : float
        k.

    References
    ----------
    Robbins and Monro (1951), "A stochastic approximation method".

    Examples
    --------
    >>> inverse_time(1.0, 1.0)([0, 1, 3])
    array([1.  , 0.5 , 0.25])
    """
    lr, k = _rate(lr, "lr"), _rate(decay_rate, "decay_rate")
    return Schedule(lambda t: lr / (1 + k * t), "inverse_time", lr=lr, decay_rate=k)


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


def cosine_annealing(lr: Any, T_max: int, eta_min: Any = 0.0) -> Schedule:
    r"""Fall along half a cosine.

    .. math:: \eta_t=\eta_{\min}+\tfrac12(\eta-\eta_{\min})\bigl(1+\cos\tfrac{\pi t}{T}\bigr)

    Step 0 is taken at :math:`\eta`; :math:`\eta_{\min}` is reached at t = T and stays, so the last
    of T steps, t = T - 1, is a little above it. Torch's ``CosineAnnealingLR`` rises again after T;
    optax's ``cosine_decay_schedule`` and Keras's ``CosineDecay`` stay, and give the least rate as a
    share ``alpha`` of the first. The formula is computed as a squared sine of what is left,
    since the sum cancels near the end.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        :math:`\eta`.
    T_max : int
        T.
    eta_min : float or array, default 0.0

    References
    ----------
    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts".

    Examples
    --------
    >>> cosine_annealing(1.0, 4)(range(6)).round(3)
    array([1.   , 0.854, 0.5  , 0.146, 0.   , 0.   ])
    """
    lr, low, T = _rate(lr, "lr"), _rate(eta_min, "eta_min"), _count(T_max, "T_max")
    return Schedule(
        lambda t: low + (lr - low) * _cosine(_left(t, T) / T),
        "cosine_annealing",
        lr=lr,
        T_max=T,
        eta_min=low,
    )


def cosine_annealing_warm_restarts(
    lr: Any, T_0: int, T_mult: int = 1, eta_min: Any = 0.0
) -> Schedule:
    r"""Fall along half a cosine again and again, each time `T_mult` times as slowly.

    .. math:: \eta_t=\eta_{\min}+\tfrac12(\eta-\eta_{\min})
              \bigl(1+\cos\tfrac{\pi(t-s_i)}{T_i}\bigr), \quad
              T_i=T_0\,T_{\text{mult}}^{\,i}, \quad s_i=T_0+\dots+T_{i-1}

    The steps :math:`s_i`, and step 0, are taken at :math:`\eta`; the last before a restart is one
    short of :math:`\eta_{\min}`. There is no last. As torch's ``CosineAnnealingWarmRestarts``;
    Keras's ``CosineDecayRestarts`` has ``t_mul=2`` by default and can lower the peaks.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        :math:`\eta`.
    T_0 : int
    T_mult : int, default 1
    eta_min : float or array, default 0.0

    References
    ----------
    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts".

    Examples
    --------
    >>> cosine_annealing_warm_restarts(1.0, 2, T_mult=2)(range(7)).round(3)
    array([1.   , 0.5  , 1.   , 0.854, 0.5  , 0.146, 1.   ])
    """
    lr, low = _rate(lr, "lr"), _rate(eta_min, "eta_min")
    first, mult = _count(T_0, "T_0"), _count(T_mult, "T_mult")

    def formula(t: Any) -> Any:
        if mult == 1:
            return low + (lr - low) * _cosine((first - t % first) / first)
        starts, length = [0], first  # counted, since a logarithm rounds at the restarts
        while starts[-1] + length <= np.max(t, initial=0):
            starts.append(starts[-1] + length)
            length *= mult
        i = np.searchsorted(starts, t, side="right") - 1
        T = first * mult**i
        return low + (lr - low) * _cosine((T - (t - np.asarray(starts)[i])) / T)

    return Schedule(
        formula,
        "cosine_annealing_warm_restarts",
        lr=lr,
        T_0=first,
        T_mult=mult,
        eta_min=low,
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
    high, T = _rate(max_lr, "max_lr"), _count(total_steps, "total_steps")
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


def linear_scaling(lr: Any, batch_size: int, base_batch_size: int = 256) -> Any:
    r"""Return the rate of another batch size, :math:`\eta\,b/b_0`.

    k steps of a small batch go as far as one of k times as many samples at k times the rate, as
    long as the gradient changes little over them: a rule for SGD, which ends where the rate
    comes near 2 over the largest curvature. With rates of Adam's kind the root of
    :math:`b/b_0` is better supported.

    Parameters
    ----------
    lr : float or array
        Rate :math:`\eta` that is right for `base_batch_size`.
    batch_size, base_batch_size : int
        b and :math:`b_0`.

    References
    ----------
    Goyal et al. (2017), "Accurate, large minibatch SGD: training ImageNet in 1 hour"; Malladi et
    al. (2022), "On the SDEs and scaling rules for adaptive gradient algorithms".

    Examples
    --------
    >>> linear_scaling(0.1, 1024)
    0.4
    """
    size, base = _count(batch_size, "batch_size"), _count(base_batch_size, "base_batch_size")
    return _rate(lr, "lr") * (size / base)


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
        one value for each replica. One that is nan is not better.
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


#: what a plateau rule has seen
_SEEN = ("now", "best", "num_bad_epochs", "cooldown_counter")


def _then(t: Any, m: int, before: Any, schedule: Callable[[Any], Any]) -> Any:
    """Give one value before step m, and from there on those of a schedule from its start."""
    return np.where(t < m, before, schedule(np.maximum(t - m, 0)))


def _left(t: Any, steps: int) -> Any:
    return steps - np.minimum(t, steps)


def _cosine(left: Any) -> Any:
    """Evaluate (1 + cos(pi (1 - left)))/2 without cancelling where little is left."""
    return np.sin(0.5 * math.pi * left) ** 2


def _rate(value: Any, name: str) -> Any:
    """Return a number or an array, in float64, that is not negative."""
    found = _numbers(value, name).astype(np.float64)
    if not (found >= 0).all():
        raise ValueError(f"{name} must not be negative; got {value}")
    return float(found) if found.ndim == 0 else found


def _numbers(value: Any, name: str) -> Any:
    """Return a number or numbers as a NumPy array; strings that look like them are none."""
    try:
        found = np.asarray(to_numpy(value))
    except (TypeError, ValueError):  # rows of different lengths
        found = np.asarray(None)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be a number or an array; got {value!r}")
    return found


def _number(value: Any, name: str) -> float:
    if np.ndim(to_numpy(value)):
        raise TypeError(f"{name} must be a number; got {value!r}")
    return float(_numbers(value, name))


def _count(value: Any, name: str, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number; got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")
    return int(value)


def _schedule(value: Any) -> Callable[[Any], Any]:
    """Return a function of steps; one of a user's own is asked for each step, as an int."""
    if isinstance(value, Schedule):
        return value
    if not callable(value):
        return constant(_rate(value, "schedule"))

    def later(t: Any) -> Any:
        rates = [_numbers(value(k), "schedule") for k in np.ravel(t).tolist()]
        if any(rate.ndim for rate in rates):  # (..., 1) each
            return np.concatenate(rates, axis=-1)
        return np.reshape(rates, np.shape(t))

    return later


def _text(value: Any) -> str:
    """Print a parameter with all digits and all entries: others must not print the same."""
    if isinstance(value, np.ndarray):
        return np.array2string(value, separator=", ", threshold=sys.maxsize, floatmode="unique")
    return repr(value)
