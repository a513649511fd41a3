"""Residual blocks: layers whose output is added to their input."""

from __future__ import annotations

from typing import Any

import numpy as np

from companion.backend import namespace
from companion.layers.base import Layer, Row, along


class Residual(Row):
    r"""Layers F with a path past them, :math:`y=F(x)+x` or :math:`y=F(x)+S(x)`.

    The gradient takes both paths: :math:`dx=dy\,F'(x)+dy`.

    Post-activation, as in the first paper, the activation comes after the sum,
    ``Residual(Linear(d, d), BatchNorm(d), ReLU(), Linear(d, d), BatchNorm(d)), ReLU()``.
    Pre-activation, as in the second, it is the first of F, and nothing stands on the path from
    input to output: ``Residual(BatchNorm(d), ReLU(), Linear(d, d), BatchNorm(d), ReLU(),
    Linear(d, d))``.

    Parameters
    ----------
    *layers : Layer
        F.
    shortcut : Layer, optional
        S, such as a :class:`Linear` layer where F changes the number of features. Default: the
        identity.

    Raises
    ------
    ValueError
        If the two paths end in different shapes.

    References
    ----------
    He, Zhang, Ren and Sun (2016), "Deep residual learning for image recognition"; and "Identity
    mappings in deep residual networks".

    Examples
    --------
    >>> from companion.layers import Linear, ReLU
    >>> list(Residual(ReLU(), Linear(4, 2), shortcut=Linear(4, 2)).shapes)
    ['1.weight', '1.bias', 'shortcut.weight', 'shortcut.bias']
    """

    def __init__(self, *layers: Layer, shortcut: Layer | None = None) -> None:
        super().__init__(*layers)
        if shortcut is not None and not isinstance(shortcut, Layer):
            raise TypeError(f"shortcut must be a Layer, such as Linear(2, 3); got {shortcut!r}")
        self.shortcut = shortcut
        self.path = path = Row(_Same() if shortcut is None else shortcut)
        self.takes_shared = False  # x is added to what has the axes of all replicas
        self.needs_noise |= path.needs_noise
        self._own, self._own_state = len(self.shapes), len(self.state_shapes)
        for shapes, more in ((self.shapes, path.shapes), (self.state_shapes, path.state_shapes)):
            shapes |= {f"shortcut.{name.removeprefix('0.')}": n for name, n in more.items()}

    def __repr__(self) -> str:
        shortcut = [] if self.shortcut is None else [f"shortcut={self.shortcut!r}"]
        return f"Residual({', '.join([*map(repr, self.layers), *shortcut])})"

    def init(self, rng: Any, draw: Any = None) -> tuple[Any, ...]:
        return super().init(rng, draw) + self.path.init(rng, draw)

    def init_state(self) -> tuple[Any, ...]:
        return super().init_state() + self.path.init_state()

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        end = super().output_shape(shape)
        _check_ends(self, end, self.path.output_shape(shape))
        return end

    def sample_noise(self, rng: Any, shape: tuple[int, ...], replicas: tuple[int, ...]) -> Any:
        branch = super().sample_noise(rng, shape, replicas)
        path = self.path.sample_noise(rng, shape, replicas)
        return (branch, path) if self.needs_noise else None

    def forward(
        self,
        params: tuple[Any, ...],
        x: Any,
        *,
        training: bool = False,
        noise: Any = None,
        state: tuple[Any, ...] = (),
    ) -> tuple[Any, Any]:
        # a row takes what its own layers need, and leaves what comes after
        mask, path_mask = noise or (None, None)
        fx, branch = super().forward(params, x, training=training, noise=mask, state=state)
        own, kept = params[self._own :], state[self._own_state :]
        sx, path = self.path.forward(own, x, training=training, noise=path_mask, state=kept)
        _check_ends(self, fx.shape, sx.shape)
        return fx + sx, (branch, path)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        branch, path = cache
        dx, grads = super().backward(branch, dy, input_grad=input_grad)
        further, path_grads = self.path.backward(path, dy, input_grad=input_grad)
        return (dx + further if input_grad else None), grads + path_grads

    def advance(self, state: tuple[Any, ...], cache: Any) -> tuple[Any, ...]:
        branch, path = cache
        return super().advance(state, branch) + self.path.advance(state[self._own_state :], path)


class ReZero(Row):
    r"""Layers F with a learned weight that starts at 0, :math:`y=x+\alpha F(x)`.

    So every block starts as the identity, whatever F is and however many blocks there are, and
    needs no normalisation. Where :math:`\alpha=0`, only :math:`\alpha` has a gradient,
    :math:`\partial L/\partial\alpha=\sum dy\odot F(x)`, and F learns from the second step on.

    Parameters
    ----------
    *layers : Layer
        F, whose output has the shape of its input.

    References
    ----------
    Bachlechner, Majumder, Mao, Cottrell and McAuley (2020), "ReZero is all you need: fast
    convergence at large depth".

    Examples
    --------
    >>> from companion.layers import Linear, Tanh
    >>> ReZero(Linear(4, 4), Tanh()).shapes
    {'0.weight': (4, 4), '0.bias': (4,), 'alpha': (1,)}
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        self.takes_shared = False  # x is added to what has the axes of all replicas
        self.shapes["alpha"] = (1,)

    def __repr__(self) -> str:
        return f"ReZero({', '.join(map(repr, self.layers))})"

    def init(self, rng: Any, draw: Any = None) -> tuple[Any, ...]:
        return (*super().init(rng, draw), np.zeros(1))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        _check_ends(self, super().output_shape(shape), shape)
        return shape

    def forward(self, params: tuple[Any, ...], x: Any, **modes: Any) -> tuple[Any, Any]:
        fx, cache = super().forward(params, x, **modes)
        _check_ends(self, fx.shape, x.shape)
        alpha = along(params[-1], x, 1)
        return x + alpha * fx, (cache, alpha, fx, params[-1].shape)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        cache, alpha, fx, shape = cache
        xp = namespace(dy)
        dalpha = xp.sum(dy * fx, axis=tuple(range(len(shape) - 1, dy.ndim)))
        dx, grads = super().backward(cache, alpha * dy, input_grad=input_grad)
        return (dx + dy if input_grad else None), (*grads, xp.reshape(dalpha, shape))

    def advance(self, state: tuple[Any, ...], cache: Any) -> tuple[Any, ...]:
        return super().advance(state, cache[0])


class _Same(Layer):
    """The shortcut that does nothing."""

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        return x, None

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        return dy, ()


def _check_ends(layer: Layer, branch: Any, path: Any) -> None:
    """Say so if the two ends to be added differ in shape, since they might broadcast."""
    if tuple(branch) != tuple(path):
        raise ValueError(
            f"{layer} needs layers that end in the shape of what they are added to, "
            f"{tuple(path)}; got {tuple(branch)}"
        )
