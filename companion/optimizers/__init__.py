"""Optimizers: two functions over the whole parameter vector.

``state = opt.init(theta)`` and ``theta, state = opt.update(theta, grad, state)``; nothing is
changed in place, and all leading axes are replicas.
"""

from companion.optimizers.adam import Adam, AdamW, NAdam, RAdam
from companion.optimizers.adaptive import Adadelta, Adagrad, RMSprop
from companion.optimizers.base import Optimizer, decay_mask
from companion.optimizers.bounds import AdaBound, AMSBound, AMSGrad
from companion.optimizers.lion import Lion
from companion.optimizers.momentum import SGD, HeavyBall, Nesterov
from companion.optimizers.muon import Muon, newton_schulz
from companion.optimizers.natural import NaturalGradient, softmax_fisher

__all__ = [
    "SGD",
    "AMSBound",
    "AMSGrad",
    "AdaBound",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "HeavyBall",
    "Lion",
    "Muon",
    "NAdam",
    "NaturalGradient",
    "Nesterov",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "decay_mask",
    "newton_schulz",
    "softmax_fisher",
]
