"""Dropout."""

from __future__ import annotations

from typing import Any

from companion.backend import array, namespace
from companion.layers.base import Layer


class Dropout(Layer):
    r"""In training, sets a random part of the input to 0 and scales up the rest.

    .. math:: y=\frac{m\odot x}{1-p},\qquad P(m_i=0)=p

    The expectation of y is x, so that out of training y = x.

    Parameters
    ----------
    p : float, default 0.5
        The probability that an entry is dropped, as in PyTorch and Keras. In the paper p is the
        probability that it is kept, and the scaling is left to inference.

    Raises
    ------
    ValueError
        In training without `noise`, the mask m that ``sample_noise`` draws: a boolean array, true
        where an entry is kept.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014), "Dropout: a simple way to
    prevent neural networks from overfitting".

    Examples
    --------
    >>> import numpy as np
    >>> from companion.network import Sequential
    >>> net, x = Sequential(Dropout(0.25)), np.ones((2, 4))
    >>> rng = np.random.default_rng(1)
    >>> theta, noise = net.init(rng), net.sample_noise(rng, x)
    >>> net.forward(theta, x, training=True, noise=noise)[0].round(3)
    array([[1.333, 1.333, 0.   , 1.333],
           [1.333, 1.333, 1.333, 1.333]])
    """

    has_modes = True

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability, in [0, 1]; got {p}")
        self.p = p
        self.needs_noise = p > 0

    def __repr__(self) -> str:
        return f"Dropout({self.p})"

    def sample_noise(self, rng: Any, shape: tuple[int, ...], replicas: tuple[int, ...]) -> Any:
        return array(rng.random((*replicas, *shape)) >= self.p) if self.needs_noise else None

    def forward(
        self,
        params: tuple[Any, ...],
        x: Any,
        *,
        training: bool = False,
        noise: Any = None,
        state: tuple[Any, ...] = (),
    ) -> tuple[Any, Any]:
        if not (training and self.needs_noise):
            return x, None
        if noise is None:
            raise ValueError(
                f"{self} needs a mask in training: give forward noise=net.sample_noise(rng, x)"
            )
        if tuple(noise.shape) != tuple(x.shape[x.ndim - noise.ndim :]):
            raise ValueError(
                f"noise must have the shape of x, {tuple(x.shape)}, of which the replicas' axes "
                f"may be left out; got {tuple(noise.shape)}"
            )
        return self._applied(noise, x), noise

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        return dy if cache is None else self._applied(cache, dy), ()

    def _applied(self, kept: Any, x: Any) -> Any:
        """Return x where it is kept, scaled, and 0 elsewhere."""
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        return x * namespace(x).astype(kept, x.dtype) * scale
