"""Affine layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from companion import activations, initializers
from companion.backend import namespace, total
from companion.layers.base import Layer, as_samples, check_counts


class Linear(Layer):
    r"""Affine map :math:`y=xW+b`, core signature ``(n,i),(i,o),(o)->(n,o)``.

    More axes between the samples and their features, such as time, are so many more samples.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of features. The weight has shape ``(n_in, n_out)``; torch keeps its transpose.
    init : initializer, default :func:`~companion.initializers.kaiming_normal`
        ``init(shape, rng=rng, **options)`` draws the weight.
    bias_init : initializer, default :func:`~companion.initializers.zeros`
        ``bias_init((n_out,), rng=rng)`` draws the bias.
    **options
        For `init`, such as ``gain``.

    Examples
    --------
    >>> Linear(64, 10, gain=5 / 3).shapes
    {'weight': (64, 10), 'bias': (10,)}
    """

    takes_shared = True

    def __init__(
        self,
        n_in: int,
        n_out: int,
        init: Callable[..., Any] = initializers.kaiming_normal,
        bias_init: Callable[..., Any] = initializers.zeros,
        **options: Any,
    ) -> None:
        check_counts("features", n_in=n_in, n_out=n_out)
        self.n_in, self.n_out = n_in, n_out
        self.weight_init, self.bias_init, self.options = init, bias_init, options
        self.shapes = {"weight": (n_in, n_out), "bias": (n_out,)}

    def __repr__(self) -> str:
        return f"Linear({self.n_in}, {self.n_out})"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.n_out)

    def init(self, rng: Any) -> tuple[Any, ...]:
        weight = self.weight_init(self.shapes["weight"], rng=rng, **self.options)
        return weight, self.bias_init(self.shapes["bias"], rng=rng)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        weight, bias = params
        if x.shape[-1] != self.n_in:
            raise ValueError(
                f"{self} expects x of shape (..., n, {self.n_in}); got {tuple(x.shape)}"
            )
        shape = x.shape
        x = as_samples(x, weight)
        y = x @ weight
        y += bias[..., None, :]  # the product is ours: an array less
        return _in_shape(y, shape), (x, weight)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        x, weight = cache
        shape = dy.shape
        dy = as_samples(dy, weight)
        dx = _in_shape(dy @ weight.mT, shape) if input_grad else None
        return dx, (x.mT @ dy, total(dy, axis=-2))


class Maxout(Linear):
    r"""Maximum of `num_pieces` affine maps for each output, :math:`y_o=\max_j(xW_{oj}+b_{oj})`.

    A :class:`Linear` layer of ``n_out * num_pieces`` outputs, with as many parameters, then
    :func:`~companion.activations.maxout`.

    Parameters
    ----------
    n_in, n_out : int
    num_pieces : int, default 2
    init, bias_init, **options
        As in :class:`Linear`.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        num_pieces: int = 2,
        init: Callable[..., Any] = initializers.kaiming_normal,
        bias_init: Callable[..., Any] = initializers.zeros,
        **options: Any,
    ) -> None:
        super().__init__(n_in, n_out * num_pieces, init, bias_init, **options)
        self.num_pieces = num_pieces

    def __repr__(self) -> str:
        return f"Maxout({self.n_in}, {self.n_out // self.num_pieces}, {self.num_pieces})"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.n_out // self.num_pieces)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        pieces, cache = super().forward(params, x)
        return activations.maxout(pieces, self.num_pieces), (cache, pieces)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        cache, pieces = cache
        dy = activations.maxout_vjp(dy, pieces, self.num_pieces)
        return super().backward(cache, dy, input_grad=input_grad)


def _in_shape(x: Any, shape: tuple[int, ...]) -> Any:
    """Return x with all but its features in `shape`, if :func:`as_samples` took that away."""
    if len(shape) <= x.ndim:
        return x
    return namespace(x).reshape(x, (*shape[:-1], x.shape[-1]))
