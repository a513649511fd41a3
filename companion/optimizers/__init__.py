"""Optimizers: two functions over the whole parameter vector.

``state = opt.init(theta)`` and ``theta, state = opt.update(theta, grad, state)``; nothing is
changed in place, and all leading axes are replicas.
"""

from companion.optimizers.adam import Adam, AdamW, NAdam, RAdam
from companion.optimizers.adaptive import Adadelta, Adagrad, RMSprop
from companion.optimizers.base import Optimizer, decay_mask
from companion.optimizers.momentum import SGD

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "decay_mask",
]
