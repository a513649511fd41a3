"""Layers of images: convolution, pooling, and the way from images to features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from companion import initializers
from companion.backend import namespace, total
from companion.layers.base import Layer, check_counts


class _Windows(Layer):
    """What convolution and pooling share: windows of one size, a stride apart.

    Inside, the samples' axis is the last, ``(..., c, h, w, n)``: then the values that one entry of
    the kernel meets lie side by side, and every product is a single one for the whole batch.
    """

    input_ndim = 4

    def __init__(self, kernel_size: Any, stride: Any, padding: Any) -> None:
        self.kernel_size = _pair("kernel_size", kernel_size, 1)
        self.stride = _pair("stride", stride, 1)
        self.padding = _pair("padding", padding, 0)

    def _options(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._options()})"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        sides = zip(shape[-2:], self.padding, self.kernel_size, self.stride, strict=True)
        return (*shape[:-2], *((size + 2 * p - k) // s + 1 for size, p, k, s in sides))

    def _slices(self, shape: tuple[int, ...]) -> list[tuple[Any, ...]]:
        """Return where each entry of the kernel, row by row, meets padded images."""
        (kh, kw), (sh, sw), (h, w) = self.kernel_size, self.stride, self.output_shape(shape)[-2:]
        rows = [slice(i, i + sh * (h - 1) + 1, sh) for i in range(kh)]
        columns = [slice(j, j + sw * (w - 1) + 1, sw) for j in range(kw)]
        return [(..., row, column, slice(None)) for row in rows for column in columns]

    def _gather(self, x: Any, outside: float = 0.0) -> list[Any]:
        """Return what each entry of the kernel meets, views of shape ``(..., c, h', w', n)``."""
        if x.ndim < 4 or min(self.output_shape(x.shape)[-2:]) < 1:
            raise ValueError(
                f"{self} expects x of shape (..., n, c, h, w), with padding no smaller than its "
                f"kernel; got {tuple(x.shape)}"
            )
        xp, (n, c, h, w), (ph, pw) = namespace(x), x.shape[-4:], self.padding
        shape = (*x.shape[:-4], c, h + 2 * ph, w + 2 * pw, n)
        padded = xp.full(shape, outside, dtype=x.dtype, device=x.device)
        padded[..., ph : ph + h, pw : pw + w, :] = xp.moveaxis(x, -4, -1)
        return [padded[where] for where in self._slices(x.shape)]

    def _scatter(self, pieces: Iterable[Any], shape: tuple[int, ...], dy: Any) -> Any:
        """Add up what each entry of the kernel hands back: :meth:`_gather` transposed."""
        xp, (n, c, h, w), (ph, pw) = namespace(dy), shape[-4:], self.padding
        shape = (*shape[:-4], c, h + 2 * ph, w + 2 * pw, n)
        dx = xp.zeros(shape, dtype=dy.dtype, device=dy.device)
        for where, piece in zip(self._slices((h, w)), pieces, strict=True):
            # not dx[where] += piece: torch.compile nests these additions in one another, and takes
            # minutes for a kernel of 3 by 3
            padded = xp.zeros_like(dx)
            padded[where] = piece
            dx += padded
        return xp.moveaxis(dx[..., ph : ph + h, pw : pw + w, :], -1, -4)


class Conv2d(_Windows):
    r"""Convolution of images, core signature ``(n,c,h,w),(o,c,k,l),(o)->(n,o,h',w')``.

    .. math:: y_{ou v}=b_o+\sum_{cij}W_{ocij}\,x_{c,\,us+i-p,\,vs+j-p}

    with stride s, padding p and x = 0 outside the image. Each window of x becomes a column, and
    all windows of a batch a matrix X, so that the convolution is one product, Y = WX ("im2col").
    Back go :math:`dW=dY\,X^T` and :math:`dX=W^TdY`, where windows that overlap add up.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (int, int)
        Rows and columns.
    stride : int or (int, int), default 1
    padding : int or (int, int), default 0
        Rows and columns of zeros at each side. The output has
        :math:`h'=\lfloor(h+2p-k)/s\rfloor+1` rows.
    init : initializer, default :func:`~companion.initializers.kaiming_normal`
        ``init(shape, rng=rng, **options)`` draws the weight, for the shape ``(kh, kw, c, o)``.
    bias_init : initializer, default :func:`~companion.initializers.zeros`
        ``bias_init((o,), rng=rng)`` draws the bias.
    **options
        For `init`, such as ``gain``.

    Raises
    ------
    ValueError
        If x does not have `in_channels` channels, or is smaller than the kernel.

    Notes
    -----
    The kernel is not flipped: what the field calls convolution is correlation, in PyTorch and
    Keras too. The weight has PyTorch's shape ``(o, c, kh, kw)``; Keras has ``(kh, kw, c, o)`` and
    images ``(n, h, w, c)``. Both have other initial weights by default: PyTorch
    :math:`U(\pm1/\sqrt{c\,k_hk_w})`, also for the bias, Keras Glorot's uniform ones.

    The columns hold every value as often as windows cover it, nine times for a kernel of 3 by 3.
    So x is kept for the backward pass, and the columns are laid out a second time.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner (1998), "Gradient-based learning applied to document
    recognition". Chellapilla, Puri and Simard (2006), "High performance convolutional neural
    networks for document processing".

    Examples
    --------
    >>> step = np.array([[[[-1.0, 1.0]]]])
    >>> image = np.array([[[[0.0, 0.0, 5.0, 5.0]]]])
    >>> Conv2d(1, 1, (1, 2)).forward((step, np.zeros(1)), image)[0]
    array([[[[0., 5., 0.]]]])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        init: Callable[..., Any] = initializers.kaiming_normal,
        bias_init: Callable[..., Any] = initializers.zeros,
        **options: Any,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        check_counts("channels", in_channels=in_channels, out_channels=out_channels)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight_init, self.bias_init, self.options = init, bias_init, options
        self.shapes = {
            "weight": (out_channels, in_channels, *self.kernel_size),
            "bias": (out_channels,),
        }

    def __repr__(self) -> str:
        return f"Conv2d({self.in_channels}, {self.out_channels}, {self._options()})"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        *_, h, w = super().output_shape(shape)
        return (*shape[:-3], self.out_channels, h, w)

    def init(self, rng: Any) -> tuple[Any, ...]:
        shape = (*self.kernel_size, self.in_channels, self.out_channels)
        weight = self.weight_init(shape, rng=rng, **self.options)
        bias = self.bias_init(self.shapes["bias"], rng=rng)
        return np.transpose(weight, (3, 2, 0, 1)), bias

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        weight, bias = params
        if x.ndim != weight.ndim or x.shape[-3] != self.in_channels:
            raise ValueError(
                f"{self} expects x of shape (..., n, {self.in_channels}, h, w); "
                f"got {tuple(x.shape)}"
            )
        xp = namespace(x)
        y = _matrix(weight, 3) @ self._columns(x) + bias[..., None]
        *_, h, w = self.output_shape(x.shape)
        y = xp.reshape(y, (*y.shape[:-1], h, w, x.shape[-4]))
        return xp.moveaxis(y, -1, -4), (x, weight)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        x, weight = cache
        xp = namespace(dy)
        maps = xp.moveaxis(dy, -4, -1)
        d = _matrix(maps, 3)
        grads = xp.reshape(d @ self._columns(x).mT, weight.shape), total(d, axis=-1)
        if not input_grad:
            return None, grads
        columns = _matrix(weight, 3).mT @ d
        kernel = math.prod(self.kernel_size)
        shape = (*x.shape[:-4], self.in_channels, kernel, *maps.shape[-3:])
        columns = xp.reshape(columns, shape)
        pieces = (columns[..., k, :, :, :] for k in range(kernel))
        return self._scatter(pieces, x.shape, dy), grads

    def _columns(self, x: Any) -> Any:
        """Lay out every window of x as a column: shape ``(..., c kh kw, h' w' n)``."""
        stacked = namespace(x).stack(self._gather(x), axis=-4)
        shape = (*stacked.shape[:-5], self.in_channels * stacked.shape[-4], *stacked.shape[-3:])
        return _matrix(namespace(x).reshape(stacked, shape), 3)


class _Pool(_Windows):
    """What both poolings share: windows side by side by default, and none of padding alone."""

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__(kernel_size, kernel_size if stride is None else stride, padding)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"padding must be at most half of kernel_size, {self.kernel_size}; "
                f"got {self.padding}"
            )


class MaxPool2d(_Pool):
    r"""Largest value of each window, ``(n,c,h,w)->(n,c,h',w')``.

    The gradient goes to the value that was taken: of equal ones to the first, row by row, where
    the derivative does not exist. PyTorch does the same.

    Parameters
    ----------
    kernel_size : int or (int, int)
        Rows and columns.
    stride : int or (int, int), optional
        Default: `kernel_size`, windows side by side. Rows and columns that fill no window are
        left out, as in PyTorch.
    padding : int or (int, int), default 0
        Rows and columns of :math:`-\infty` at each side, at most half a window.

    Notes
    -----
    A nan in a window is its largest value. Kept for the backward pass is only which entry of each
    window was taken, one byte for an output.

    References
    ----------
    Ranzato, Huang, Boureau and LeCun (2007), "Unsupervised learning of invariant feature
    hierarchies with applications to object recognition".

    Examples
    --------
    >>> x = np.array([[[[1.0, 2.0, 5.0, 5.0], [4.0, 3.0, 5.0, 5.0]]]])
    >>> pool = MaxPool2d(2)
    >>> y, cache = pool.forward((), x)
    >>> y
    array([[[[4., 5.]]]])
    >>> pool.backward(cache, np.ones_like(y))[0]
    array([[[[0., 0., 1., 0.],
             [1., 0., 0., 0.]]]])
    """

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        y, *others = self._gather(x, outside=-math.inf)
        xp = namespace(x)
        kind = xp.uint8 if len(others) < 256 else xp.int32
        taken = xp.zeros(y.shape, dtype=kind, device=x.device)
        for k, value in enumerate(others, start=1):
            better = (value > y) | xp.isnan(value)
            y = xp.where(better, value, y)
            taken = xp.where(better, xp.full_like(taken, k), taken)
        return xp.moveaxis(y, -1, -4), (taken, x.shape)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        if not input_grad:
            return None, ()
        taken, shape = cache
        xp = namespace(dy)
        maps = xp.moveaxis(dy, -4, -1)
        zero = xp.zeros_like(maps)
        pieces = (xp.where(taken == k, maps, zero) for k in range(math.prod(self.kernel_size)))
        return self._scatter(pieces, shape, dy), ()


class AvgPool2d(_Pool):
    r"""Mean of each window, ``(n,c,h,w)->(n,c,h',w')``.

    Parameters
    ----------
    kernel_size : int or (int, int)
        Rows and columns.
    stride : int or (int, int), optional
        Default: `kernel_size`.
    padding : int or (int, int), default 0
        Rows and columns of zeros at each side, at most half a window. They count in the mean, as
        in PyTorch by default (``count_include_pad``); in Keras they do not.

    References
    ----------
    LeCun, Boser, Denker, Henderson, Howard, Hubbard and Jackel (1990), "Handwritten digit
    recognition with a back-propagation network".

    Examples
    --------
    >>> AvgPool2d(2).forward((), np.array([[[[1.0, 2.0], [3.0, 6.0]]]]))[0]
    array([[[[3.]]]])
    """

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        y = sum(self._gather(x)) / math.prod(self.kernel_size)
        return namespace(x).moveaxis(y, -1, -4), x.shape

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        if not input_grad:
            return None, ()
        count = math.prod(self.kernel_size)
        share = namespace(dy).moveaxis(dy, -4, -1) / count
        return self._scatter([share] * count, cache, dy), ()


class Flatten(Layer):
    """Put the last axes together to one: images ``(n,c,h,w)`` become features ``(n,chw)``.

    Parameters
    ----------
    start_dim : int, default -3
        The first of these axes, counted from the last, since those of the replicas come before:
        -2 for sequences ``(n, t, d)``. PyTorch's default, 1, is -3 for images.

    Examples
    --------
    >>> Flatten().forward((), np.ones((10, 16, 4, 4)))[0].shape
    (10, 256)
    """

    def __init__(self, start_dim: int = -3) -> None:
        if start_dim > -2:
            raise ValueError(f"start_dim must be -2 or less, from the last axis; got {start_dim}")
        self.start_dim = start_dim
        self.input_ndim = 1 - start_dim

    def __repr__(self) -> str:
        return f"Flatten(start_dim={self.start_dim})"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[: self.start_dim], math.prod(shape[self.start_dim :]))

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        if x.ndim < 1 - self.start_dim:
            raise ValueError(
                f"{self} expects x of at least {1 - self.start_dim} axes; got {tuple(x.shape)}"
            )
        return namespace(x).reshape(x, self.output_shape(x.shape)), x.shape

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        return namespace(dy).reshape(dy, cache), ()


def _matrix(x: Any, after: int) -> Any:
    """Return x with its last `after` axes put together to one."""
    return namespace(x).reshape(x, (*x.shape[:-after], math.prod(x.shape[-after:])))


def _pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """Return rows and columns: `value` twice, or its two entries."""
    pair = (value, value) if isinstance(value, int) else value
    good = isinstance(pair, tuple) and len(pair) == 2
    if not good or not all(isinstance(n, int) and n >= least for n in pair):
        raise ValueError(f"{name} must be an integer of at least {least}, or two; got {value!r}")
    return pair
