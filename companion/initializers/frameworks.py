"""What the layers of PyTorch and Keras start from when nobody says anything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from companion.initializers.independent import fans, normal, uniform, xavier_uniform
from companion.initializers.structured import orthogonal


def pytorch(layer: Any, rng: Any) -> tuple[Any, ...]:
    r"""Draw a layer's parameters as PyTorch does by default.

    ==============  ================================================================
    linear, Conv2d  weights and biases :math:`U(\pm1/\sqrt{n_{in}})`
    RNN, LSTM       all :math:`U(\pm1/\sqrt h)`; the bias is the sum of two such
    Embedding       :math:`N(0,1)`
    Attention       ``in_proj`` Xavier's uniform over ``(d, 3d)``; ``out_proj``
                    :math:`U(\pm1/\sqrt d)`; biases 0
    PReLU           0.25
    ==============  ================================================================

    The first line is written ``kaiming_uniform_(weight, a=math.sqrt(5))`` there. It is neither
    He's rule nor Xavier's: :math:`\sqrt5` stands for no slope, it is what makes
    :math:`\sqrt{6/((1+a^2)n)}` into :math:`1/\sqrt n`, the rule of Lua Torch. The variance is
    :math:`1/(3n)`, a sixth of He's.

    Parameters
    ----------
    layer : Layer
    rng : numpy.random.Generator

    Returns
    -------
    tuple of float64 arrays
        In the order of ``layer.shapes``. What is not in the table, such as a normalisation, starts
        as it does here anyway.

    Examples
    --------
    For a network, ``net.init(rng, draw=pytorch)``.

    >>> from companion.layers import Linear
    >>> weight, bias = pytorch(Linear(25, 100), np.random.default_rng(0))
    >>> bool(abs(weight).max() <= 0.2), bool(0.1 < abs(bias).max() <= 0.2)
    (True, True)
    """
    kind, shapes = _kind(layer), layer.shapes
    if kind in ("Linear", "Conv2d"):
        bound = 1 / math.sqrt(fans(_layout(layer))[0])
        return tuple(_within(bound, shape, rng) for shape in shapes.values())
    if kind in ("RNN", "LSTM"):
        bound = 1 / math.sqrt(layer.n_hidden)
        *weights, bias = (_within(bound, shape, rng) for shape in shapes.values())
        return (*weights, bias + _within(bound, bias.shape, rng))
    if kind == "Embedding":
        return (normal(shapes["weight"], rng=rng),)
    if kind == "Attention":
        joint, joint_bias, last, last_bias = shapes.values()
        first = xavier_uniform(joint, rng=rng)
        second = _within(1 / math.sqrt(last[0]), last, rng)
        return first, np.zeros(joint_bias), second, np.zeros(last_bias)
    if kind == "PReLU":
        return (np.full(shapes["weight"], 0.25),)
    return tuple(layer.init(rng))


def keras(layer: Any, rng: Any) -> tuple[Any, ...]:
    r"""Draw a layer's parameters as Keras does by default.

    ==============  ================================================================
    linear, Conv2d  Glorot's uniform weights, biases 0
    RNN, LSTM       ``weight_ih`` Glorot's uniform, ``weight_hh`` orthogonal, both over all
                    gates at once; biases 0, the LSTM's forget gate 1
    Embedding       :math:`U(\pm0.05)`
    Attention       Glorot's uniform, with the fans that its arrays of three axes have
                    there: ``(d, m, e)`` for m heads of queries counts d as a kernel, so that
                    the variance is :math:`2/(dm+de)`; ``(m, e, d)`` for the output; biases 0
    PReLU           0
    ==============  ================================================================

    Parameters
    ----------
    layer : Layer
    rng : numpy.random.Generator

    Returns
    -------
    tuple of float64 arrays
        In the order of ``layer.shapes``. What is not in the table, such as a normalisation, starts
        as it does here anyway.

    Examples
    --------
    For a network, ``net.init(rng, draw=keras)``.

    >>> from companion.layers import LSTM
    >>> keras(LSTM(3, 2), np.random.default_rng(0))[2]
    array([0., 0., 1., 1., 0., 0., 0., 0.])
    """
    kind, shapes = _kind(layer), layer.shapes
    if kind in ("Linear", "Conv2d"):
        bound = math.sqrt(6 / sum(fans(_layout(layer))))
        weight = _within(bound, shapes["weight"], rng)
        return weight, np.zeros(shapes["bias"])
    if kind in ("RNN", "LSTM"):
        bias, n = np.zeros(shapes["bias"]), layer.n_hidden
        if kind == "LSTM":
            bias[n : 2 * n] = 1
        first = xavier_uniform(shapes["weight_ih"], rng=rng)
        return first, orthogonal(shapes["weight_hh"], rng=rng), bias
    if kind == "Embedding":
        return (_within(0.05, shapes["weight"], rng),)
    if kind == "Attention":
        joint, joint_bias, last, last_bias = shapes.values()
        d, heads = layer.d, layer.num_heads
        before = sum(fans((d, heads, d // heads)))
        after = sum(fans((heads, d // heads, d)))
        first = _within(math.sqrt(6 / before), joint, rng)
        second = _within(math.sqrt(6 / after), last, rng)
        return first, np.zeros(joint_bias), second, np.zeros(last_bias)
    if kind == "PReLU":
        return (np.zeros(shapes["weight"]),)
    return tuple(layer.init(rng))


def _kind(layer: Any) -> str:
    """Return the name under which a framework has the layer.

    By name, since layers import initializers.
    """
    name = type(layer).__name__
    return "Linear" if name == "Maxout" else name


def _layout(layer: Any) -> tuple[int, ...]:
    """Return the shape ``(..., n_in, n_out)`` of a linear or convolutional layer's weight."""
    shape = layer.shapes["weight"]
    return (*shape[2:], shape[1], shape[0]) if len(shape) > 2 else shape


def _within(bound: float, shape: Any, rng: Any) -> Any:
    return uniform(shape, rng=rng, low=-bound, high=bound)
