"""Steps along the gradient, and along a sum of gradients (chapter 4, sections 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from companion.backend import namespace
from companion.optimizers.base import Optimizer, is_used


@dataclass(frozen=True)
class SGD(Optimizer):
    r"""Stochastic gradient descent with torch's conventions.

    .. math:: g \leftarrow g + \lambda\theta, \quad
              b \leftarrow \mu b + (1-\tau) g \ (b_1 = g_1), \quad
              \theta \leftarrow \theta - \eta b

    With `nesterov` the step is :math:`\eta(g + \mu b)`; without momentum it is :math:`\eta g`.

    Parameters
    ----------
    lr : float, array or schedule
        Learning rate :math:`\eta`. For this and all hyperparameters see :class:`Optimizer`.
    momentum, dampening, weight_decay : float, array or schedule, default 0.0
        :math:`\mu`, :math:`\tau`, :math:`\lambda`.
    nesterov : bool, default False
        Needs a momentum and no dampening.

    References
    ----------
    Robbins and Monro (1951); Polyak (1964); Sutskever, Martens, Dahl and Hinton (2013), "On the
    importance of initialization and momentum in deep learning".

    Examples
    --------
    >>> import numpy as np
    >>> opt = SGD(lr=0.1)
    >>> theta = np.array([1.0, 2.0])
    >>> theta, state = opt.update(theta, np.array([10.0, 0.0]), opt.init(theta))
    >>> theta
    array([0., 2.])
    """

    lr: Any
    momentum: Any = 0.0
    dampening: Any = 0.0
    weight_decay: Any = 0.0
    nesterov: bool = False

    def _check(self) -> None:
        self._not_negative("lr", "momentum", "weight_decay")
        if self.nesterov and not (is_used(self.momentum) and not is_used(self.dampening)):
            raise ValueError(
                "nesterov needs a positive momentum and no dampening; "
                f"got momentum={self.momentum}, dampening={self.dampening}"
            )

    def _start(self, theta: Any) -> dict[str, Any]:
        return {"momentum": namespace(theta).zeros_like(theta)} if is_used(self.momentum) else {}

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        if is_used(self.weight_decay):
            grad = grad + self.weight_decay * theta
        memory = {}
        if is_used(self.momentum):
            # in place on arrays of our own: each pass over memory counts
            buffer = self.momentum * state["momentum"]
            buffer += grad if t == 1 else (1 - self.dampening) * grad
            grad = grad + self.momentum * buffer if self.nesterov else buffer
            memory["momentum"] = buffer
        step = -self.lr * grad
        step += theta
        return step, memory
