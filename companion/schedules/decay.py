"""Rates that fall from the first step on (chapter 4, section 6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from companion.schedules.base import Schedule, _cosine, _count, _left, _rate


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
