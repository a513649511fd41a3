"""Muon: steps of equal length along all singular directions (chapter 4, section 5)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

from companion.backend import namespace
from companion.network import Sequential
from companion.optimizers.base import Optimizer, averaged

#: Of the polynomial as + bs³ + cs⁵ that is applied to all singular values s: steep at 0.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ADJUSTMENTS = (None, "original", "match_rms_adamw")


def newton_schulz(x: Any, steps: int = 5) -> Any:
    r"""Bring all singular values of a matrix near 1, and leave its singular vectors.

    .. math:: X \leftarrow X / \|X\|_F, \quad \text{then } \texttt{steps} \text{ times} \quad
              X \leftarrow aX + bXX^TX + c(XX^T)^2X

    Only products: with :math:`X = USV^T` each line applies :math:`as+bs^3+cs^5` to the entries of
    S. The coefficients make small s grow as fast as may be, 3.44 times a line; five lines bring
    all from 0.002 on into 0.68 to 1.21, and not to 1. In torch and in the author's code the
    products are in bfloat16; here they are in the dtype of x, so that from a root of its largest
    number on (1e154, 1e19 in float32) the norm overflows and 0 is returned.

    Parameters
    ----------
    x : array, shape (..., n, k)
    steps : int, default 5

    Returns
    -------
    array, shape (..., n, k)

    References
    ----------
    Jordan (2024), "Muon: an optimizer for hidden layers in neural networks".

    Examples
    --------
    >>> import numpy as np
    >>> newton_schulz(np.diag([3.0, 1.0, 0.1])).round(2)
    array([[0.75, 0.  , 0.  ],
           [0.  , 1.13, 0.  ],
           [0.  , 0.  , 1.13]])
    """
    xp, (a, b, c) = namespace(x), COEFFICIENTS
    is_tall = x.shape[-2] > x.shape[-1]  # XᵀX is then the smaller product
    x = xp.matrix_transpose(x) if is_tall else x
    norm = xp.sum(x * x, axis=(-2, -1), keepdims=True) ** 0.5
    x = x / xp.where(norm > 1e-7, norm, 1e-7 * xp.ones_like(norm))
    for _ in range(steps):
        gram = x @ xp.matrix_transpose(x)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return xp.matrix_transpose(x) if is_tall else x


@dataclass(frozen=True)
class Muon(Optimizer):
    r"""Muon: for a matrix, the momentum with all its singular values brought near 1.

    .. math:: B \leftarrow \mu B + (1-\mu) G, \quad
              \tilde B = \mu B + (1-\mu) G, \quad
              W \leftarrow W - \eta\lambda W - \eta\,r\,\mathrm{NS}(\tilde B)

    with :func:`newton_schulz` for NS; without `nesterov` :math:`\tilde B` is B. A gradient of a
    layer has a few large singular values; here the small ones count as much. The factor r makes up
    for the shape, with A outputs and B inputs :math:`\sqrt{\max(1, A/B)}`. The conventions
    are those of torch.optim.Muon, whose documentation has B as a sum, which NS does not see, and
    whose weights are our (in, out) transposed.

    What is no matrix is left to another rule, as is customary to AdamW; so are, by name,
    embeddings and often the last layer.

    Parameters
    ----------
    lr : float, array or schedule
        Learning rate :math:`\eta` of the matrices. For this and all hyperparameters see
        :class:`Optimizer`.
    net : Sequential
        Says where in theta the matrices are.
    rest : Optimizer
        For all other parameters: a rule over the vector of these.
    matrices : tuple of str, optional
        Names, as in ``net.unpack(theta)``. Default: all parameters of two axes.
    momentum : default 0.95
        :math:`\mu`.
    weight_decay : default 0.1
        :math:`\lambda` of the matrices, decoupled and multiplied by the rate.
    nesterov : bool, default True
    ns_steps : int, default 5
    adjust_lr_fn : {None, "original", "match_rms_adamw"}, optional
        The factor r: the last one is :math:`0.2\sqrt{\max(A, B)}`, with which steps are as
        large as AdamW's. None is "original".

    References
    ----------
    Jordan (2024), "Muon: an optimizer for hidden layers in neural networks"; Liu et al. (2025),
    "Muon is scalable for LLM training".

    Examples
    --------
    >>> import numpy as np
    >>> from companion.layers import Linear
    >>> from companion.network import Sequential
    >>> from companion.optimizers import Adam
    >>> net = Sequential(Linear(2, 2))
    >>> opt = Muon(0.1, net, Adam(0.01), weight_decay=0.0)
    >>> theta, grad = np.zeros(6), np.array([3.0, 0.0, 0.0, 0.1, 7.0, 0.0])
    >>> theta, state = opt.update(theta, grad, opt.init(theta))
    >>> {name: value.round(3).tolist() for name, value in net.unpack(theta).items()}
    {'0.weight': [[-0.07, 0.0], [0.0, -0.113]], '0.bias': [-0.01, 0.0]}
    """

    lr: Any
    net: Sequential
    rest: Optimizer
    matrices: tuple[str, ...] | None = None
    momentum: Any = 0.95
    weight_decay: Any = 0.1
    nesterov: bool = True
    ns_steps: int = 5
    adjust_lr_fn: str | None = None

    def _check(self) -> None:
        self._not_negative("lr", "weight_decay")
        self._fractions("momentum")
        if not isinstance(self.net, Sequential):
            raise TypeError(f"net must be a Sequential; got {self.net!r}")
        if isinstance(self.matrices, str):
            raise TypeError(f"matrices must be a tuple of names; got {self.matrices!r}")
        if not isinstance(self.ns_steps, int) or self.ns_steps < 0:
            raise ValueError(f"ns_steps must be a whole number, 0 or more; got {self.ns_steps!r}")
        if not isinstance(self.rest, Optimizer):
            raise TypeError(f"rest must be an optimizer; got {self.rest!r}")
        if type(self.rest).lookahead is not Optimizer.lookahead:
            raise ValueError(f"rest must take its gradient at theta; got {self.rest!r}")
        if self.adjust_lr_fn not in ADJUSTMENTS:
            raise ValueError(f"adjust_lr_fn must be one of {ADJUSTMENTS}; got {self.adjust_lr_fn}")
        shapes = self.net.row.shapes
        found = [n for n in self.matrices or () if len(shapes.get(n, ())) != 2]
        if found:
            there = ", ".join(n for n, shape in shapes.items() if len(shape) == 2)
            raise ValueError(f"matrices must be among {there}; got {', '.join(found)}")

    def at(self, step: int, theta: Any, as_arrays: bool = False) -> Muon:
        """Return the rule of one step, `rest` included."""
        rule, rest = super().at(step, theta, as_arrays), self.rest.at(step, theta, as_arrays)
        if rest is not self.rest:
            rule = copy.copy(rule)
            object.__setattr__(rule, "rest", rest)
        return rule

    def _parts(self) -> list[tuple[slice, tuple[int, ...], bool]]:
        """Return where each parameter lies in theta, its shape, and whether it is ours."""
        shapes, end, parts = self.net.row.shapes, 0, []
        for name, shape in shapes.items():
            own = len(shape) == 2 if self.matrices is None else name in self.matrices
            end += math.prod(shape)
            parts.append((slice(end - math.prod(shape), end), shape, own))
        return parts

    def _rest_of(self, vector: Any) -> Any:
        others = [vector[..., where] for where, _, own in self._parts() if not own]
        return namespace(vector).concat([vector[..., :0], *others], axis=-1)

    def _start(self, theta: Any) -> dict[str, Any]:
        if theta.shape[-1] != self.net.size:
            raise ValueError(
                f"theta must have shape (..., {self.net.size}) for this network; "
                f"got {tuple(theta.shape)}"
            )
        zeros = namespace(theta).zeros_like(theta)
        return {"momentum_buffer": zeros, "rest": self.rest.init(self._rest_of(theta))}

    def _step(self, theta: Any, grad: Any, state: Any, t: int) -> tuple[Any, dict[str, Any]]:
        xp, mu = namespace(theta), self.momentum
        buffer = averaged(state["momentum_buffer"], mu, grad)
        ahead = averaged(buffer, mu, grad) if self.nesterov else buffer
        parts = self._parts()
        steps = [
            self._orthogonal(ahead[..., w], shape) if own else ahead[..., w]
            for w, shape, own in parts
        ]
        moved = theta - self.lr * (self.weight_decay * theta + xp.concat(steps, axis=-1))
        rest, memory = self.rest.update(self._rest_of(theta), self._rest_of(grad), state["rest"])
        new, end = [], 0
        for where, shape, own in parts:
            if own:
                new.append(moved[..., where])
            else:
                end += math.prod(shape)
                new.append(rest[..., end - math.prod(shape) : end])
        return xp.concat(new, axis=-1), {"momentum_buffer": buffer, "rest": memory}

    def _orthogonal(self, flat: Any, shape: tuple[int, ...]) -> Any:
        n_in, n_out = shape
        ratio = max(1.0, n_out / n_in) ** 0.5
        if self.adjust_lr_fn == "match_rms_adamw":
            ratio = 0.2 * max(shape) ** 0.5
        matrix = namespace(flat).reshape(flat, (*flat.shape[:-1], *shape))
        return ratio * namespace(flat).reshape(newton_schulz(matrix, self.ns_steps), flat.shape)
