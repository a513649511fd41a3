"""A network: layers in a row, and all their parameters in one vector."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import array, as_float, current, namespace, reshape
from companion.layers.base import Layer, Row


class Sequential:
    """Layers one after the other, with their parameters in one vector theta.

    ``theta`` has shape ``(..., P)``; the axes before the last are replicas, networks of the same
    layers that compute side by side. Nothing is kept here: forward returns what backward needs.

    Parameters
    ----------
    *layers : Layer
    input_ndim : int, optional
        Axes of a batch without replicas: 2 for features ``(n, d)``, 3 for sequences ``(n, t, d)``,
        4 for images ``(n, c, h, w)``. Default: what the first layer that is
        particular takes, or 2.

    Attributes
    ----------
    size : int
        Number of parameters P.
    state_size : int
        Number of running statistics S.

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

    def __init__(self, *layers: Layer, input_ndim: int | None = None) -> None:
        self.row = Row(*layers)
        self.layers = layers
        self.input_ndim = input_ndim or self.row.input_ndim or 2
        self._cuts, self.size = _cuts(self.row.shapes)
        self._state_cuts, self.state_size = _cuts(self.row.state_shapes)

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

    def init(
        self,
        rng: Any,
        replicas: int | tuple[int, ...] = (),
        draw: Callable[[Layer, Any], Any] | None = None,
    ) -> Any:
        """Draw initial parameters in the backend in force.

        The replicas are drawn one after the other, so that the first ten of twenty are the ten
        that ten would have been, and both backends start from the same numbers.

        Parameters
        ----------
        rng : numpy.random.Generator
        replicas : int or tuple of int, default ()
            Axes before the last.
        draw : function ``(layer, rng) -> arrays``, optional
            Draws each layer's parameters, in the order of ``layer.shapes``, in place of the
            layer's own initializers: ``draw=initializers.pytorch``. It is asked for the layers
            inside blocks too.

        Returns
        -------
        array, shape (*replicas, P)
            Moved up by one ulp where the environment has ``COMPANION_JITTER``, for the test that
            no printed result hangs on the last bit.
        """
        replicas = (replicas,) if isinstance(replicas, int) else tuple(replicas)
        rows = [_joined(self.row.init(rng, draw)) for _ in range(math.prod(replicas))]
        theta = np.reshape(rows, (*replicas, self.size)).astype(current().dtype, copy=False)
        if os.environ.get("COMPANION_JITTER"):
            theta = np.nextafter(theta, theta.dtype.type(np.inf))
        return array(theta)

    def init_state(self, replicas: int | tuple[int, ...] = ()) -> Any:
        """Return the running statistics before any training, of shape ``(*replicas, S)``."""
        replicas = (replicas,) if isinstance(replicas, int) else tuple(replicas)
        return array(np.broadcast_to(_joined(self.row.init_state()), (*replicas, self.state_size)))

    def sample_noise(self, rng: Any, x: Any, replicas: int | tuple[int, ...] | None = None) -> Any:
        """Draw the masks of a forward pass in training, in the backend in force.

        Parameters
        ----------
        rng : numpy.random.Generator
        x : array
            The batch.
        replicas : int or tuple of int, optional
            Axes of the masks; default those of x, so that replicas that share the batch share
            the masks.

        Returns
        -------
        noise
            None if no layer needs any.
        """
        replicas = (replicas,) if isinstance(replicas, int) else replicas
        own = tuple(x.shape[: x.ndim - self.input_ndim]) if replicas is None else tuple(replicas)
        return self.row.sample_noise(rng, tuple(x.shape[x.ndim - self.input_ndim :]), own)

    def unpack(self, theta: Any) -> dict[str, Any]:
        """Return the parameters by name, such as ``"0.weight"``, as views of theta.

        A parameter of shape ``(i, o)`` comes as ``(..., i, o)``. The gradient, which has theta's
        shape, comes apart in the same way.
        """
        self._check(theta)
        return dict(zip(self.row.shapes, _views(theta, self._cuts), strict=True))

    def forward(
        self, theta: Any, x: Any, *, training: bool = False, noise: Any = None, state: Any = None
    ) -> tuple[Any, Any]:
        """Compute the output for a batch.

        Parameters
        ----------
        theta : array, shape (..., P)
        x : array, shape (n, d), (n, t, d) or (n, c, h, w)
            Shared by all replicas, or with their axes before, of which the first may be left out.
        training : bool, default False
            Whether layers that distinguish the two, such as dropout, are in training.
        noise
            From :meth:`sample_noise`, for layers that need chance in training.
        state : array, shape (..., S), optional
            Running statistics, from :meth:`init_state` and :meth:`advance`. They are read when
            not in training.

        Returns
        -------
        y : array
            With theta's leading axes.
        cache
            For :meth:`backward` and :meth:`advance`.
        """
        self._check(theta)
        if self.row.takes_integers:
            x = x if hasattr(x, "dtype") else np.asarray(x)
        else:
            x, _ = as_float(x)
            if x.dtype != theta.dtype:
                raise TypeError(f"x must have the dtype of theta, {theta.dtype}; got {x.dtype}")
        if noise is not None and not self.row.needs_noise:
            raise ValueError("noise must be None: no layer of this network takes any")
        if state is not None and state.shape[-1] != self.state_size:
            raise ValueError(
                f"state must have shape (..., {self.state_size}) for this network; "
                f"got {tuple(state.shape)}"
            )
        if state is not None and state.dtype != theta.dtype:
            raise TypeError(f"state must have the dtype of theta, {theta.dtype}; got {state.dtype}")
        replicas, split = tuple(theta.shape[:-1]), x.ndim - self.input_ndim
        own = tuple(x.shape[: max(split, 0)])
        if split < 0 or own != replicas[len(replicas) - len(own) :]:
            kinds = {2: "(n, d)", 3: "(n, t, d)", 4: "(n, c, h, w)"}
            kind = "(n, t)" if self.row.takes_integers else kinds.get(self.input_ndim, "(n, ...)")
            raise ValueError(
                f"x must have shape {kind}, or the replicas' axes {replicas} before these; "
                f"got {tuple(x.shape)}"
            )
        if own != replicas and not (self.row.takes_shared and x.ndim == 2):
            x = namespace(x).broadcast_to(x, (*replicas, *x.shape[split:]))
        params = _views(theta, self._cuts)
        kept = () if state is None else _views(state, self._state_cuts)
        y, cache = self.row.forward(params, x, training=training, noise=noise, state=kept)
        return y, (cache, theta, y.shape)

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
        cache, theta, shape = cache
        if dy.shape != shape:
            raise ValueError(f"dy must have y's shape {tuple(shape)}; got {tuple(dy.shape)}")
        dx, grads = self.row.backward(cache, dy, input_grad=input_grad)
        return (dx if input_grad else None), _flat(grads, theta)

    def advance(self, state: Any, cache: Any) -> Any:
        """Return the running statistics after a forward pass in training.

        Parameters
        ----------
        state : array, shape (..., S)
        cache
            From :meth:`forward`.

        Returns
        -------
        array, in the shape of state
        """
        return _flat(self.row.advance(_views(state, self._state_cuts), cache[0]), state)

    def _check(self, theta: Any) -> None:
        if theta.shape[-1] != self.size:
            raise ValueError(
                f"theta must have shape (..., {self.size}) for this network; "
                f"got {tuple(theta.shape)}"
            )


def _cuts(shapes: dict[str, tuple[int, ...]]) -> tuple[list[tuple[slice, tuple[int, ...]]], int]:
    """Return where each array of `shapes` lies in a vector, and the vector's length."""
    cuts, size = [], 0
    for shape in shapes.values():
        cuts.append((slice(size, size + math.prod(shape)), shape))
        size = cuts[-1][0].stop
    return cuts, size


def _views(vector: Any, cuts: list[tuple[slice, tuple[int, ...]]]) -> tuple[Any, ...]:
    """Return the arrays that lie in a vector, as views of it."""
    xp, replicas = namespace(vector), vector.shape[:-1]
    if xp is np:  # the method, since np.reshape takes three times as long
        return tuple([vector[..., where].reshape(replicas + shape) for where, shape in cuts])
    return tuple([xp.reshape(vector[..., where], (*replicas, *shape)) for where, shape in cuts])


def _flat(parts: tuple[Any, ...], like: Any) -> Any:
    """Put arrays together to a vector in the shape of `like`."""
    xp = namespace(like)
    if not parts:
        return xp.zeros_like(like)
    shape = (*like.shape[:-1], -1)
    return xp.concat([reshape(p, shape) for p in parts], axis=-1)


def _joined(values: tuple[Any, ...]) -> Any:
    return np.concatenate([np.empty(0), *(np.reshape(v, -1) for v in values)])
