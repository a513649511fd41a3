"""Layers, each with its forward and its backward pass.

A layer names its parameters and their shapes in ``shapes``; the network cuts views of them out of
its one vector. ``forward(params, x) -> (y, cache)`` and ``backward(cache, dy) -> (dx, grads)``
take and return the parameters as tuples in that order. Data are ``(..., n, d)``: n samples of d
features, and before them the axes of the replicas. A parameter of shape ``(i, o)`` comes as
``(..., i, o)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from companion import activations, initializers
from companion.backend import namespace


class Layer:
    """What a layer is, and what those without parameters share."""

    #: Parameters by name, with their shapes, in the order of the vector.
    shapes: dict[str, tuple[int, ...]] = {}  # noqa: RUF012
    #: Whether the first layer of a network takes data without the replicas' axes as they are.
    takes_shared = False

    def init(self, rng: Any) -> tuple[Any, ...]:
        """Draw the initial parameters of one replica, as NumPy arrays."""
        return ()

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        """Return the output, and what the backward pass needs."""
        raise NotImplementedError

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        """Return the gradients in x and in the parameters.

        Where nobody needs the first, ``input_grad=False`` lets a layer leave it out (None).
        """
        raise NotImplementedError


class Linear(Layer):
    r"""Affine map :math:`y=xW+b`, core signature ``(n,i),(i,o),(o)->(n,o)``.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of features. The weight has shape ``(n_in, n_out)``; torch keeps its transpose.
    init : initializer, default :func:`~companion.initializers.kaiming_normal`
        ``init(shape, rng=rng, **options)`` draws the weight; the bias starts at 0.
    **options
        For the initializer, such as ``gain``.

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
        **options: Any,
    ) -> None:
        for name, n in {"n_in": n_in, "n_out": n_out}.items():
            if n < 1:
                raise ValueError(f"{name} must be a positive number of features; got {n}")
        self.n_in, self.n_out, self.weight_init, self.options = n_in, n_out, init, options
        self.shapes = {"weight": (n_in, n_out), "bias": (n_out,)}

    def __repr__(self) -> str:
        return f"Linear({self.n_in}, {self.n_out})"

    def init(self, rng: Any) -> tuple[Any, ...]:
        weight = self.weight_init(self.shapes["weight"], rng=rng, **self.options)
        return weight, np.zeros(self.shapes["bias"])

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        weight, bias = params
        if x.shape[-1] != self.n_in:
            raise ValueError(
                f"{self} expects x of shape (..., n, {self.n_in}); got {tuple(x.shape)}"
            )
        return x @ weight + bias[..., None, :], (x, weight)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        x, weight = cache
        dx = dy @ weight.mT if input_grad else None
        return dx, (x.mT @ dy, namespace(dy).sum(dy, axis=-2))


class Maxout(Linear):
    r"""Maximum of `num_pieces` affine maps for each output, :math:`y_o=\max_j(xW_{oj}+b_{oj})`.

    A :class:`Linear` layer of ``n_out * num_pieces`` outputs, with as many parameters, then
    :func:`~companion.activations.maxout`.

    Parameters
    ----------
    n_in, n_out : int
    num_pieces : int, default 2
    init, **options
        As in :class:`Linear`.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        num_pieces: int = 2,
        init: Callable[..., Any] = initializers.kaiming_normal,
        **options: Any,
    ) -> None:
        super().__init__(n_in, n_out * num_pieces, init, **options)
        self.num_pieces = num_pieces

    def __repr__(self) -> str:
        return f"Maxout({self.n_in}, {self.n_out // self.num_pieces}, {self.num_pieces})"

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        pieces, cache = super().forward(params, x)
        return activations.maxout(pieces, self.num_pieces), (cache, pieces)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        cache, pieces = cache
        dy = activations.maxout_vjp(dy, pieces, self.num_pieces)
        return super().backward(cache, dy, input_grad=input_grad)


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
        One slope for all features, or one for each of `num_parameters` features.
    init : float, default 0.25
    """

    parameter = "weight"
    function = staticmethod(activations.prelu)
    grad = staticmethod(activations.prelu_grad)
    parameter_grad = staticmethod(activations.prelu_grad_weight)

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        if num_parameters < 1:
            raise ValueError(f"num_parameters must be positive; got {num_parameters}")
        self.num_parameters, self.start = num_parameters, init
        self.shapes = {self.parameter: (num_parameters,)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_parameters={self.num_parameters}, init={self.start})"

    def init(self, rng: Any) -> tuple[Any, ...]:
        return (np.full(self.num_parameters, self.start),)

    def forward(self, params: tuple[Any, ...], x: Any) -> tuple[Any, Any]:
        if self.num_parameters not in (1, x.shape[-1]):
            raise ValueError(
                f"{self} expects x of shape (..., n, {self.num_parameters}); got {tuple(x.shape)}"
            )
        weight = params[0][..., None, :]
        return self.function(x, weight), (x, weight)

    def backward(
        self, cache: Any, dy: Any, *, input_grad: bool = True
    ) -> tuple[Any, tuple[Any, ...]]:
        x, weight = cache
        xp = namespace(dy)
        dweight = xp.sum(dy * self.parameter_grad(x, weight), axis=-2)
        if self.num_parameters == 1:  # shared by the features
            dweight = xp.sum(dweight, axis=-1, keepdims=True)
        return dy * self.grad(x, weight), (dweight,)


class Swish(PReLU):
    r"""Layer of :func:`~companion.activations.swish` with learned :math:`\beta`.

    Parameters
    ----------
    num_parameters : int, default 1
        As in :class:`PReLU`.
    init : float, default 1.0
    """

    parameter = "beta"
    function = staticmethod(activations.swish)
    grad = staticmethod(activations.swish_grad)
    parameter_grad = staticmethod(activations.swish_grad_beta)

    def __init__(self, num_parameters: int = 1, init: float = 1.0) -> None:
        super().__init__(num_parameters, init)
