r"""Learning rates, and other hyperparameters, that change from step to step.

A schedule is a function of the step, counted from 0: the rate of the first update is
``schedule(0)``. It goes in as ``fit(schedule=...)`` or as the hyperparameter of an optimizer,
``SGD(lr=schedule)``. An array of steps gives an array of rates, for a plot; a rate of shape
``(..., 1)`` has a value for each replica. Values are computed in float64 whatever theta is, as
Python numbers or NumPy arrays, and a schedule prints as the call that made it.
"""

from companion.schedules.base import Schedule, constant, linear_scaling
from companion.schedules.decay import (
    cosine_annealing,
    cosine_annealing_warm_restarts,
    exponential_lr,
    inverse_time,
    multi_step_lr,
    polynomial_lr,
    step_lr,
)
from companion.schedules.plateau import ReduceLROnPlateau
from companion.schedules.warmup import constant_warmup, inverse_sqrt, linear_warmup, one_cycle, wsd

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
