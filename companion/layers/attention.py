"""What a language model is made of: embeddings of characters and positions, and attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from companion import initializers
from companion.activations import softmax
from companion.backend import inspectable, namespace
from companion.layers.base import Layer, check_counts
from companion.layers.linear import Linear


class Embedding(Layer):
    r"""A learned vector for each of a finite number of things, ``(n,t),(v,d)->(n,t,d)``.

    Row :math:`x_{nt}` of the weight W, which is the product of W with a one-hot row. So the
    gradient of a row is the sum of dy over all places where its index stands. The backward pass
    is the product with the one-hot rows transposed, which adds up indices that repeat. It takes v d
    multiplications a place: little for characters, while for the words of a language libraries
    add row to row instead.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Number of vectors v, and the length d of each. The weight has shape ``(v, d)``.
    init : initializer, default :func:`~companion.initializers.normal`
        ``init(shape, rng=rng, **options)`` draws the weight.
    **options
        For the initializer, such as ``std``.

    Raises
    ------
    TypeError
        If x does not hold integers.
    ValueError
        If an index is not one of 0 to v-1; a negative one does not count from the end. The indices
        themselves are looked at on the CPU only, and not inside a compiled graph.

    Notes
    -----
    Integers have no gradient: dx is None. The standard deviation of 1 is PyTorch's; Keras draws
    from U(-0.05, 0.05), and GPT-2 has a standard deviation of 0.02.

    References
    ----------
    Bengio, Ducharme, Vincent and Jauvin (2003), "A neural probabilistic language model".

    Examples
    --------
    >>> import numpy as np
    >>> weight = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]])
    >>> Embedding(4, 2).forward((weight,), np.array([[3, 0]]))[0]
    array([[[6., 7.],
            [0., 1.]]])
    """

    input_ndim = 2
    takes_shared = True
    takes_integers = True

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        init: Callable[..., Any] = initializers.normal,
        **options: Any,
    ) -> None:
        check_counts("", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight_init, self.options = init, options
        self.shapes = {"weight": (num_embeddings, embedding_dim)}

    def __repr__(self) -> str:
        return f"Embedding({self.num_embeddings}, {self.embedding_dim})"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape, self.embedding_dim)

    def init(self, rng: Any) -> tuple[Any, ...]:
        return (self.weight_init(self.shapes["weight"], rng=rng, **self.options),)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        (weight,) = params
        xp, replicas = namespace(x), weight.shape[:-2]
        x = self._indices(x, len(replicas))
        # the replicas' tables one below the other, so that one call takes rows from all of them
        table = xp.reshape(weight, (-1, self.embedding_dim))
        start = xp.arange(0, table.shape[0], self.num_embeddings, device=x.device)
        rows = x + xp.reshape(start, (*replicas, 1, 1))
        y = xp.take(table, xp.reshape(rows, (-1,)), axis=0)
        return xp.reshape(y, (*rows.shape, self.embedding_dim)), x

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        xp = namespace(dy)
        x = xp.reshape(cache, (*cache.shape[:-2], -1, 1))
        one_hot = x == xp.arange(self.num_embeddings, device=dy.device)
        dy = xp.reshape(dy, (*dy.shape[:-3], -1, self.embedding_dim))
        return None, (xp.astype(one_hot, dy.dtype).mT @ dy,)

    def _indices(self, x: Any, replicas: int) -> Any:
        """Return x as 64-bit integers, if it holds indices."""
        xp = namespace(x)
        if not xp.isdtype(x.dtype, "integral"):
            raise TypeError(f"{self} expects x to hold integers; got dtype {x.dtype}")
        if x.ndim not in (2, replicas + 2):
            raise ValueError(f"{self} expects x of shape (..., n, t); got {tuple(x.shape)}")
        x = xp.astype(x, xp.int64, copy=False)
        if inspectable(x):
            bad = x[(x < 0) | (x >= self.num_embeddings)]
            if bad.shape[0]:
                raise ValueError(
                    f"{self} expects indices 0 to {self.num_embeddings - 1} in x; got {int(bad[0])}"
                )
        return x


class Position(Layer):
    r"""A learned vector for each position, added to x: :math:`y_t=x_t+w_t`, ``(n,t,d)->(n,t,d)``.

    Attention by itself takes no notice of the order: with the positions permuted, its output is
    permuted in the same way. What is at position t has to say so.

    Parameters
    ----------
    t_max : int
        Number of positions; shorter sequences take the first. There is no vector for a later one.
    d : int
        Number of features.
    init : initializer, default :func:`~companion.initializers.normal`
        ``init(shape, rng=rng, **options)`` draws the weight, of shape ``(t_max, d)``.
    **options
        For the initializer, such as ``std``.

    Raises
    ------
    ValueError
        If a sequence is longer than `t_max`, or has another number of features.

    References
    ----------
    Gehring, Auli, Grangier, Yarats and Dauphin (2017), "Convolutional sequence to sequence
    learning". Vaswani et al. (2017) found sines of the position, which are not learned, as good.

    Examples
    --------
    >>> Position(64, 32)
    Position(64, 32)
    """

    input_ndim = 3

    def __init__(
        self, t_max: int, d: int, init: Callable[..., Any] = initializers.normal, **options: Any
    ) -> None:
        check_counts("", t_max=t_max, d=d)
        self.t_max, self.d, self.weight_init, self.options = t_max, d, init, options
        self.shapes = {"weight": (t_max, d)}

    def __repr__(self) -> str:
        return f"Position({self.t_max}, {self.d})"

    def init(self, rng: Any) -> tuple[Any, ...]:
        return (self.weight_init(self.shapes["weight"], rng=rng, **self.options),)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        (weight,) = params
        _check_sequence(self, x, self.d, weight.ndim - 2)
        t = x.shape[-2]
        if t > self.t_max:
            raise ValueError(f"{self} expects at most {self.t_max} positions in x; got {t}")
        return x + weight[..., None, :t, :], None

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        xp = namespace(dy)
        used = xp.sum(dy, axis=-3)
        rest = (*used.shape[:-2], self.t_max - used.shape[-2], self.d)
        dweight = xp.concat([used, xp.zeros(rest, dtype=dy.dtype, device=dy.device)], axis=-2)
        return dy, (dweight,)


class Attention(Layer):
    r"""Multi-head self-attention, core signature ``(n,t,d)->(n,t,d)``.

    The features of each position are mapped to a query, a key and a value, each cut into h heads
    of e = d/h features. In each head, position i takes a mean of all values, the more of the j-th
    the better its key fits the query of i; and the heads' means side by side go through a last
    affine map:

    .. math:: [Q,K,V]=XW_\text{in}+b_\text{in},\qquad
        P=\operatorname{softmax}\Bigl(\frac{QK^T}{\sqrt e}\Bigr),\qquad
        Y=[P_1V_1,\dots,P_hV_h]\,W_\text{out}+b_\text{out}

    Without the scale, the product of two vectors of e independent entries of mean 0 and variance 1
    has variance e: the longer they are, the more the softmax would be that of one key alone.

    With :math:`dO` the gradient in :math:`O=PV` and S the scores before the softmax, whose rows
    each pull back on their own,

    .. math:: dV=P^T\,dO,\qquad dP=dO\,V^T,\qquad
        dS=P\odot\bigl(dP-\operatorname{rowsum}(P\odot dP)\bigr),\qquad
        dQ=\frac{dS\,K}{\sqrt e},\qquad dK=\frac{dS^TQ}{\sqrt e}

    Parameters
    ----------
    d : int
        Number of features.
    num_heads : int
        h, which divides d.
    causal : bool, default False
        Whether position i sees positions up to i only: to the later ones the probability is 0, so
        nothing flows back to them either.
    init : initializer, default :func:`~companion.initializers.xavier_uniform`
        ``init(shape, rng=rng, **options)`` draws both weights; the biases start at 0.
    **options
        For the initializer, such as ``gain``.

    Raises
    ------
    ValueError
        If h does not divide d, or x has another number of features.

    Notes
    -----
    The parameters have the names, and the order of queries, keys, values and heads, that
    ``torch.nn.MultiheadAttention`` gives them; its weights are transposed. It draws the second
    weight from :math:`U(\pm1/\sqrt d)`. Keras keeps, and draws, a weight for each of Q, K and V.

    The backward pass keeps P, of size h t² for each sample. Dao et al. (2022), "FlashAttention",
    keep one number for each row instead, and compute P again, block by block.

    References
    ----------
    Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin (2017), "Attention is
    all you need".

    Examples
    --------
    >>> Attention(8, 2, causal=True).shapes
    {'in_proj_weight': (8, 24), 'in_proj_bias': (24,),
     'out_proj.weight': (8, 8), 'out_proj.bias': (8,)}
    """

    input_ndim = 3

    def __init__(
        self,
        d: int,
        num_heads: int,
        causal: bool = False,
        init: Callable[..., Any] = initializers.xavier_uniform,
        **options: Any,
    ) -> None:
        check_counts("", d=d, num_heads=num_heads)
        if d % num_heads:
            raise ValueError(f"num_heads must divide d, which is {d}; got {num_heads}")
        self.d, self.num_heads, self.causal = d, num_heads, causal
        self.scale = (d // num_heads) ** -0.5
        self.in_proj = Linear(d, 3 * d, init, **options)
        self.out_proj = Linear(d, d, init, **options)
        self.shapes = {f"in_proj_{name}": shape for name, shape in self.in_proj.shapes.items()}
        self.shapes |= {f"out_proj.{name}": shape for name, shape in self.out_proj.shapes.items()}

    def __repr__(self) -> str:
        return f"Attention({self.d}, {self.num_heads}, causal={self.causal})"

    def init(self, rng: Any) -> tuple[Any, ...]:
        return self.in_proj.init(rng) + self.out_proj.init(rng)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        _check_sequence(self, x, self.d, params[0].ndim - 2)
        qkv, x_cache = self.in_proj.forward(params[:2], x)
        qkv = self._to_heads(qkv, 3)
        q, k, v = (qkv[i, ...] for i in range(3))
        p = softmax(self._masked((self.scale * q) @ k.mT))
        y, o_cache = self.out_proj.forward(params[2:], self._from_heads((p @ v)[None, ...]))
        return y, (x_cache, q, k, v, p, o_cache)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        x_cache, q, k, v, p, o_cache = cache
        xp = namespace(dy)
        do, out_grads = self.out_proj.backward(o_cache, dy)
        do = self._to_heads(do, 1)[0, ...]
        dv = p.mT @ do
        dp = do @ v.mT
        ds = p * (dp - xp.sum(p * dp, axis=-1, keepdims=True))
        dq, dk = self.scale * (ds @ k), self.scale * (ds.mT @ q)
        dqkv = self._from_heads(xp.stack([dq, dk, dv]))
        dx, in_grads = self.in_proj.backward(x_cache, dqkv, input_grad=input_grad)
        return dx, in_grads + out_grads

    def _masked(self, scores: Any) -> Any:
        """Set the scores of later positions to -inf, if they are not to be seen."""
        if not self.causal:
            return scores
        xp, t = namespace(scores), scores.shape[-1]
        later = xp.full((t, t), -math.inf, dtype=scores.dtype, device=scores.device)
        return scores + xp.triu(later, k=1)

    def _to_heads(self, x: Any, parts: int) -> Any:
        """Cut the features of x into parts and heads, ``(...,t,parts d)->(parts,...,h,t,e)``."""
        xp = namespace(x)
        x = xp.reshape(x, (*x.shape[:-1], parts, self.num_heads, self.d // self.num_heads))
        return xp.moveaxis(x, (-3, -2), (0, -3))

    def _from_heads(self, x: Any) -> Any:
        """Undo :meth:`_to_heads`."""
        xp, parts = namespace(x), x.shape[0]
        x = xp.moveaxis(x, (0, -3), (-3, -2))
        return xp.reshape(x, (*x.shape[:-3], parts * self.d))


def _check_sequence(layer: Layer, x: Any, d: int, replicas: int) -> None:
    if x.ndim != replicas + 3 or x.shape[-1] != d:
        raise ValueError(f"{layer} expects x of shape (..., n, t, {d}); got {tuple(x.shape)}")
