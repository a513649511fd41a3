"""Adam and what was made of it (chapter 4, sections 4 and 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from companion.backend import namespace
from companion.optimizers.base import Optimizer, averaged, averaged_square, is_used, penalized


@dataclass(frozen=True)
class Adam(Optimizer):
    r"""Adam: steps of about the learning rate, whatever the gradient's size.

    .. math:: m \leftarrow \beta_1 m + (1-\beta_1) g, \quad
              v \leftarrow \beta_2 v + (1-\beta_2) g^2, \quad
              \theta \leftarrow \theta - \eta\,
              \frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon}

    with m and v 0 before the first step, t = 1. As in the paper's algorithm 1, in torch and in
    optax, :math:`\epsilon` is added to the corrected root. TensorFlow and Keras add it to
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
        self._check_betas()

    def _start(self, theta: Any) -> dict[str, Any]:
        zeros = namespace(theta).zeros_like(theta)
        return {"exp_avg": zeros, "exp_avg_sq": zeros}

    def _numbers(self, t: int) -> tuple[Any, ...]:
        """Return the corrections: of m, and of the root of v."""
        beta1, beta2 = self.betas
        return 1 - beta1**t, (1 - beta2**t) ** 0.5

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        theta, grad = self._decay(theta, grad)
        m, v, memory = self._moments(grad, state)
        step = m / self._scale(v)
        step *= -self.lr / self.now[0]
        step += theta
        return step, memory

    def _decay(self, theta: Any, grad: Any, decoupled: bool = False) -> tuple[Any, Any]:
        """Return theta and the gradient with the weight decay in one of them."""
        if not decoupled:
            return theta, penalized(grad, self.weight_decay, theta)
        if is_used(self.weight_decay):
            theta = theta * (1 - self.lr * self.weight_decay)
        return theta, grad

    def _moments(self, grad: Any, state: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return m, the v whose root is divided by, and the memory of both."""
        beta1, beta2 = self.betas
        m = averaged(state["exp_avg"], beta1, grad)
        v = averaged_square(state["exp_avg_sq"], beta2, grad)
        return m, v, {"exp_avg": m, "exp_avg_sq": v}

    def _scale(self, v: Any) -> Any:
        """Return the corrected root, with epsilon: what the step is divided by."""
        scale = namespace(v).sqrt(v) / self.now[1]  # autograd needs the root itself
        scale += self.eps
        return scale


@dataclass(frozen=True)
class AdamW(Adam):
    r"""Adam with the weight decay beside the step, not inside the gradient.

    .. math:: \theta \leftarrow (1-\eta\lambda)\,\theta - \eta\,
              \frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)} + \epsilon}

    with Adam's m and v of the bare gradient. So torch, Keras and optax have it, by default
    with a decay of 0.01, 0.004 and 0.0001.

    The paper splits the rate into a constant and a schedule's factor, :math:`\eta=\eta_t\alpha`,
    and decays by :math:`\eta_t\lambda`, so that a search for :math:`\alpha` leaves the decay alone.
    That is ``weight_decay=λ/α`` here, whatever the schedule; α may be an array of rates.

    Parameters
    ----------
    lr, betas, eps
        See :class:`Adam`.
    weight_decay : float, array or schedule, default 0.01
        :math:`\lambda`.

    References
    ----------
    Loshchilov and Hutter (2019), "Decoupled weight decay regularization".

    Examples
    --------
    >>> import numpy as np
    >>> opt = AdamW(lr=0.1, weight_decay=0.5)
    >>> theta = np.array([1.0, 2.0])
    >>> theta, state = opt.update(theta, np.array([10.0, 0.0]), opt.init(theta))
    >>> theta.round(6)
    array([0.85, 1.9 ])
    """

    weight_decay: Any = 0.01

    def _decay(self, theta: Any, grad: Any, decoupled: bool = True) -> tuple[Any, Any]:
        return super()._decay(theta, grad, decoupled)


@dataclass(frozen=True)
class NAdam(Adam):
    r"""Adam with Nesterov's momentum: the step already holds the next step's share of the gradient.

    .. math:: \mu_t = \beta_1\bigl(1-\tfrac12\,0.96^{\,t\psi}\bigr), \quad
              \theta \leftarrow \theta - \frac{\eta}{\sqrt{v/(1-\beta_2^t)} + \epsilon}
              \Bigl(\frac{\mu_{t+1}\,m}{1-\prod_{i\le t+1}\mu_i}
              + \frac{(1-\mu_t)\,g}{1-\prod_{i\le t}\mu_i}\Bigr)

    with Adam's m and v. The paper averages m with :math:`\mu_t` as well; torch, Keras and we do it
    with :math:`\beta_1`. Keras has :math:`\psi=1`, and for once its :math:`\epsilon` beside the
    corrected root, whatever its documentation says. optax has :math:`\mu=\beta_1` from the start,
    which is ``momentum_decay=math.inf``.

    Parameters
    ----------
    lr : float, array or schedule, default 0.002
        :math:`\eta`.
    betas, eps
        See :class:`Adam`.
    weight_decay : float, array or schedule, default 0.0
        :math:`\lambda`.
    momentum_decay : float, array or schedule, default 0.004
        :math:`\psi`, how fast :math:`\mu` goes from near :math:`\beta_1/2` to :math:`\beta_1`.
    decoupled_weight_decay : bool, default False
        Decay as in :class:`AdamW`.

    References
    ----------
    Dozat (2016), "Incorporating Nesterov momentum into Adam".

    Examples
    --------
    >>> import numpy as np
    >>> opt = NAdam(lr=0.1)
    >>> theta = np.array([1.0, 2.0])
    >>> theta, state = opt.update(theta, np.array([10.0, -0.01]), opt.init(theta))
    >>> theta.round(6)
    array([0.894355, 2.105645])
    """

    lr: Any = 0.002
    momentum_decay: Any = 0.004
    decoupled_weight_decay: bool = False

    def _check(self) -> None:
        super()._check()
        self._not_negative("momentum_decay")

    def _start(self, theta: Any) -> dict[str, Any]:
        # an array, since the compiled step would be compiled anew for every other number
        return {**super()._start(theta), "mu_product": namespace(theta).ones_like(theta[..., :1])}

    def _numbers(self, t: int) -> tuple[Any, ...]:
        return *super()._numbers(t), self._momentum(t), self._momentum(t + 1)

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        theta, grad = self._decay(theta, grad, self.decoupled_weight_decay)
        m, v, memory = self._moments(grad, state)
        *_, mu, ahead = self.now
        product = state["mu_product"] * mu
        step = m * (ahead / (1 - product * ahead))
        step += grad * ((1 - mu) / (1 - product))
        step = step / self._scale(v)
        step *= -self.lr
        step += theta
        return step, {**memory, "mu_product": product}

    def _momentum(self, t: int) -> Any:
        return self.betas[0] * (1 - 0.5 * 0.96 ** (t * self.momentum_decay))


@dataclass(frozen=True)
class RAdam(Adam):
    r"""Adam that waits until it knows the gradient's size, and then rectifies its steps.

    .. math:: \rho_\infty = \frac{2}{1-\beta_2} - 1, \quad
              \rho_t = \rho_\infty - \frac{2t\beta_2^t}{1-\beta_2^t}, \quad
              r_t = \sqrt{\frac{(\rho_t-4)(\rho_t-2)\,\rho_\infty}
              {(\rho_\infty-4)(\rho_\infty-2)\,\rho_t}}

    .. math:: \theta \leftarrow \theta - \eta\,\frac{m}{1-\beta_1^t}\cdot
              \begin{cases} r_t\sqrt{1-\beta_2^t}\,/\,(\sqrt v+\epsilon) & \rho_t>5 \\
              1 & \text{else}\end{cases}

    with Adam's m and v. The first steps, five for :math:`\beta_2=0.999`, are those of momentum:
    they depend on the gradient's size. As in torch, :math:`\epsilon` is added to :math:`\sqrt v`
    before the correction, and the threshold is 5 (the paper: 4, and no :math:`\epsilon`). optax
    adds it to the corrected root, and rectifies from :math:`\rho_t\ge5`. Keras has no RAdam.

    Parameters
    ----------
    lr, betas, eps
        See :class:`Adam`.
    weight_decay : float, array or schedule, default 0.0
        :math:`\lambda`.
    decoupled_weight_decay : bool, default False
        Decay as in :class:`AdamW`, which the authors' program has.

    References
    ----------
    Liu, Jiang, He, Chen, Liu, Gao and Han (2020), "On the variance of the adaptive learning rate
    and beyond".

    Examples
    --------
    >>> import numpy as np
    >>> opt = RAdam(lr=0.1)
    >>> theta = np.array([1.0, 2.0])
    >>> theta, state = opt.update(theta, np.array([10.0, -0.01]), opt.init(theta))
    >>> theta.round(6)
    array([0.   , 2.001])
    """

    decoupled_weight_decay: bool = False

    def _numbers(self, t: int) -> tuple[Any, ...]:
        beta2 = self.betas[1]
        if hasattr(beta2, "dtype"):
            beta2 = namespace(beta2).astype(beta2, namespace(beta2).float64)  # it cancels
        left, limit = 1 - beta2**t, 2 / (1 - beta2) - 1
        length = limit - 2 * t * (1 - left) / left
        is_long = 1.0 * (length > 5)
        length, limit = (6 + is_long * (a - 6) for a in (length, limit))  # 6: any that is long
        rectified = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
        return *super()._numbers(t), is_long, (left * rectified) ** 0.5

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        theta, grad = self._decay(theta, grad, self.decoupled_weight_decay)
        m, v, memory = self._moments(grad, state)
        xp, (*_, is_long, rate) = namespace(theta), self.now
        one = xp.ones_like(theta[..., :1])
        scale = xp.where(one * is_long > 0, (xp.sqrt(v) + self.eps) / rate, one)
        step = m * (-self.lr / self.now[0])
        step /= scale
        step += theta
        return step, memory
