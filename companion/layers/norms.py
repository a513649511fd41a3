"""Normalisation: inputs brought to mean 0 and variance 1, then scaled and shifted as learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from companion.backend import namespace, positive
from companion.layers.base import Layer, along, axes_but


class BatchNorm(Layer):
    r"""Batch normalisation, core signature ``(n,k,...),(k),(k)->(n,k,...)``.

    .. math:: y=\gamma\hat x+\beta,\qquad \hat x=\frac{x-\mu}{\sqrt{\sigma^2+\epsilon}}

    In training the mean :math:`\mu` and the variance :math:`\sigma^2` are those of the batch, over
    every axis but that of the features or channels. The variance is the biased one, divided by the
    number m of values. Since :math:`\mu` and :math:`\sigma` depend on x, the backward pass has
    three terms:

    .. math:: \frac{\partial L}{\partial x}=\frac{\gamma}{\sqrt{\sigma^2+\epsilon}}
        \Bigl(dy-\overline{dy}-\hat x\,\overline{dy\,\hat x}\Bigr)

    Out of training they are the running statistics of `state`. After a batch ``advance`` moves
    these towards its own, of which the variance is then the unbiased one, divided by m - 1:

    .. math:: r\leftarrow(1-\text{momentum})\,r+\text{momentum}\cdot r_\text{batch}

    Parameters
    ----------
    num_features : int
        Entries of `axis`.
    eps : float, default 1e-5
    momentum : float, default 0.1
        The weight of the new batch.
    axis : int, default 1
        That of the features or channels, 0 being the samples; -1 for sequences ``(n, t, d)``.

    Raises
    ------
    ValueError
        If in training a feature has fewer than two values, which have no variance; or if out of
        training there is no state.

    Notes
    -----
    The defaults are PyTorch's. Keras 3 has ``epsilon=1e-3``, the last axis, a ``momentum`` of 0.99
    that is the weight of the *old* value (0.01 here), and a biased running variance. The paper
    has no running statistics but averages those of many batches after training, the variance
    unbiased.

    The mean of large values is off by its rounding; what is left of it is taken away a second
    time, so that no digit is lost where the mean is far larger than the deviations (Chan, Golub
    and LeVeque 1983).

    References
    ----------
    Ioffe and Szegedy (2015), "Batch normalization: accelerating deep network training by reducing
    internal covariate shift". Chan, Golub and LeVeque (1983), "Algorithms for computing the sample
    variance: analysis and recommendations".

    Examples
    --------
    >>> from companion.network import Sequential
    >>> net = Sequential(BatchNorm(2))
    >>> theta, state = net.init(np.random.default_rng(0)), net.init_state()
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = net.forward(theta, x, training=True)
    >>> y.round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> net.advance(state, cache)  # both means, then both variances
    array([ 0.2,  2. ,  1.1, 20.9])
    >>> net.forward(theta, x, state=state)[0].round(3)
    array([[ 1., 10.],
           [ 3., 30.]])
    """

    has_modes = True

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, axis: int = 1
    ) -> None:
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1]; got {momentum}")
        n = _count(num_features, "num_features")
        self.num_features, self.momentum, self.axis = n, momentum, axis
        self.eps = positive(eps, "eps")
        self.shapes = {"weight": (n,), "bias": (n,)}
        self.state_shapes = {"running_mean": (n,), "running_var": (n,)}

    def __repr__(self) -> str:
        return f"BatchNorm({self.num_features})"

    def init(self, rng: Any) -> tuple[Any, ...]:
        return np.ones(self.num_features), np.zeros(self.num_features)

    def init_state(self) -> tuple[Any, ...]:
        return np.zeros(self.num_features), np.ones(self.num_features)

    def forward(
        self,
        params: tuple[Any, ...],
        x: Any,
        *,
        training: bool = False,
        noise: Any = None,
        state: tuple[Any, ...] = (),
    ) -> tuple[Any, Any]:
        xp, shape = namespace(x), params[0].shape
        axes = axes_but(self.axis, x, params[0], self)
        weight, bias = (along(param, x, self.axis) for param in params)
        if training:
            m = math.prod([x.shape[i] for i in axes])
            if m < 2:
                raise ValueError(
                    f"{self} needs at least 2 values of every feature in training; "
                    f"got x of shape {tuple(x.shape)}"
                )
            xhat, rstd, mean, var = _standardized(x, axes, self.eps)
            batch = (xp.reshape(mean, shape), xp.reshape(var * (m / (m - 1)), shape), m)
        else:
            mean, var = (along(r, x, self.axis) for r in self._running(state, shape))
            rstd = 1 / xp.sqrt(var + self.eps)
            xhat, batch = (x - mean) * rstd, None
        return xhat * weight + bias, (xhat, weight * rstd, axes, shape, batch)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        xhat, scale, axes, shape, batch = cache
        xp = namespace(dy)
        dbias = xp.sum(dy, axis=axes, keepdims=True)
        dweight = xp.sum(dy * xhat, axis=axes, keepdims=True)
        dx = None
        if input_grad and batch is None:  # mean and variance are constants
            dx = scale * dy
        elif input_grad:
            _, _, m = batch
            dx = scale * (dy - dbias / m - xhat * (dweight / m))
        return dx, (xp.reshape(dweight, shape), xp.reshape(dbias, shape))

    def advance(self, state: tuple[Any, ...], cache: Any) -> tuple[Any, ...]:
        *_, shape, batch = cache
        if batch is None:
            raise ValueError(f"cache must be that of a forward pass of {self} with training=True")
        old, new = self._running(state, shape), batch[:2]
        keep, rate = 1 - self.momentum, self.momentum
        return tuple([keep * a + rate * b for a, b in zip(old, new, strict=True)])

    def _running(self, state: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[Any, ...]:
        """Return the running statistics, which must be there, for every replica."""
        if not state:
            raise ValueError(
                f"{self} reads its running statistics when not in training: "
                "give forward a state, from net.init_state and net.advance"
            )
        if state[0].shape != shape:
            raise ValueError(
                f"state must have the leading axes of theta, {tuple(shape[:-1])}; "
                f"got {tuple(state[0].shape[:-1])}"
            )
        return state


class _OverLastAxes(Layer):
    """What layers share that normalise each sample over its last axes."""

    def __init__(self, normalized_shape: int | tuple[int, ...]) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        if not shape:
            raise ValueError("normalized_shape must name at least one axis; got ()")
        self.normalized_shape = tuple([_count(n, "normalized_shape") for n in shape])
        self.axes = tuple(range(-len(shape), 0))
        self.shapes = {"weight": self.normalized_shape}

    def __repr__(self) -> str:
        n, *more = self.normalized_shape
        return f"{type(self).__name__}({self.normalized_shape if more else n})"

    def _meeting(self, x: Any, param: Any) -> Any:
        """Return a parameter so that it meets the last axes of x."""
        k = len(self.axes)
        if x.ndim <= param.ndim or tuple(x.shape[-k:]) != self.normalized_shape:
            shape = ", ".join(map(str, self.normalized_shape))
            raise ValueError(f"{self} expects x of shape (..., n, {shape}); got {tuple(x.shape)}")
        ones = (1,) * (x.ndim - param.ndim)
        return namespace(param).reshape(param, (*param.shape[:-k], *ones, *param.shape[-k:]))

    def _summed(self, x: Any, replicas: int) -> Any:
        """Sum over all axes between those of the replicas and those of a parameter."""
        return namespace(x).sum(x, axis=tuple(range(replicas, x.ndim - len(self.axes))))


class LayerNorm(_OverLastAxes):
    r"""Layer normalisation, core signature ``(n,...,d),(d),(d)->(n,...,d)``.

    .. math:: y=\gamma\hat x+\beta,\qquad \hat x=\frac{x-\mu}{\sqrt{\sigma^2+\epsilon}}

    with the mean and the biased variance of each sample by itself, over its features: there are no
    running statistics, and training and inference are the same. With :math:`g=\gamma\,dy` and
    means over the features,

    .. math:: \frac{\partial L}{\partial x}=\frac{1}{\sqrt{\sigma^2+\epsilon}}
        \Bigl(g-\overline{g}-\hat x\,\overline{g\,\hat x}\Bigr)

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Shape of the last axes, over which is normalised and which the parameters have.
    eps : float, default 1e-5
        As in PyTorch; Keras has 1e-3.

    References
    ----------
    Ba, Kiros and Hinton (2016), "Layer normalization".

    Examples
    --------
    >>> layer = LayerNorm(3)
    >>> y, _ = layer.forward(layer.init(None), np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]]))
    >>> y.round(3)
    array([[-1.225,  0.   ,  1.225],
           [ 1.225,  0.   , -1.225]])
    """

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5) -> None:
        super().__init__(normalized_shape)
        self.eps = positive(eps, "eps")
        self.shapes = {"weight": self.normalized_shape, "bias": self.normalized_shape}

    def init(self, rng: Any) -> tuple[Any, ...]:
        return np.ones(self.normalized_shape), np.zeros(self.normalized_shape)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        weight, bias = (self._meeting(x, param) for param in params)
        xhat, rstd, _, _ = _standardized(x, self.axes, self.eps)
        return xhat * weight + bias, (xhat, rstd, weight, params[0].ndim - len(self.axes))

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        xhat, rstd, weight, replicas = cache
        dx = _standardized_vjp(dy * weight, xhat, rstd, self.axes) if input_grad else None
        return dx, (self._summed(dy * xhat, replicas), self._summed(dy, replicas))


class RMSNorm(_OverLastAxes):
    r"""Root mean square normalisation, core signature ``(n,...,d),(d)->(n,...,d)``.

    .. math:: y=\gamma\hat x,\qquad \hat x=\frac{x}{r},\qquad r=\sqrt{\overline{x^2}+\epsilon}

    with the mean over the features of each sample: :class:`LayerNorm` without the mean taken away
    and without a bias. With :math:`g=\gamma\,dy`,

    .. math:: \frac{\partial L}{\partial x}=\frac1r
        \Bigl(g-\hat x\,\overline{g\,\hat x}\Bigr)

    Parameters
    ----------
    normalized_shape : int or tuple of int
        Shape of the last axes, over which is normalised and which the weight has.
    eps : float, optional
        Default: that of the dtype of x, 2.2e-16 or 1.2e-7, as in PyTorch. The paper has none,
        language models 1e-6 or 1e-5.

    References
    ----------
    Zhang and Sennrich (2019), "Root mean square layer normalization".

    Examples
    --------
    >>> layer = RMSNorm(2)
    >>> layer.forward(layer.init(None), np.array([[3.0, 4.0]]))[0].round(3)  # of 5/sqrt(2)
    array([[0.849, 1.131]])
    """

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float | None = None) -> None:
        super().__init__(normalized_shape)
        self.eps = eps if eps is None else positive(eps, "eps")

    def init(self, rng: Any) -> tuple[Any, ...]:
        return (np.ones(self.normalized_shape),)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        xp = namespace(x)
        weight = self._meeting(x, params[0])
        eps = xp.finfo(x.dtype).eps if self.eps is None else self.eps
        scale = 1 / xp.sqrt(xp.mean(x * x, axis=self.axes, keepdims=True) + eps)
        xhat = x * scale
        return xhat * weight, (xhat, scale, weight, params[0].ndim - len(self.axes))

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        xhat, scale, weight, replicas = cache
        dx = None
        if input_grad:
            g = dy * weight
            mean = namespace(g).mean(g * xhat, axis=self.axes, keepdims=True)
            dx = scale * (g - xhat * mean)
        return dx, (self._summed(dy * xhat, replicas),)


class GroupNorm(Layer):
    r"""Group normalisation, core signature ``(n,k,...),(k),(k)->(n,k,...)``.

    As :class:`LayerNorm`, but over one group of channels of a sample at a time, with all that
    comes after the channels, such as rows and columns of an image; the parameters have one entry
    a channel. One group is layer normalisation over the whole sample, a group for each channel
    is instance normalisation.

    Parameters
    ----------
    num_groups : int
    num_channels : int
        Entries of axis 1, 0 being the samples; a multiple of `num_groups`.
    eps : float, default 1e-5

    References
    ----------
    Wu and He (2018), "Group normalization".

    Examples
    --------
    >>> layer = GroupNorm(2, 4)
    >>> layer.forward(layer.init(None), np.array([[1.0, 3.0, 10.0, 30.0]]))[0].round(3)
    array([[-1.,  1., -1.,  1.]])
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5) -> None:
        if _count(num_channels, "num_channels") % _count(num_groups, "num_groups"):
            raise ValueError(
                f"num_channels must be a multiple of num_groups; got {num_channels} channels "
                f"and {num_groups} groups"
            )
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps = positive(eps, "eps")
        self.shapes = {"weight": (num_channels,), "bias": (num_channels,)}

    def __repr__(self) -> str:
        return f"GroupNorm({self.num_groups}, {self.num_channels})"

    def init(self, rng: Any) -> tuple[Any, ...]:
        return np.ones(self.num_channels), np.zeros(self.num_channels)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        axes = axes_but(1, x, params[0], self)
        weight, bias = (along(param, x, 1) for param in params)
        xhat, rstd, _, _ = _standardized(self._grouped(x, axes[0]), (-1,), self.eps)
        y = namespace(x).reshape(xhat, x.shape) * weight + bias
        return y, (xhat, rstd, weight, axes)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        xhat, rstd, weight, axes = cache
        xp, dx = namespace(dy), None
        if input_grad:
            dx = _standardized_vjp(self._grouped(dy * weight, axes[0]), xhat, rstd, (-1,))
            dx = xp.reshape(dx, dy.shape)
        dweight = xp.sum(dy * xp.reshape(xhat, dy.shape), axis=axes)
        return dx, (dweight, xp.sum(dy, axis=axes))

    def _grouped(self, x: Any, samples: int) -> Any:
        """Return x with a last axis of the values of each group, `samples` being theirs."""
        size = math.prod(x.shape[samples + 1 :]) // self.num_groups
        return namespace(x).reshape(x, (*x.shape[: samples + 1], self.num_groups, size))


def _standardized(x: Any, axes: tuple[int, ...], eps: float) -> tuple[Any, Any, Any, Any]:
    """Return (x - mean)/sqrt(var + eps), the inverse root, mean and biased variance over `axes`."""
    xp = namespace(x)
    mean = xp.mean(x, axis=axes, keepdims=True)
    x = x - mean
    rest = xp.mean(x, axis=axes, keepdims=True)  # the rounding of a large mean
    x = x - rest
    var = xp.mean(x * x, axis=axes, keepdims=True)
    rstd = 1 / xp.sqrt(var + eps)
    return x * rstd, rstd, mean + rest, var


def _standardized_vjp(dy: Any, xhat: Any, rstd: Any, axes: tuple[int, ...]) -> Any:
    """Return the gradient in x, dy being that in `xhat`."""
    xp = namespace(dy)
    along_xhat = xp.mean(dy * xhat, axis=axes, keepdims=True)
    return rstd * (dy - xp.mean(dy, axis=axes, keepdims=True) - xhat * along_xhat)


def _count(n: int, name: str) -> int:
    """Return a number that must be positive."""
    if n < 1:
        raise ValueError(f"{name} must be positive; got {n}")
    return n
