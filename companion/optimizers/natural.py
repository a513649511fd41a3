"""Natural gradient: steps in the space of what the model says (chapter 4, section 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from companion.activations import softmax
from companion.backend import namespace
from companion.network import Sequential
from companion.optimizers.base import Optimizer


def softmax_fisher(net: Sequential, theta: Any, x: Any) -> Any:
    r"""Fisher information of a classifier whose logits are the outputs of a network.

    .. math:: F = \frac1n\sum_i J_i^T\bigl(\operatorname{diag}(p_i) - p_ip_i^T\bigr)J_i

    with the probabilities :math:`p_i` and the Jacobian :math:`J_i` of the logits of sample i. The
    expectation over labels is that of the model, not of the data; the matrix with the labels of
    the data is the empirical Fisher, another one.

    Parameters
    ----------
    net : Sequential
    theta : array, shape (..., P)
    x : array, shape (n, d)

    Returns
    -------
    array, shape (..., P, P)
        Symmetric, no eigenvalue negative; for softmax never invertible, since a shift of all
        logits changes nothing. Memory grows with :math:`nKP + P^2`: for small networks.

    References
    ----------
    Martens (2020), "New insights and perspectives on the natural gradient method".

    Examples
    --------
    >>> import numpy as np
    >>> from companion.layers import Linear
    >>> net = Sequential(Linear(1, 2))
    >>> softmax_fisher(net, np.zeros(4), np.array([[2.0]]))[:2, :2]
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    xp, n = namespace(theta), x.shape[0]
    # each sample to a replica of its own
    shape = (*theta.shape[:-1], n, theta.shape[-1])
    logits, cache = net.forward(xp.broadcast_to(theta[..., None, :], shape), x[:, None])
    p = softmax(logits)
    eye = xp.eye(p.shape[-1], dtype=p.dtype, device=p.device)
    # d(−log p_c)/dθ weighted by √p_c: their outer products sum up to F
    slopes = [net.backward(cache, p - eye[c], input_grad=False)[1] for c in range(p.shape[-1])]
    roots = [p[..., c] ** 0.5 * slope for c, slope in enumerate(slopes)]
    rows = xp.concat(roots, axis=-2)
    return xp.matrix_transpose(rows) @ rows / n


@dataclass(frozen=True)
class NaturalGradient(Optimizer):
    r"""Natural gradient: the steepest descent for a distance between distributions.

    .. math:: \theta \leftarrow \theta - \eta\,(F(\theta) + \lambda I)^{-1} g

    Without damping a linear change of the parameters changes nothing: with
    :math:`\theta = A\phi` the steps in :math:`\phi` are those in :math:`\theta`. The system is
    solved exactly, with :math:`P^3` operations: for small models.

    Parameters
    ----------
    lr : float, array (..., 1) or schedule
        Learning rate :math:`\eta`. For this and `damping` see :class:`Optimizer`.
    fisher : callable
        ``theta -> F``, of shape ``(..., P) -> (..., P, P)``, such as
        ``lambda theta: softmax_fisher(net, theta, x)``.
    damping : default 0.0
        :math:`\lambda`. Where F is not invertible, as for softmax, it must be positive.

    References
    ----------
    Amari (1998), "Natural gradient works efficiently in learning".

    Examples
    --------
    >>> import numpy as np
    >>> opt = NaturalGradient(1.0, fisher=lambda theta: np.diag([100.0, 1.0]))
    >>> theta = np.array([1.0, 1.0])
    >>> opt.update(theta, np.array([100.0, 1.0]), opt.init(theta))[0]
    array([0., 0.])
    """

    lr: Any
    fisher: Callable[[Any], Any]
    damping: Any = 0.0

    _constant: ClassVar = ("fisher",)

    def _check(self) -> None:
        self._not_negative("lr", "damping")
        if not callable(self.fisher):
            raise TypeError(f"fisher must be a function of theta; got {self.fisher!r}")

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        xp, matrix = namespace(theta), self.fisher(theta)
        wanted = (*theta.shape, theta.shape[-1])
        if tuple(matrix.shape) != wanted:
            raise ValueError(f"fisher must return shape {wanted}; got {tuple(matrix.shape)}")
        ones = xp.ones_like(theta)
        eye = xp.eye(theta.shape[-1], dtype=theta.dtype, device=theta.device)
        matrix = matrix + (self.damping * ones)[..., None] * eye
        return theta - self.lr * xp.linalg.solve(matrix, grad[..., None])[..., 0], {}
