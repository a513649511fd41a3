"""A rate for each coordinate, from the gradients it has seen (chapter 4, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from companion.backend import namespace
from companion.optimizers.base import Optimizer, averaged, averaged_square, is_used, penalized


@dataclass(frozen=True)
class Adagrad(Optimizer):
    r"""AdaGrad: each coordinate's rate falls with the sum of its squared gradients.

    .. math:: g \leftarrow g + \lambda\theta, \quad
              s \leftarrow s + g^2, \quad
              \theta \leftarrow \theta - \frac{\eta}{1+(t-1)\,\gamma}\,\frac{g}{\sqrt s + \epsilon}

    for the steps t = 1, 2, .... In the paper's diagonal form :math:`\epsilon` (its :math:`\delta`)
    is added to the root, as in torch and here. Keras and optax divide by
    :math:`\sqrt{s+\epsilon}` with :math:`\epsilon=10^{-7}` and start with s at 0.1, which is ours
    with ``initial_accumulator_value=0.1 + 1e-7, eps=0.0``.

    Parameters
    ----------
    lr : float, array or schedule, default 0.01
        Learning rate :math:`\eta`. For this and all hyperparameters see :class:`Optimizer`.
    lr_decay : default 0.0
        :math:`\gamma`.
    weight_decay : default 0.0
        :math:`\lambda` of a penalty :math:`\frac\lambda2\|\theta\|^2`, whose slope is added to g.
    initial_accumulator_value : default 0.0
        s before the first step.
    eps : default 1e-10
        :math:`\epsilon`.

    References
    ----------
    Duchi, Hazan and Singer (2011), "Adaptive subgradient methods for online learning and
    stochastic optimization".

    Examples
    --------
    >>> import numpy as np
    >>> opt = Adagrad(lr=0.1)
    >>> theta, state = np.array([1.0, 1.0]), opt.init(np.ones(2))
    >>> for _ in range(2):
    ...     theta, state = opt.update(theta, np.array([10.0, -0.01]), state)
    >>> (1 - theta).round(6)  # 0.1 (1 + 1/√2), whatever the gradient's size
    array([ 0.170711, -0.170711])
    """

    lr: Any = 0.01
    lr_decay: Any = 0.0
    weight_decay: Any = 0.0
    initial_accumulator_value: Any = 0.0
    eps: Any = 1e-10

    def _check(self) -> None:
        self._not_negative("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def _start(self, theta: Any) -> dict[str, Any]:
        value = self.at(0, theta).initial_accumulator_value
        return {"sum": namespace(theta).zeros_like(theta) + value}

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        grad = penalized(grad, self.weight_decay, theta)
        total = grad * grad
        total += state["sum"]
        step = grad / (namespace(theta).sqrt(total) + self.eps)
        step *= self.lr / (1 + (t - 1) * self.lr_decay)
        return theta - step, {"sum": total}


@dataclass(frozen=True)
class RMSprop(Optimizer):
    r"""RMSProp: a gradient divided by the root of a moving average of its square.

    .. math:: g \leftarrow g + \lambda\theta, \quad
              s \leftarrow \alpha s + (1-\alpha) g^2, \quad
              b \leftarrow \mu b + \frac{g}{\sqrt s + \epsilon}, \quad
              \theta \leftarrow \theta - \eta b

    with s and b 0 before the first step, so that its length is :math:`\eta/\sqrt{1-\alpha}`. If
    `centered`, an average :math:`a \leftarrow \alpha a + (1-\alpha) g` is kept too, and
    :math:`s - a^2` takes the place of s in the root.

    There is no paper, but a slide, without :math:`\epsilon`. Here it is added to the root as in
    torch. Keras and TensorFlow divide by :math:`\sqrt{s+\epsilon}`, with :math:`\alpha=0.9` and
    :math:`\epsilon=10^{-7}`, optax with :math:`\epsilon=10^{-8}` unless ``eps_in_sqrt=False``. All
    of these have the rate inside the momentum, which differs once the rate changes.

    Parameters
    ----------
    lr : float, array or schedule, default 0.01
        Learning rate :math:`\eta`. For this and all hyperparameters see :class:`Optimizer`.
    alpha : default 0.99
        :math:`\alpha`: the average looks back some :math:`1/(1-\alpha)` steps.
    eps : default 1e-8
        :math:`\epsilon`.
    weight_decay : default 0.0
        :math:`\lambda` of a penalty :math:`\frac\lambda2\|\theta\|^2`, whose slope is added to g.
    momentum : default 0.0
        :math:`\mu`.
    centered : bool, default False
        Divide by the standard deviation instead. Where the gradient does not vary, rounding can
        take :math:`s-a^2` below 0: then it counts as 0, where torch gives nan.

    References
    ----------
    Tieleman and Hinton (2012), "Lecture 6.5: RMSProp"; Graves (2013), "Generating sequences with
    recurrent neural networks", for the centred form.

    Examples
    --------
    >>> import numpy as np
    >>> opt = RMSprop(lr=0.1, alpha=0.75)
    >>> theta = np.array([1.0, 1.0])
    >>> theta, state = opt.update(theta, np.array([10.0, -0.01]), opt.init(theta))
    >>> (1 - theta).round(6)
    array([ 0.2, -0.2])
    """

    lr: Any = 0.01
    alpha: Any = 0.99
    eps: Any = 1e-8
    weight_decay: Any = 0.0
    momentum: Any = 0.0
    centered: bool = False

    def _check(self) -> None:
        self._not_negative("lr", "eps", "weight_decay", "momentum")
        self._fractions("alpha")

    def _start(self, theta: Any) -> dict[str, Any]:
        zeros = namespace(theta).zeros_like(theta)
        state = {"square_avg": zeros}
        if is_used(self.momentum):
            state["momentum_buffer"] = zeros
        if self.centered:
            state["grad_avg"] = zeros
        return state

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        xp = namespace(theta)
        grad = penalized(grad, self.weight_decay, theta)
        square = averaged_square(state["square_avg"], self.alpha, grad)
        new = {"square_avg": square}
        if self.centered:
            mean = averaged(state["grad_avg"], self.alpha, grad)
            new["grad_avg"] = mean
            square = square - mean * mean
            square = xp.where(square > 0, square, 0 * square)
        step = grad / (xp.sqrt(square) + self.eps)
        if is_used(self.momentum):
            step += self.momentum * state["momentum_buffer"]
            new["momentum_buffer"] = step
        return theta - self.lr * step, new


@dataclass(frozen=True)
class Adadelta(Optimizer):
    r"""Adadelta: RMSProp whose rate is the root mean square of its own last steps.

    .. math:: g \leftarrow g + \lambda\theta, \quad
              s \leftarrow \rho s + (1-\rho) g^2, \quad
              d = \frac{\sqrt{u+\epsilon}}{\sqrt{s+\epsilon}}\,g, \quad
              u \leftarrow \rho u + (1-\rho) d^2, \quad
              \theta \leftarrow \theta - \eta d

    with s and u 0 before the first step, which is of size :math:`\sqrt{\epsilon/(1-\rho)}` where
    :math:`g^2\gg\epsilon`: here :math:`\epsilon` is no mere guard, it gets the method going. It is
    in the root in the paper and everywhere. The paper has :math:`\eta=1` and :math:`\rho=0.95`;
    Keras has a rate of 0.001, with which next to nothing moves, and :math:`\rho=0.95`.

    Parameters
    ----------
    lr : float, array or schedule, default 1.0
        Learning rate :math:`\eta`. For this and all hyperparameters see :class:`Optimizer`.
    rho : default 0.9
        :math:`\rho`.
    eps : default 1e-6
        :math:`\epsilon`.
    weight_decay : default 0.0
        :math:`\lambda` of a penalty :math:`\frac\lambda2\|\theta\|^2`, whose slope is added to g.

    References
    ----------
    Zeiler (2012), "ADADELTA: an adaptive learning rate method".

    Examples
    --------
    >>> import numpy as np
    >>> opt = Adadelta()
    >>> theta = np.array([1.0, 1.0])
    >>> theta, state = opt.update(theta, np.array([10.0, -10.0]), opt.init(theta))
    >>> (1 - theta).round(6)
    array([ 0.003162, -0.003162])
    """

    lr: Any = 1.0
    rho: Any = 0.9
    eps: Any = 1e-6
    weight_decay: Any = 0.0

    def _check(self) -> None:
        self._not_negative("lr", "eps", "weight_decay")
        self._fractions("rho")

    def _start(self, theta: Any) -> dict[str, Any]:
        zeros = namespace(theta).zeros_like(theta)
        return {"square_avg": zeros, "acc_delta": zeros}

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        xp = namespace(theta)
        grad = penalized(grad, self.weight_decay, theta)
        square = averaged_square(state["square_avg"], self.rho, grad)
        step = xp.sqrt(state["acc_delta"] + self.eps) / xp.sqrt(square + self.eps) * grad
        moved = averaged_square(state["acc_delta"], self.rho, step)
        return theta - self.lr * step, {"square_avg": square, "acc_delta": moved}
