"""Optimizers: two functions over the whole parameter vector.

``state = opt.init(theta)`` and ``theta, state = opt.update(theta, grad, state)``; nothing is
changed in place, and all leading axes are replicas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from companion.backend import like, namespace, to_numpy


@dataclass(frozen=True)
class SGD:
    r"""Stochastic gradient descent with torch's conventions.

    .. math:: g \leftarrow g + \lambda\theta, \quad
              b \leftarrow \mu b + (1-\tau) g \ (b_1 = g_1), \quad
              \theta \leftarrow \theta - \eta b

    With `nesterov` the step is :math:`\eta(g + \mu b)`; without momentum it is :math:`\eta g`.

    Parameters
    ----------
    lr : float or array, shape (..., 1)
        Learning rate :math:`\eta`; an array has one for each replica.
    momentum, dampening, weight_decay : float, default 0.0
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
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            value = getattr(self, name)
            if not np.all(np.asarray(to_numpy(value)) >= 0):
                raise ValueError(f"{name} must not be negative; got {value}")
        if np.ndim(to_numpy(self.lr)) and self.lr.shape[-1] != 1:
            raise ValueError(f"lr must have shape (..., 1); got {tuple(self.lr.shape)}")
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                "nesterov needs a positive momentum and no dampening; "
                f"got momentum={self.momentum}, dampening={self.dampening}"
            )

    def init(self, theta: Any) -> dict[str, Any]:
        """Return the state before the first step: the momentum buffer, where there is one."""
        if not self.momentum:
            return {}
        return {"step": 0, "momentum": namespace(theta).zeros_like(theta)}

    def update(self, theta: Any, grad: Any, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return theta and the state after one step."""
        lr = self.lr if isinstance(self.lr, (int, float)) else like(self.lr, theta)
        if self.weight_decay:
            grad = grad + self.weight_decay * theta
        if self.momentum:
            new = grad if state["step"] == 0 else (1 - self.dampening) * grad
            buffer = self.momentum * state["momentum"]
            buffer += new  # our own array: one pass over memory less
            grad = grad + self.momentum * buffer if self.nesterov else buffer
            state = {"step": state["step"] + 1, "momentum": buffer}
        return theta - lr * grad, state
