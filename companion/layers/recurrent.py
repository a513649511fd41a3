"""Recurrent layers, with backpropagation through time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from companion import initializers
from companion.activations import sigmoid, sigmoid_grad, tanh, tanh_grad
from companion.backend import namespace, pieces, total, zeros_like
from companion.layers.base import Layer, as_samples, check_counts


class _Recurrent(Layer):
    """What recurrent layers share: all their products but one do not wait for the step before.

    The input's share of the pre-activations is one product for all steps, and so are dx and the
    gradients of the weights, once the gradients of the pre-activations are known.
    """

    input_ndim = 3
    #: Pre-activations of each hidden unit.
    gates = 1

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        init: Callable[..., Any],
        recurrent_init: Callable[..., Any] | None,
        options: dict[str, Any],
    ) -> None:
        check_counts("features", n_in=n_in, n_hidden=n_hidden)
        self.n_in, self.n_hidden = n_in, n_hidden
        self.weight_init, self.recurrent_init, self.options = init, recurrent_init, options
        width = self.gates * n_hidden
        self.shapes = {
            "weight_ih": (n_in, width),
            "weight_hh": (n_hidden, width),
            "bias": (width,),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_in}, {self.n_hidden})"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.n_hidden)

    def init(self, rng: Any) -> tuple[Any, ...]:
        first, second, bias = self.shapes.values()
        weight = self.weight_init(first, rng=rng, **self.options)
        if self.recurrent_init is None:
            recurrent = self.weight_init(second, rng=rng, **self.options)
        else:
            recurrent = self.recurrent_init(second, rng=rng)
        return weight, recurrent, np.zeros(bias)

    def _from_input(self, params: tuple[Any, ...], x: Any) -> Any:
        """Return the input's share of the pre-activations, and the bias, for all steps."""
        weight, _, bias = params
        if x.ndim != weight.ndim + 1 or x.shape[-1] != self.n_in or x.shape[-2] < 1:
            raise ValueError(
                f"{self} expects x of shape (..., n, t, {self.n_in}) with t at least 1; "
                f"got {tuple(x.shape)}"
            )
        a = as_samples(x, weight) @ weight + bias[..., None, :]
        return namespace(x).reshape(a, (*x.shape[:-1], a.shape[-1]))

    def _gradients(
        self, params: tuple[Any, ...], x: Any, h: Any, da: list[Any], input_grad: bool
    ) -> tuple[Any, tuple[Any, ...]]:
        """Return dx and the parameters' gradients from those of the pre-activations, by step."""
        xp = namespace(x)
        stacked = xp.stack(da, axis=-2)
        d = as_samples(stacked, params[0])
        dx = xp.reshape(d @ params[0].mT, x.shape) if input_grad else None
        dweight_hh = as_samples(_before(h), params[0]).mT @ d
        return dx, (as_samples(x, params[0]).mT @ d, dweight_hh, total(d, axis=-2))


class RNN(_Recurrent):
    r"""Recurrent layer of Elman, core signature ``(n,t,d),(d,h),(h,h),(h)->(n,t,h)``.

    .. math:: h_t=\tanh(a_t),\qquad a_t=x_tW_{ih}+h_{t-1}W_{hh}+b,\qquad h_0=0

    The output is :math:`h_1,\dots,h_T`. A step's state goes into the output and into the next
    step, so its gradient is a sum, and is known from the last step back to the first:

    .. math:: da_t=(dy_t+da_{t+1}W_{hh}^T)\odot\tanh'(a_t)

    Each weight serves at every step, and its gradient is the sum over them,
    :math:`dW_{hh}=\sum_th_{t-1}^Tda_t`.

    Parameters
    ----------
    n_in, n_hidden : int
        Numbers of features d and of hidden units h.
    init : initializer, default :func:`~companion.initializers.lecun_normal`
        ``init(shape, rng=rng, **options)`` draws both weights, of shapes ``(d, h)`` and
        ``(h, h)``; the bias starts at 0.
    recurrent_init : initializer, optional
        ``recurrent_init(shape, rng=rng)`` draws ``weight_hh`` instead, such as
        :func:`~companion.initializers.orthogonal`.
    **options
        For `init`, such as ``gain``.

    Raises
    ------
    ValueError
        If x does not have the shape ``(..., n, t, d)`` with at least one step.

    Notes
    -----
    The default's standard deviation of :math:`1/\sqrt h` gives :math:`W_{hh}` a spectral radius of
    about 1. PyTorch draws everything from :math:`U(\pm1/\sqrt h)`, a radius of about 0.58, and
    Keras draws an orthogonal :math:`W_{hh}`. PyTorch keeps the transposes of the weights, and two
    biases, of which only the sum counts. Gradients go back through all steps: a sequence that is
    too long for that is cut into several.

    References
    ----------
    Elman (1990), "Finding structure in time". Werbos (1990), "Backpropagation through time: what
    it does and how to do it".

    Examples
    --------
    >>> params = np.ones((1, 1)), np.ones((1, 1)), np.zeros(1)
    >>> RNN(1, 1).forward(params, np.array([[[1.0], [0.0], [0.0]]]))[0].round(3)
    array([[[0.762],
            [0.642],
            [0.566]]])
    """

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        init: Callable[..., Any] = initializers.lecun_normal,
        recurrent_init: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(n_in, n_hidden, init, recurrent_init, options)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        xp, weight_hh = namespace(x), params[1]
        given = self._from_input(params, x)
        h = zeros_like(given[..., 0, :])
        a, y = [], []
        for t in range(x.shape[-2]):
            a.append(given[..., t, :] + h @ weight_hh)
            h = tanh.inner(a[-1])
            y.append(h)
        hs = xp.stack(y, axis=-2)
        return hs, (params, x, xp.stack(a, axis=-2), hs)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        params, x, a, h = cache
        slope = tanh_grad(a)
        weight_hh = params[1].mT
        dh = zeros_like(dy[..., 0, :])
        da = []
        for t in reversed(range(dy.shape[-2])):
            da.append((dy[..., t, :] + dh) * slope[..., t, :])
            dh = da[-1] @ weight_hh
        return self._gradients(params, x, h, da[::-1], input_grad)


class LSTM(_Recurrent):
    r"""Long short-term memory, core signature ``(n,t,d),(d,4h),(h,4h),(4h)->(n,t,h)``.

    .. math::
        c_t=f_t\odot c_{t-1}+i_t\odot g_t,\qquad h_t=o_t\odot\tanh(c_t),\qquad c_0=h_0=0

    .. math::
        i,f,o=\sigma(a^i),\sigma(a^f),\sigma(a^o),\qquad g=\tanh(a^g)

    .. math::
        a_t=x_tW_{ih}+h_{t-1}W_{hh}+b,\qquad a=(a^i,a^f,a^g,a^o)

    The output is :math:`h_1,\dots,h_T`. Backwards, the gradient of the cell is

    .. math:: dc_t=dh_t\odot o_t\odot\tanh'(c_t)+dc_{t+1}\odot f_{t+1}

    with :math:`dh_t=dy_t+da_{t+1}W_{hh}^T`. From one step to the one before it goes through
    :math:`f` alone, with no weight and no squashing function.

    Parameters
    ----------
    n_in, n_hidden : int
        Numbers of features d and of hidden units h.
    forget_bias : float, default 1.0
        Start of the forget gate's bias. With 0 the gate starts near ½, and of a cell's value
        :math:`2^{-10}` is left ten steps later, of its gradient too; with 1 it starts near 0.73.
    init : initializer, default :func:`~companion.initializers.lecun_normal`
        ``init(shape, rng=rng, **options)`` draws both weights, of shapes ``(d, 4h)`` and
        ``(h, 4h)``; the other biases start at 0.
    recurrent_init : initializer, optional
        ``recurrent_init(shape, rng=rng)`` draws ``weight_hh`` instead, such as
        :func:`~companion.initializers.orthogonal`, gate by gate with
        ``stacked(orthogonal, 4)``.
    **options
        For `init`, such as ``gain``.

    Raises
    ------
    ValueError
        If x does not have the shape ``(..., n, t, d)`` with at least one step.

    Notes
    -----
    The gates stand in PyTorch's and Keras' order i, f, g, o. Keras has a forget bias of 1 as well;
    PyTorch draws all biases as it draws the weights, from :math:`U(\pm1/\sqrt h)`, keeps two of
    them, of which only the sum counts, and the transposes of the weights. There are no peepholes.
    Kept for the backward pass are the pre-activations, from which all gates and their derivatives
    are computed for all steps at once, and the cells.

    References
    ----------
    Hochreiter and Schmidhuber (1997), "Long short-term memory". Gers, Schmidhuber and Cummins
    (2000), "Learning to forget", who added the forget gate. Jozefowicz, Zaremba and Sutskever
    (2015), "An empirical exploration of recurrent network architectures", for its bias.

    Examples
    --------
    A cell whose gates are open keeps the sum of its inputs.

    >>> weight_ih, weight_hh = np.array([[0.0, 0.0, 1.0, 0.0]]), np.zeros((1, 4))
    >>> params = weight_ih, weight_hh, np.array([100.0, 100.0, 0.0, 100.0])
    >>> x = np.array([[[0.3], [0.0], [0.2]]])
    >>> y, _ = LSTM(1, 1).forward(params, x)
    >>> np.atanh(y).round(3)
    array([[[0.291],
            [0.291],
            [0.489]]])
    """

    gates = 4

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        forget_bias: float = 1.0,
        init: Callable[..., Any] = initializers.lecun_normal,
        recurrent_init: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(n_in, n_hidden, init, recurrent_init, options)
        self.forget_bias = forget_bias

    def init(self, rng: Any) -> tuple[Any, ...]:
        *weights, bias = super().init(rng)
        bias[self.n_hidden : 2 * self.n_hidden] = self.forget_bias
        return (*weights, bias)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        xp, weight_hh = namespace(x), params[1]
        given = self._from_input(params, x)
        h = c = zeros_like(given[..., 0, : self.n_hidden])
        a, cells, y = [], [], []
        for t in range(x.shape[-2]):
            a.append(given[..., t, :] + h @ weight_hh)
            i, f, g, o = _gates(a[-1])
            c = f * c + i * g
            h = o * tanh.inner(c)
            cells.append(c)
            y.append(h)
        hs = xp.stack(y, axis=-2)
        return hs, (params, x, xp.stack(a, axis=-2), xp.stack(cells, axis=-2), hs)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        params, x, a, c, h = cache
        xp, weight_hh = namespace(dy), params[1].mT
        slopes, to_cell, f = _slopes(a, c)
        dh = dc = zeros_like(dy[..., 0, :])
        da = []
        for t in reversed(range(dy.shape[-2])):
            dh = dy[..., t, :] + dh
            dc = dc + dh * to_cell[..., t, :]
            arriving = zip((dc, dc, dc, dh), slopes, strict=True)
            da.append(xp.concat([d * slope[..., t, :] for d, slope in arriving], axis=-1))
            dc = dc * f[..., t, :]
            dh = da[-1] @ weight_hh
        del slopes, to_cell, f  # as large as what is kept
        return self._gradients(params, x, h, da[::-1], input_grad)


def _slopes(a: Any, c: Any) -> tuple[tuple[Any, Any, Any, Any], Any, Any]:
    """Return the derivatives of all steps: of the cell in a^i, a^f and a^g, and of the output in
    a^o; of the output in the cell; and the forget gate, that of the cell in the one before.
    """
    ai, af, ag, ao = pieces(a, 4, axis=-1)
    slopes = (
        tanh.inner(ag) * sigmoid_grad(ai),
        _before(c) * sigmoid_grad(af),
        sigmoid.inner(ai) * tanh_grad(ag),
        tanh(c) * sigmoid_grad(ao),
    )
    return slopes, sigmoid.inner(ao) * tanh_grad(c), sigmoid.inner(af)


def _gates(a: Any) -> tuple[Any, Any, Any, Any]:
    """Return i, f, g and o from their pre-activations."""
    i, f, g, o = pieces(a, 4, axis=-1)
    return sigmoid.inner(i), sigmoid.inner(f), tanh.inner(g), sigmoid.inner(o)


def _before(h: Any) -> Any:
    """Return the states one step earlier, the first of which is 0."""
    return namespace(h).concat([zeros_like(h[..., :1, :]), h[..., :-1, :]], axis=-2)
