"""Lion: the sign of a momentum (chapter 4, section 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from companion.backend import namespace
from companion.optimizers.base import Optimizer, averaged, is_used


@dataclass(frozen=True)
class Lion(Optimizer):
    r"""Lion: every parameter moves by the learning rate, up or down.

    .. math:: \theta \leftarrow \theta - \eta\bigl(
              \operatorname{sign}(\beta_1 m + (1-\beta_1) g) + \lambda\theta\bigr), \quad
              m \leftarrow \beta_2 m + (1-\beta_2) g

    with m = 0 before the first step, and sign(0) = 0. There is no :math:`\epsilon`, no second
    moment and no bias correction. The decay is decoupled and multiplied by the rate. optax and
    Keras have the same update; torch has none. The default decay of optax is 0.001, ours and that
    of Keras 0.

    Parameters
    ----------
    lr : float, array or schedule, default 0.0001
        Learning rate :math:`\eta`: a third to a tenth of AdamW's, as the authors advise, since
        all steps have full size. For this and all hyperparameters see :class:`Optimizer`.
    betas : pair, default (0.9, 0.99)
        :math:`\beta_1`, which weighs for the step, and :math:`\beta_2`, for what is remembered.
    weight_decay : default 0.0
        :math:`\lambda`, three to ten times AdamW's.

    References
    ----------
    Chen et al. (2023), "Symbolic discovery of optimization algorithms", algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> opt = Lion(lr=0.1)
    >>> theta = np.array([1.0, 2.0, 3.0])
    >>> theta, state = opt.update(theta, np.array([10.0, -0.01, 0.0]), opt.init(theta))
    >>> theta
    array([0.9, 2.1, 3. ])
    """

    lr: Any = 0.0001
    betas: tuple[Any, Any] = (0.9, 0.99)
    weight_decay: Any = 0.0

    def _check(self) -> None:
        self._not_negative("lr", "weight_decay")
        self._check_betas()

    def _start(self, theta: Any) -> dict[str, Any]:
        return {"exp_avg": namespace(theta).zeros_like(theta)}

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        (beta1, beta2), m = self.betas, state["exp_avg"]
        step = namespace(theta).sign(averaged(m, beta1, grad))
        if is_used(self.weight_decay):
            step = step + self.weight_decay * theta
        return theta - self.lr * step, {"exp_avg": averaged(m, beta2, grad)}
