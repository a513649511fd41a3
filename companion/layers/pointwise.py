"""A layer for every function of ``companion.activations``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from companion import activations
from companion.backend import namespace
from companion.layers.base import Layer, along, axes_but


class Activation(Layer):
    """Layer of a function of ``companion.activations``, whose options it takes.

    The backward pass is dy times ``_grad``, or ``_vjp`` where the function is not elementwise.
    """

    function: Callable[..., Any]
    vjp: Callable[..., Any]
    #: The options with their defaults.
    __signature__: inspect.Signature

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options = self.__signature__.bind(*args, **kwargs)
        options.apply_defaults()
        self.options = options.arguments

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{type(self).__name__}({options})"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        none = np.empty((0, *shape[1:]))
        return (shape[0], *self.function(none, **self.options).shape[1:])

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        return self.function(x, **self.options), x

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        return self.vjp(dy, cache, **self.options), ()


def _activation(name: str, function: Callable[..., Any]) -> type[Activation]:
    """Make the layer class of a function that has a ``_vjp`` or a ``_grad``."""
    vjp = getattr(activations, f"{function.__name__}_vjp", None)
    if vjp is None:
        grad = getattr(activations, f"{function.__name__}_grad")

        def vjp(dy: Any, x: Any, **options: Any) -> Any:
            return dy * grad(x, **options)

    _, *options = inspect.signature(function).parameters.values()
    members = {
        "function": staticmethod(function),
        "vjp": staticmethod(vjp),
        "__signature__": inspect.Signature(options),
        "__doc__": f"Layer of :func:`~companion.activations.{function.__name__}`, "
        "whose options it takes.",
    }
    return type(name, (Activation,), members)


Identity = _activation("Identity", activations.identity)
Sigmoid = _activation("Sigmoid", activations.sigmoid)
Hardsigmoid = _activation("Hardsigmoid", activations.hardsigmoid)
Tanh = _activation("Tanh", activations.tanh)
LeCunTanh = _activation("LeCunTanh", activations.lecun_tanh)
Softsign = _activation("Softsign", activations.softsign)
ReLU = _activation("ReLU", activations.relu)
ReLU6 = _activation("ReLU6", activations.relu6)
LeakyReLU = _activation("LeakyReLU", activations.leaky_relu)
CReLU = _activation("CReLU", activations.crelu)
ELU = _activation("ELU", activations.elu)
CELU = _activation("CELU", activations.celu)
SELU = _activation("SELU", activations.selu)
Softplus = _activation("Softplus", activations.softplus)
SiLU = _activation("SiLU", activations.silu)
Hardswish = _activation("Hardswish", activations.hardswish)
Mish = _activation("Mish", activations.mish)
GELU = _activation("GELU", activations.gelu)
GLU = _activation("GLU", activations.glu)
GEGLU = _activation("GEGLU", activations.geglu)
SwiGLU = _activation("SwiGLU", activations.swiglu)
Softmax = _activation("Softmax", activations.softmax)
LogSoftmax = _activation("LogSoftmax", activations.log_softmax)


class Heaviside(Layer):
    """Layer of :func:`~companion.activations.heaviside`.

    Parameters
    ----------
    values : float, default 1.0
        The value at 0.
    estimator : {"none", "identity", "hardtanh"}, default "none"
        What stands for the derivative: see :func:`~companion.activations.heaviside_grad`.
    """

    def __init__(self, values: float = 1.0, estimator: str = "none") -> None:
        activations.heaviside_grad(0.0, estimator=estimator)  # refuses an unknown name
        self.values, self.estimator = values, estimator

    def __repr__(self) -> str:
        return f"Heaviside(values={self.values}, estimator={self.estimator!r})"

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        return activations.heaviside(x, self.values), x

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        return dy * activations.heaviside_grad(cache, estimator=self.estimator), ()


class PReLU(Layer):
    r"""Layer of :func:`~companion.activations.prelu` with learned slopes.

    Parameters
    ----------
    num_parameters : int, default 1
        One slope for all, or one for each of `num_parameters` entries of `axis`.
    init : float, default 0.25
    axis : int, default 1
        That of the features or channels, 0 being the samples; -1 for sequences ``(n, t, d)``.
    """

    parameter = "weight"
    function = staticmethod(activations.prelu)
    grad = staticmethod(activations.prelu_grad)
    parameter_grad = staticmethod(activations.prelu_grad_weight)

    def __init__(self, num_parameters: int = 1, init: float = 0.25, axis: int = 1) -> None:
        if num_parameters < 1:
            raise ValueError(f"num_parameters must be positive; got {num_parameters}")
        self.num_parameters, self.start, self.axis = num_parameters, init, axis
        self.shapes = {self.parameter: (num_parameters,)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_parameters={self.num_parameters}, init={self.start})"

    def init(self, rng: Any) -> tuple[Any, ...]:
        return (np.full(self.num_parameters, self.start),)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        if self.num_parameters > 1:
            axes_but(self.axis, x, params[0], self)
        weight = along(params[0], x, self.axis)
        return self.function(x, weight), (x, weight, params[0].shape)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        x, weight, shape = cache
        xp = namespace(dy)
        shared = tuple(i for i in range(len(shape) - 1, x.ndim) if weight.shape[i] == 1)
        dweight = xp.sum(dy * self.parameter_grad(x, weight), axis=shared)
        return dy * self.grad(x, weight), (xp.reshape(dweight, shape),)


class Swish(PReLU):
    r"""Layer of :func:`~companion.activations.swish` with learned :math:`\beta`.

    Parameters
    ----------
    num_parameters : int, default 1
        As in :class:`PReLU`.
    init : float, default 1.0
    axis : int, default 1
    """

    parameter = "beta"
    function = staticmethod(activations.swish)
    grad = staticmethod(activations.swish_grad)
    parameter_grad = staticmethod(activations.swish_grad_beta)

    def __init__(self, num_parameters: int = 1, init: float = 1.0, axis: int = 1) -> None:
        super().__init__(num_parameters, init, axis)
