"""Steps along the gradient, and along a sum of gradients (chapter 4, sections 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from companion.backend import namespace
from companion.optimizers.base import Optimizer, is_used, penalized


@dataclass(frozen=True)
class SGD(Optimizer):
    r"""Stochastic gradient descent with torch's conventions.

    .. math:: g \leftarrow g + \lambda\theta, \quad
              b \leftarrow \mu b + (1-\tau) g \ (b_1 = g_1), \quad
              \theta \leftarrow \theta - \eta b

    With `nesterov` the step is :math:`\eta(g + \mu b)`; without momentum it is :math:`\eta g`,
    not dampened, save where a 0 is one momentum of an array or of a schedule.

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
        self._within(("dampening",), lambda v: v == v, "be a number")
        if self.nesterov and not (is_used(self.momentum) and not is_used(self.dampening)):
            raise ValueError(
                "nesterov needs a positive momentum and no dampening; "
                f"got momentum={self.momentum}, dampening={self.dampening}"
            )

    def _start(self, theta: Any) -> dict[str, Any]:
        return (
            {"momentum_buffer": namespace(theta).zeros_like(theta)}
            if is_used(self.momentum)
            else {}
        )

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        grad = penalized(grad, self.weight_decay, theta)
        memory = {}
        if is_used(self.momentum):
            # in place on arrays of our own: each pass over memory counts
            buffer = self.momentum * state["momentum_buffer"]
            buffer += grad if t == 1 else (1 - self.dampening) * grad
            grad = grad + self.momentum * buffer if self.nesterov else buffer
            memory["momentum_buffer"] = buffer
        step = -self.lr * grad
        step += theta
        return step, memory


@dataclass(frozen=True)
class HeavyBall(Optimizer):
    r"""Momentum as it was first: the learning rate inside the sum of gradients.

    .. math:: m \leftarrow \beta m + \eta g, \quad \theta \leftarrow \theta - m

    with m = 0 before the first step. Sutskever et al., TensorFlow and Keras write :math:`v = -m`.
    torch and optax keep the sum without the rate, :math:`b \leftarrow \beta b + g`, and subtract
    :math:`\eta b`, as :class:`SGD` does: the same iterates while :math:`\eta` stays as it is, since
    then :math:`m = \eta b`. When the rate falls, here it is felt in new gradients only, and there
    in the whole sum at once.

    Parameters
    ----------
    lr : float, array or schedule
        Learning rate :math:`\eta`. For this and all hyperparameters see :class:`Optimizer`.
    momentum : float, array or schedule, default 0.9
        :math:`\beta`.

    References
    ----------
    Polyak (1964), "Some methods of speeding up the convergence of iteration methods".

    Examples
    --------
    >>> import numpy as np
    >>> opt = HeavyBall(lr=0.5, momentum=0.5)
    >>> theta = np.array([8.0])
    >>> state = opt.init(theta)
    >>> for _ in range(3):  # on half the square, whose slope is theta
    ...     theta, state = opt.update(theta, theta, state)
    ...     print(theta)
    [4.]
    [0.]
    [-2.]
    """

    lr: Any
    momentum: Any = 0.9

    def _check(self) -> None:
        self._not_negative("lr")
        self._fractions("momentum")

    def _start(self, theta: Any) -> dict[str, Any]:
        return {"momentum_buffer": namespace(theta).zeros_like(theta)}

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        m = self.momentum * state["momentum_buffer"]
        m += self.lr * grad
        return theta - m, {"momentum_buffer": m}


@dataclass(frozen=True)
class Nesterov(HeavyBall):
    r"""Heavy ball with the gradient taken ahead, where the old momentum is about to lead.

    .. math:: m \leftarrow \beta m + \eta\,\nabla J(\theta - \beta m), \quad
              \theta \leftarrow \theta - m

    The update is :class:`HeavyBall`'s; what differs is the point of the gradient, which the caller
    asks for: ``opt.update(theta, gradient(opt.lookahead(theta, state)), state)``.
    :func:`~companion.training.fit` does so.

    Frameworks keep that point instead of theta, so that they can take the gradient at what they
    keep: for a constant momentum :math:`\tilde\theta = \theta - \beta m` goes
    :math:`\tilde\theta \leftarrow \tilde\theta - \eta g - \beta m`, with the new m. That is Keras'
    rule for every schedule of rates, and torch's and optax's, which is ``SGD(nesterov=True)``, for
    a constant rate.

    Parameters
    ----------
    lr : float, array or schedule
        Learning rate :math:`\eta`. For this and all hyperparameters see :class:`Optimizer`.
    momentum : float, array or schedule, default 0.9
        :math:`\beta`. For convex functions Nesterov lets it grow towards 1, as in
        ``lambda t: t / (t + 3)``.

    References
    ----------
    Nesterov (1983); in this form Sutskever, Martens, Dahl and Hinton (2013), "On the importance of
    initialization and momentum in deep learning".

    Examples
    --------
    >>> import numpy as np
    >>> opt = Nesterov(lr=0.5, momentum=0.5)
    >>> theta = np.array([8.0])
    >>> state = opt.init(theta)
    >>> for _ in range(3):  # on half the square, whose slope is theta
    ...     theta, state = opt.update(theta, opt.lookahead(theta, state), state)
    ...     print(theta)
    [4.]
    [1.]
    [-0.25]
    """

    def lookahead(self, theta: Any, state: dict[str, Any]) -> Any:
        """Return where the gradient of the next step is to be taken."""
        beta = self.at(state["step"], theta).momentum
        return theta - beta * state["momentum_buffer"]
