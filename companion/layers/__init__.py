"""Layers, each with its forward and its backward pass.

A layer names its parameters and their shapes in ``shapes``; the network cuts views of them out of
its one vector. ``forward(params, x) -> (y, cache)`` and ``backward(cache, dy) -> (dx, grads)``
take and return the parameters as tuples in that order. Data are features ``(..., n, d)``, images
``(..., n, c, h, w)`` or sequences ``(..., n, t, d)``: n samples, and before them the axes of the
replicas. A parameter of shape ``(i, o)`` comes as ``(..., i, o)``.
"""

from companion.layers.attention import Attention, Embedding, Position
from companion.layers.base import Layer, Row
from companion.layers.blocks import Residual, ReZero
from companion.layers.convolution import AvgPool2d, Conv2d, Flatten, MaxPool2d
from companion.layers.dropout import Dropout
from companion.layers.linear import Linear, Maxout
from companion.layers.norms import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from companion.layers.pointwise import (
    CELU,
    ELU,
    GEGLU,
    GELU,
    GLU,
    SELU,
    CReLU,
    Hardsigmoid,
    Hardswish,
    Heaviside,
    Identity,
    LeakyReLU,
    LeCunTanh,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    SwiGLU,
    Swish,
    Tanh,
)
from companion.layers.recurrent import LSTM, RNN

__all__ = [n for n in dir() if n[0].isupper()]
