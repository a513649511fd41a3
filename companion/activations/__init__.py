"""Activation functions and their derivatives by hand, on any array API library.

``f(x, ...)`` and, beside it, ``f_grad(x, ...)`` = f'(x) for elementwise functions, or
``f_vjp(dy, x, ...)`` for the others. Formulas stand in four modules, one a section of the book.
"""

from companion.activations.groups import (
    log_softmax,
    log_softmax_vjp,
    maxout,
    maxout_vjp,
    softmax,
    softmax_vjp,
)
from companion.activations.rectifiers import (
    crelu,
    crelu_vjp,
    leaky_relu,
    leaky_relu_grad,
    prelu,
    prelu_grad,
    prelu_grad_weight,
    relu,
    relu6,
    relu6_grad,
    relu_grad,
    rrelu,
    rrelu_grad,
    sample_rrelu,
)
from companion.activations.smooth import (
    celu,
    celu_grad,
    elu,
    elu_grad,
    geglu,
    geglu_vjp,
    gelu,
    gelu_grad,
    glu,
    glu_vjp,
    hardswish,
    hardswish_grad,
    mish,
    mish_grad,
    selu,
    selu_grad,
    silu,
    silu_grad,
    softplus,
    softplus_grad,
    swiglu,
    swiglu_vjp,
    swish,
    swish_grad,
    swish_grad_beta,
)
from companion.activations.squashing import (
    hardsigmoid,
    hardsigmoid_grad,
    heaviside,
    heaviside_grad,
    identity,
    identity_grad,
    lecun_tanh,
    lecun_tanh_grad,
    sigmoid,
    sigmoid_grad,
    softsign,
    softsign_grad,
    tanh,
    tanh_grad,
)

__all__ = [name for name in dir() if not name.startswith("_")]
__all__ = [name for name in __all__ if callable(globals()[name])]
