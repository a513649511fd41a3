"""A network: layers in a row, and all their parameters in one vector."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from companion.backend import array, as_float, current, namespace
from companion.layers import Layer


class Sequential:
    """Layers one after the other, with their parameters in one vector theta.

    ``theta`` has shape ``(..., P)``; the axes before the last are replicas, networks of the same
    layers that compute side by side. Nothing is kept here: forward returns what backward needs.

    Parameters
    ----------
    *layers : Layer

    Attributes
    ----------
    size : int
        Number of parameters P.

    Examples
    --------
    >>> import numpy as np
    >>> from companion import datasets
    >>> from companion.layers import Linear, Tanh
    >>> net = Sequential(Linear(2, 3), Tanh(), Linear(3, 1))
    >>> print(net)
    Sequential, 13 parameters
      0  Linear(2, 3)  weight (2, 3), bias (3,)  9
      1  Tanh()                                  0
      2  Linear(3, 1)  weight (3, 1), bias (1,)  4
    >>> theta = net.init(np.random.default_rng(0), replicas=(5,))
    >>> x, _ = datasets.xor()
    >>> y, cache = net.forward(theta, x)
    >>> dx, dtheta = net.backward(cache, y)  # of the loss y²/2
    >>> [tuple(a.shape) for a in (x, y, dx, dtheta)]
    [(4, 2), (5, 4, 1), (5, 4, 2), (5, 13)]
    """

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError("layers must be at least one layer; got none")
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {i} must be a Layer, such as ReLU(); got {layer!r}")
        self.layers = layers
        self._cuts: list[list[tuple[str, slice, tuple[int, ...]]]] = []
        self.size = 0
        for i, layer in enumerate(layers):
            self._cuts.append([])
            for name, shape in layer.shapes.items():
                cut = slice(self.size, self.size + math.prod(shape))
                self._cuts[i].append((f"{i}.{name}", cut, shape))
                self.size = cut.stop

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"

    def __str__(self) -> str:
        rows = []
        for layer in self.layers:
            shapes = ", ".join(f"{name} {shape}" for name, shape in layer.shapes.items())
            count = sum(math.prod(shape) for shape in layer.shapes.values())
            rows.append((repr(layer), shapes, f"{count:,}"))
        a, b, c = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [f"  {i}  {r[0]:<{a}}  {r[1]:<{b}}  {r[2]:>{c}}" for i, r in enumerate(rows)]
        return "\n".join([f"Sequential, {self.size:,} parameters", *lines])

    def init(self, rng: Any, replicas: int | tuple[int, ...] = ()) -> Any:
        """Draw initial parameters in the backend in force.

        The replicas are drawn one after the other, so that the first ten of twenty are the ten
        that ten would have been, and both backends start from the same numbers.

        Parameters
        ----------
        rng : numpy.random.Generator
        replicas : int or tuple of int, default ()
            Axes before the last.

        Returns
        -------
        array, shape (*replicas, P)
            Moved up by one ulp where the environment has ``COMPANION_JITTER``, for the test that
            no printed result hangs on the last bit.
        """
        replicas = (replicas,) if isinstance(replicas, int) else tuple(replicas)
        theta = np.empty((math.prod(replicas), self.size))
        for row in theta:
            values = [v.reshape(-1) for layer in self.layers for v in layer.init(rng)]
            np.concatenate([np.empty(0), *values], out=row)
        theta = theta.reshape(*replicas, self.size).astype(current().dtype, copy=False)
        if os.environ.get("COMPANION_JITTER"):
            theta = np.nextafter(theta, theta.dtype.type(np.inf))
        return array(theta)

    def unpack(self, theta: Any) -> dict[str, Any]:
        """Return the parameters by name, such as ``"0.weight"``, as views of theta.

        A parameter of shape ``(i, o)`` comes as ``(..., i, o)``. The gradient, which has theta's
        shape, comes apart in the same way.
        """
        self._check(theta)
        return {cut[0]: _view(theta, cut) for cuts in self._cuts for cut in cuts}

    def forward(
        self, theta: Any, x: Any, *, training: bool = False, noise: Any = None, state: Any = None
    ) -> tuple[Any, Any]:
        """Compute the output for a batch.

        Parameters
        ----------
        theta : array, shape (..., P)
        x : array, shape (n, d), or with replica axes (..., n, d)
            Shared by all replicas, or with their axes, of which the first may be left out.
        training : bool, default False
            Whether layers that distinguish the two are in training. None does so far.
        noise, state
            Masks and running statistics, for layers that have them. None does so far.

        Returns
        -------
        y : array
            With theta's leading axes.
        cache
            For :meth:`backward`.
        """
        if noise is not None or state is not None:
            raise ValueError("noise and state must be None: no layer of this network takes them")
        self._check(theta)
        x, _ = as_float(x)
        if x.dtype != theta.dtype:
            raise TypeError(f"x must have the dtype of theta, {theta.dtype}; got {x.dtype}")
        replicas, own = tuple(theta.shape[:-1]), tuple(x.shape[:-2])
        if x.ndim < 2 or own != replicas[len(replicas) - len(own) :]:
            raise ValueError(
                f"x must have shape (n, d), or the replicas' axes {replicas} before these; "
                f"got {tuple(x.shape)}"
            )
        if own != replicas and not self.layers[0].takes_shared:
            x = namespace(x).broadcast_to(x, (*replicas, *x.shape[-2:]))
        caches = []
        for layer, cuts in zip(self.layers, self._cuts, strict=True):
            x, cache = layer.forward(tuple([_view(theta, cut) for cut in cuts]), x)
            caches.append(cache)
        return x, (caches, theta, x.shape)

    def backward(self, cache: Any, dy: Any, *, input_grad: bool = True) -> tuple[Any, Any]:
        """Return the gradients in x and in theta of a loss whose gradient in y is dy.

        Parameters
        ----------
        cache
            From :meth:`forward`.
        dy : array, in the shape of y
        input_grad : bool, default True
            Training needs no gradient in x; without it dx is None, and a product is saved.

        Returns
        -------
        dx : array, shape (..., n, d), with theta's leading axes
        dtheta : array, in the shape of theta
        """
        caches, theta, shape = cache
        if dy.shape != shape:
            raise ValueError(f"dy must have y's shape {tuple(shape)}; got {tuple(dy.shape)}")
        xp = namespace(theta)
        parts: list[Any] = []
        for i in reversed(range(len(self.layers))):
            dy, grads = self.layers[i].backward(caches[i], dy, input_grad=input_grad or i > 0)
            parts = [xp.reshape(g, (*theta.shape[:-1], -1)) for g in grads] + parts
        dtheta = xp.concat(parts, axis=-1) if parts else xp.zeros_like(theta)
        return (dy if input_grad else None), dtheta

    def _check(self, theta: Any) -> None:
        if theta.shape[-1] != self.size:
            raise ValueError(
                f"theta must have shape (..., {self.size}) for this network; "
                f"got {tuple(theta.shape)}"
            )


def _view(theta: Any, cut: tuple[str, slice, tuple[int, ...]]) -> Any:
    _, where, shape = cut
    return namespace(theta).reshape(theta[..., where], (*theta.shape[:-1], *shape))
