"""Adam with a step that is held within bounds (chapter 4, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from companion.backend import clip, namespace
from companion.optimizers.adam import Adam


@dataclass(frozen=True)
class AMSGrad(Adam):
    r"""Adam that divides by the largest second moment so far, and never forgets it.

    .. math:: m \leftarrow \beta_1 m + (1-\beta_1) g, \quad
              v \leftarrow \beta_2 v + (1-\beta_2) g^2, \quad
              w \leftarrow \max(w, v), \quad
              \theta \leftarrow \theta - \eta\,
              \frac{m/(1-\beta_1^t)}{\sqrt{w/(1-\beta_2^t)} + \epsilon}

    This is torch's ``Adam(amsgrad=True)`` and its state: the maximum is of v before the correction.
    The paper has neither corrections nor :math:`\epsilon`. Keras' takes the same maximum, and adds
    :math:`\epsilon` to :math:`\sqrt w`; optax' ``amsgrad`` takes the maximum of the corrected
    :math:`v/(1-\beta_2^t)`, of which the first gradients make more.

    Parameters
    ----------
    lr, betas, eps, weight_decay
        As in :class:`Adam`.

    References
    ----------
    Reddi, Kale and Kumar (2018), "On the convergence of Adam and beyond".

    Examples
    --------
    >>> import numpy as np
    >>> opt = AMSGrad(lr=0.1, betas=(0.0, 0.5))
    >>> theta = np.array([1.0])
    >>> state = opt.init(theta)
    >>> for g in (10.0, 0.1, 0.1):
    ...     theta, state = opt.update(theta, np.array([g]), state)
    >>> state["exp_avg_sq"].round(2), state["max_exp_avg_sq"]
    (array([12.51]), array([50.]))
    """

    def _start(self, theta: Any) -> dict[str, Any]:
        return {**super()._start(theta), "max_exp_avg_sq": namespace(theta).zeros_like(theta)}

    def _moments(self, grad: Any, state: Any) -> tuple[Any, Any, dict[str, Any]]:
        m, v, memory = super()._moments(grad, state)
        largest = namespace(v).maximum(state["max_exp_avg_sq"], v)
        return m, largest, {**memory, "max_exp_avg_sq": largest}


@dataclass(frozen=True)
class AdaBound(Adam):
    r"""Adam whose rate for each parameter is clipped to bounds that close in on that of SGD.

    .. math:: \theta \leftarrow \theta - \operatorname{clip}\Bigl(
              \frac{\eta\sqrt{1-\beta_2^t}/(1-\beta_1^t)}{\sqrt v + \epsilon},\
              \alpha\Bigl(1 - \frac1{\gamma t + 1}\Bigr),\
              \alpha\Bigl(1 + \frac1{\gamma t}\Bigr)\Bigr)\, m

    with m and v as in :class:`Adam`. At first the bounds are 0 and :math:`\infty`; at
    :math:`t = 1/\gamma` they are :math:`\alpha/2` and :math:`2\alpha`, and in the end this is
    momentum with the rate :math:`\alpha`. As in the authors' program, :math:`\epsilon` is added to
    :math:`\sqrt v` before the correction, and the correction is inside the bounds. The paper
    divides the rate by :math:`\sqrt t` besides. It is neither in torch nor in Keras nor in optax.

    Parameters
    ----------
    lr, betas, eps, weight_decay
        As in :class:`Adam`.
    final_lr : float, array or schedule, default 0.1
        The rate :math:`\alpha` that it ends with.
    gamma : float, array or schedule, default 0.001
        How fast the bounds close in, :math:`\gamma > 0`.
    base_lr : float or array, optional
        Under a schedule :math:`\alpha` is `final_lr` times ``lr / base_lr``, so that the schedule
        is heard to the end. Default: `lr`, of a schedule its value at step 0. It stays when
        `lr` is replaced, also by the ``schedule`` of :func:`companion.training.fit`.

    References
    ----------
    Luo, Xiong, Liu and Sun (2019), "Adaptive gradient methods with dynamic bound of learning
    rate", and their program.

    Examples
    --------
    >>> import numpy as np
    >>> opt = AdaBound(betas=(0.0, 0.999))
    >>> theta = np.array([0.0, 0.0])
    >>> theta, state = opt.update(theta, np.array([1.0, 1000.0]), opt.init(theta))
    >>> theta.round(4)  # Adam would move both by 0.001; the second rate is its lower bound
    array([-0.001 , -0.0999])
    """

    final_lr: Any = 0.1
    gamma: Any = 0.001
    base_lr: Any = None

    def _check(self) -> None:
        super()._check()
        self._not_negative("final_lr")
        if self.base_lr is None:
            base = self.lr(0) if callable(self.lr) else self.lr
            object.__setattr__(self, "base_lr", base)
        self._within(("gamma",), lambda v: v > 0, "be positive")
        self._within(("base_lr",), lambda v: v > 0, "be positive (None is lr at step 0)")

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        theta, grad = self._decay(theta, grad)
        m, v, memory = self._moments(grad, state)
        rate, lower, upper = self.now
        return theta - clip(rate / (namespace(v).sqrt(v) + self.eps), lower, upper) * m, memory

    def _numbers(self, t: int) -> tuple[Any, ...]:
        correction, root = super()._numbers(t)
        final = self.final_lr * (self.lr / self.base_lr)
        passed = self.gamma * t
        # the lower bound is 1 - 1/(passed + 1) without the cancellation
        return (
            self.lr * root / correction,
            final * (passed / (passed + 1)),
            final * (1 + 1 / passed),
        )


@dataclass(frozen=True)
class AMSBound(AMSGrad, AdaBound):
    r"""AdaBound with the largest v so far, :math:`w \leftarrow \max(w, v)`, in place of v.

    The authors' ``AdaBound(amsbound=True)``; parameters are those of :class:`AdaBound`.

    References
    ----------
    Luo, Xiong, Liu and Sun (2019).

    Examples
    --------
    >>> import numpy as np
    >>> opt = AMSBound()
    >>> sorted(opt.init(np.zeros(3)))
    ['exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'step']
    """
