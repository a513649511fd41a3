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
        _check(self, "lr", "momentum", "weight_decay")
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
        lr = _rate(self.lr, theta)
        if self.weight_decay:
            grad = grad + self.weight_decay * theta
        if self.momentum:
            new = grad if state["step"] == 0 else (1 - self.dampening) * grad
            buffer = self.momentum * state["momentum"]
            buffer += new  # our own array: one pass over memory less
            grad = grad + self.momentum * buffer if self.nesterov else buffer
            state = {"step": state["step"] + 1, "momentum": buffer}
        return theta - lr * grad, state


@dataclass(frozen=True)
class Adam:
    r"""Adam: steps of about the learning rate, whatever the gradient's size.

    .. math:: m \leftarrow \beta_1 m + (1-\beta_1) g, \quad
              v \leftarrow \beta_2 v + (1-\beta_2) g^2, \quad
              \theta \leftarrow \theta - \eta\,
              \frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon}

    with m and v 0 before the first step, t = 1. As in the paper's algorithm 1 and in torch,
    :math:`\epsilon` is added to the corrected root. TensorFlow and Keras add it to
    :math:`\sqrt v`, as the paper's faster order of computation does: theirs equals ours with
    :math:`\epsilon/\sqrt{1-\beta_2^t}`.

    Parameters
    ----------
    lr : float or array, shape (..., 1), default 0.001
        Learning rate :math:`\eta`; an array has one for each replica.
    betas : pair of float, default (0.9, 0.999)
        :math:`\beta_1` and :math:`\beta_2`.
    eps : float, default 1e-8
        :math:`\epsilon`.
    weight_decay : float, default 0.0
        :math:`\lambda` of a penalty :math:`\frac\lambda2\|\theta\|^2`, whose slope is added to g.

    References
    ----------
    Kingma and Ba (2015), "Adam: a method for stochastic optimization".

    Examples
    --------
    >>> import numpy as np
    >>> opt = Adam(lr=0.1)
    >>> theta = np.array([1.0, 2.0])
    >>> theta, state = opt.update(theta, np.array([10.0, -0.01]), opt.init(theta))
    >>> theta.round(6)
    array([0.9, 2.1])
    """

    lr: Any = 0.001
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check(self, "lr", "eps", "weight_decay")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1; got {self.betas}")

    def init(self, theta: Any) -> dict[str, Any]:
        """Return the state before the first step."""
        zeros = namespace(theta).zeros_like(theta)
        return {"step": 0, "exp_avg": zeros, "exp_avg_sq": zeros}

    def update(self, theta: Any, grad: Any, state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return theta and the state after one step."""
        (beta1, beta2), t = self.betas, state["step"] + 1
        if self.weight_decay:
            grad = grad + self.weight_decay * theta
        # in place on arrays of our own: each pass over memory counts
        m = beta1 * state["exp_avg"]
        m += (1 - beta1) * grad
        square = grad * grad
        square *= 1 - beta2
        v = beta2 * state["exp_avg_sq"]
        v += square
        scale = namespace(theta).sqrt(v)
        scale /= (1 - beta2**t) ** 0.5
        scale += self.eps
        step = m / scale
        step *= _rate(self.lr, theta) / (1 - beta1**t)
        return theta - step, {"step": t, "exp_avg": m, "exp_avg_sq": v}


def _rate(lr: Any, theta: Any) -> Any:
    return lr if isinstance(lr, (int, float)) else like(lr, theta)


def _check(optimizer: Any, *names: str) -> None:
    """Say so if a hyperparameter is negative, or the rates do not fit replicas."""
    for name in names:
        value = getattr(optimizer, name)
        if not np.all(np.asarray(to_numpy(value)) >= 0):
            raise ValueError(f"{name} must not be negative; got {value}")
    lr = optimizer.lr
    if np.ndim(to_numpy(lr)) and lr.shape[-1] != 1:
        raise ValueError(f"lr must have shape (..., 1); got {tuple(lr.shape)}")
