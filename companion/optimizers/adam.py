"""Adam and what was made of it (chapter 4, sections 4 and 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from companion.backend import namespace
from companion.optimizers.base import Optimizer, is_used


@dataclass(frozen=True)
class Adam(Optimizer):
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
    lr : float, array or schedule, default 0.001
        Learning rate :math:`\eta`. For this and all hyperparameters see :class:`Optimizer`.
    betas : pair, default (0.9, 0.999)
        :math:`\beta_1` and :math:`\beta_2`.
    eps : default 1e-8
        :math:`\epsilon`.
    weight_decay : default 0.0
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
    betas: tuple[Any, Any] = (0.9, 0.999)
    eps: Any = 1e-8
    weight_decay: Any = 0.0

    def _check(self) -> None:
        self._not_negative("lr", "eps", "weight_decay")
        if len(self.betas) != 2:
            raise ValueError(f"betas must be two; got {self.betas}")
        self._fractions("betas")

    def _start(self, theta: Any) -> dict[str, Any]:
        zeros = namespace(theta).zeros_like(theta)
        return {"exp_avg": zeros, "exp_avg_sq": zeros}

    def _numbers(self, t: int) -> tuple[Any, ...]:
        beta1, beta2 = self.betas
        return self.lr / (1 - beta1**t), (1 - beta2**t) ** 0.5

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        (beta1, beta2), (rate, root) = self.betas, self.now
        if is_used(self.weight_decay):
            grad = grad + self.weight_decay * theta
        # in place on arrays of our own: each pass over memory counts
        m = beta1 * state["exp_avg"]
        m += (1 - beta1) * grad
        square = grad * grad
        square *= 1 - beta2
        v = beta2 * state["exp_avg_sq"]
        v += square
        scale = namespace(theta).sqrt(v)
        scale /= root
        scale += self.eps
        step = m / scale
        step *= -rate
        step += theta
        return step, {"exp_avg": m, "exp_avg_sq": v}
