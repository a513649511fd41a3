"""What a layer is, and layers in a row as one."""

from __future__ import annotations

from typing import Any

import numpy as np

from companion.backend import namespace


class Layer:
    """What a layer is, and what those without parameters share.

    A layer whose passes depend on more than its parameters and its input sets ``has_modes``; its
    forward then takes ``(params, x, *, training, noise, state)``.
    """

    #: Parameters by name, with their shapes, in the order of the vector.
    shapes: dict[str, tuple[int, ...]] = {}  # noqa: RUF012
    #: Running statistics in the same way.
    state_shapes: dict[str, tuple[int, ...]] = {}  # noqa: RUF012
    #: Axes of the input, the samples' among them but no replicas'; None where any number will do.
    input_ndim: int | None = None
    #: Whether the first layer of a network takes data without the replicas' axes as they are.
    takes_shared = False
    #: Whether the input holds integers, such as the indices of characters.
    takes_integers = False
    has_modes = False
    #: Whether a forward pass in training needs what :meth:`sample_noise` draws.
    needs_noise = False

    def init(self, rng: Any) -> tuple[Any, ...]:
        """Draw the initial parameters of one replica, as NumPy arrays."""
        return ()

    def init_state(self) -> tuple[Any, ...]:
        """Return the running statistics before any training, as NumPy arrays."""
        return tuple(np.zeros(shape) for shape in self.state_shapes.values())

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the output for an input of `shape`, both without replicas."""
        return shape

    def sample_noise(self, rng: Any, shape: tuple[int, ...], replicas: tuple[int, ...]) -> Any:
        """Draw what a forward pass in training needs of chance, for an input of `shape`."""
        return None

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        """Return the output, and what the backward pass needs."""
        raise NotImplementedError

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        """Return the gradients in x and in the parameters.

        Where nobody needs the first, ``input_grad=False`` lets a layer leave it out (None).
        """
        raise NotImplementedError

    def advance(self, state: tuple[Any, ...], cache: Any) -> tuple[Any, ...]:
        """Return the running statistics after a forward pass in training."""
        return state


class Row(Layer):
    """Layers one after the other, as one layer: what networks and residual branches are made of.

    Parameters
    ----------
    *layers : Layer
    """

    has_modes = True

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError("layers must be at least one layer; got none")
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {i} must be a Layer, such as ReLU(); got {layer!r}")
        self.layers = layers
        first = layers[0]
        self.input_ndim = next((n for layer in layers if (n := layer.input_ndim)), None)
        self.takes_shared, self.takes_integers = first.takes_shared, first.takes_integers
        self.needs_noise = any(layer.needs_noise for layer in layers)
        self.shapes = _named(layer.shapes for layer in layers)
        self.state_shapes = _named(layer.state_shapes for layer in layers)

    def __repr__(self) -> str:
        return f"Row({', '.join(map(repr, self.layers))})"

    def init(self, rng: Any, draw: Any = None) -> tuple[Any, ...]:
        """Draw the layers' parameters, each by ``draw(layer, rng)`` if that is given."""
        return tuple(value for layer in self.layers for value in _start(layer, rng, draw))

    def init_state(self) -> tuple[Any, ...]:
        return tuple(value for layer in self.layers for value in layer.init_state())

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def sample_noise(self, rng: Any, shape: tuple[int, ...], replicas: tuple[int, ...]) -> Any:
        noise = []
        for layer in self.layers:
            noise.append(layer.sample_noise(rng, shape, replicas))
            shape = layer.output_shape(shape)
        return noise if any(part is not None for part in noise) else None

    def forward(
        self,
        params: tuple[Any, ...],
        x: Any,
        *,
        training: bool = False,
        noise: Any = None,
        state: tuple[Any, ...] = (),
    ) -> tuple[Any, Any]:
        caches = []
        i = j = 0
        for k, layer in enumerate(self.layers):
            own, i = params[i : i + len(layer.shapes)], i + len(layer.shapes)
            if layer.has_modes:
                kept, j = state[j : j + len(layer.state_shapes)], j + len(layer.state_shapes)
                options = {"training": training, "noise": noise and noise[k], "state": kept}
                x, cache = layer.forward(own, x, **options)
            else:
                x, cache = layer.forward(own, x)
            caches.append(cache)
        return x, caches

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        grads: tuple[Any, ...] = ()
        for i in reversed(range(len(self.layers))):
            needed = input_grad or i > 0
            dy, own = self.layers[i].backward(cache[i], dy, input_grad=needed)
            grads = own + grads
        return dy, grads

    def advance(self, state: tuple[Any, ...], cache: Any) -> tuple[Any, ...]:
        new: tuple[Any, ...] = ()
        for layer, own in zip(self.layers, cache, strict=True):
            if layer.state_shapes:
                kept = state[len(new) : len(new) + len(layer.state_shapes)]
                new += layer.advance(kept, own)
        return new


def along(param: Any, x: Any, axis: int) -> Any:
    """Return a parameter of shape ``(..., k)`` so that it meets `axis` of x.

    The axes of x before the samples' are those of `param` before its last; `axis` is counted from
    the samples', which are 0.
    """
    replicas = param.ndim - 1
    after = x.ndim - replicas - 1 - axis % (x.ndim - replicas)
    before = x.ndim - replicas - 1 - after
    shape = (*param.shape[:-1], *(1,) * before, param.shape[-1], *(1,) * after)
    return namespace(param).reshape(param, shape)


def as_samples(x: Any, weight: Any) -> Any:
    """Return x with one axis between the replicas', which `weight` has too, and the features."""
    if x.ndim <= weight.ndim:
        return x
    return namespace(x).reshape(x, (*x.shape[: weight.ndim - 2], -1, x.shape[-1]))


def check_counts(of: str, **counts: int) -> None:
    """Say so if one of a layer's sizes is not positive; `of` is what they count."""
    for name, n in counts.items():
        if n < 1:
            raise ValueError(f"{name} must be a positive number{of and f' of {of}'}; got {n}")


def axes_but(axis: int, x: Any, param: Any, layer: Any) -> tuple[int, ...]:
    """Return the axes of x from the samples' on without `axis`, which is counted from there."""
    replicas = param.ndim - 1
    own = x.ndim - replicas
    kept = replicas + axis % max(own, 1)
    if not -own < axis < own or axis == 0 or x.shape[kept] != param.shape[-1]:
        raise ValueError(
            f"{layer} expects {param.shape[-1]} entries on axis {axis} of x, 0 being the samples; "
            f"got shape {tuple(x.shape)}"
        )
    return tuple([i for i in range(replicas, x.ndim) if i != kept])


def _start(layer: Layer, rng: Any, draw: Any) -> tuple[Any, ...]:
    if isinstance(layer, Row):
        return layer.init(rng, draw)
    values = layer.init(rng) if draw is None else draw(layer, rng)
    if draw is not None and [np.shape(v) for v in values] != [*layer.shapes.values()]:
        shapes = ", ".join(f"{name} {shape}" for name, shape in layer.shapes.items())
        raise ValueError(
            f"draw must return arrays for {layer} with the shapes of {shapes or 'nothing'}; "
            f"got {[np.shape(v) for v in values]}"
        )
    return values


def _named(shapes: Any) -> dict[str, tuple[int, ...]]:
    return {f"{i}.{name}": shape for i, own in enumerate(shapes) for name, shape in own.items()}
