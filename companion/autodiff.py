"""Reverse-mode differentiation in one short file.

Computing with :class:`Var` records which operation made each value, and from which arguments. Then,
from the result back, every node passes the gradient that it received on to its arguments, times
the transposed Jacobian of its operation. Each operation has one such rule for each argument: the
table that begins with ``add`` is all the calculus there is. Its rules are written in its own
operations, so that a gradient can be differentiated again.

There are the operators, ``exp``, ``log``, ``tanh``, ``sum``, ``mean``, ``max``, ``where``,
``reshape``, ``broadcast_to``, ``transpose`` and ``concat``; :func:`operation` makes more. Options
such as ``axis`` are named as in the array API standard.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from companion.backend import namespace, zeros_like


class Var:
    """An array, and the operation and arguments that it came from.

    Arithmetic, ``@``, ``**`` with a number, ``.mT`` and indexing make new nodes; ``<`` and ``>``
    compare the values.
    """

    __array_ufunc__ = None  # has NumPy leave array + Var to Var.__radd__
    mT: Any

    def __init__(self, value: Any, args: Any = (), rules: Any = (), options: Any = None) -> None:
        self.value, self.args, self.rules, self.options = value, args, rules, options or {}
        self.shape, self.ndim = tuple(value.shape), value.ndim
        self.live = False  # an argument of a function that is being differentiated

    def __repr__(self) -> str:
        return f"Var({self.value!r})"


def operation(forward: Callable[..., Any], *rules: Any) -> Callable[..., Any]:
    """Make a function of arrays one of Vars too.

    `rules` has for each array its ``rule(dy, y, *arrays, **options)``, the gradient in it from that
    in y. Where an array was broadcast, the sum over its copies is taken later.

    Examples
    --------
    >>> from companion import activations
    >>> gelu = operation(activations.gelu, lambda dy, y, x: dy * activations.gelu_grad(x))
    >>> float(grad(gelu)(0.0))
    0.5
    """

    def apply(*args: Any, **options: Any) -> Any:
        y = forward(*map(_value, args), **options)
        return Var(y, args, rules, options) if any(isinstance(a, Var) for a in args) else y

    return apply


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Var) else x


def _named(name: str) -> Callable[..., Any]:
    return lambda x, *args, **options: getattr(namespace(x), name)(x, *args, **options)


def _matmul(a: Any, b: Any) -> Any:
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"@ takes arrays of two axes or more; got {a.ndim} and {b.ndim}")
    return a @ b


def _power(x: Any, exponent: Any) -> Any:
    if not isinstance(exponent, (int, float)):
        raise TypeError(f"exponent must be a number; got {type(exponent).__name__}")
    return x**exponent


def _taken(x: Any, index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    if any(hasattr(part, "dtype") or isinstance(part, list) for part in parts):
        xp = namespace(x)
        places = xp.reshape(xp.arange(math.prod(x.shape), device=x.device), x.shape)[index]
        if math.prod(places.shape) > xp.unique_values(places).shape[0]:
            raise ValueError("index must not name an entry twice: take a product with ones and 0s")
    return x[index]


def _put(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    out = namespace(x).zeros(shape, dtype=x.dtype, device=x.device)
    out[index] = x
    return out


def _restored(dy: Any, x: Any, axis: Any) -> Any:
    """Repeat dy along the axes over which x was reduced."""
    axes = range(x.ndim) if axis is None else [a % x.ndim for a in np.atleast_1d(axis)]
    dy = reshape(dy, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))
    return broadcast_to(dy, tuple(x.shape))


def _first_largest(x: Any, axis: int) -> Any:
    x = _value(x)
    xp = namespace(x)
    places = xp.arange(x.shape[axis], device=x.device)
    places = xp.reshape(places, (-1, *(1,) * (x.ndim - 1 - axis % x.ndim)))
    return places == xp.argmax(x, axis=axis, keepdims=True)


add = operation(operator.add, lambda dy, y, a, b: dy, lambda dy, y, a, b: dy)
sub = operation(operator.sub, lambda dy, y, a, b: dy, lambda dy, y, a, b: -dy)
mul = operation(operator.mul, lambda dy, y, a, b: dy * b, lambda dy, y, a, b: dy * a)
div = operation(operator.truediv, lambda dy, y, a, b: dy / b, lambda dy, y, a, b: -dy * y / b)
matmul = operation(
    _matmul, lambda dy, y, a, b: dy @ transpose(b), lambda dy, y, a, b: transpose(a) @ dy
)
# at exponent 0 the rule gives 0, and not 0 times the infinite 0 ** -1
power = operation(_power, lambda dy, y, x, n: dy * (n and n * x ** (n - 1)))
exp = operation(_named("exp"), lambda dy, y, x: dy * y)
log = operation(_named("log"), lambda dy, y, x: dy / x)
tanh = operation(_named("tanh"), lambda dy, y, x: dy * (1 - y * y))
sum = operation(_named("sum"), lambda dy, y, x, axis=None, keepdims=False: _restored(dy, x, axis))
where: Callable[..., Any] = operation(
    _named("where"),
    None,  # the condition is an array of booleans
    lambda dy, y, condition, a, b: where(condition, dy, 0.0),
    lambda dy, y, condition, a, b: where(condition, 0.0, dy),
)
reshape: Callable[..., Any] = operation(
    _named("reshape"), lambda dy, y, x, shape: reshape(dy, tuple(x.shape))
)
broadcast_to = operation(_named("broadcast_to"), lambda dy, y, x, shape: dy)
transpose: Callable[..., Any] = operation(
    _named("matrix_transpose"), lambda dy, y, x: transpose(dy)
)
_getitem = operation(_taken, lambda dy, y, x, index: _scatter(dy, index, tuple(x.shape)))
_scatter: Callable[..., Any] = operation(_put, lambda dy, y, x, index, shape: _getitem(dy, index))


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Mean over `axis`, which is one, several or (None) all."""
    total = sum(x, axis=axis, keepdims=keepdims)
    return total / (math.prod(x.shape) / math.prod(total.shape))


def max(x: Any, axis: int = -1, keepdims: bool = False) -> Any:
    """Largest entry along `axis`; at a tie the first gets all of dy."""
    return sum(where(_first_largest(x, axis), x, 0.0), axis=axis, keepdims=keepdims)


def concat(parts: Any, axis: int = 0) -> Any:
    """Join along `axis`: every part gets its piece of dy."""
    before = (slice(None),) * (axis % parts[0].ndim)
    sizes = [part.shape[axis] for part in parts]
    ends = accumulate(sizes)
    cuts = [(*before, slice(end - n, end), ...) for n, end in zip(sizes, ends, strict=True)]
    rules = [lambda dy, y, *parts, cut=cut: dy[cut] for cut in cuts]
    return operation(lambda *parts: namespace(parts[0]).concat(parts, axis=axis), *rules)(*parts)


for _name, _f in {"add": add, "sub": sub, "mul": mul, "truediv": div, "matmul": matmul}.items():
    setattr(Var, f"__{_name}__", _f)
    setattr(Var, f"__r{_name}__", lambda self, other, f=_f: f(other, self))
for _name, _f in {"pow": power, "getitem": _getitem, "neg": lambda x: mul(x, -1.0)}.items():
    setattr(Var, f"__{_name}__", _f)
for _f in (operator.lt, operator.gt):
    setattr(Var, f"__{_f.__name__}__", lambda self, other, f=_f: f(self.value, _value(other)))
Var.mT = property(transpose)


def vjp(f: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Compute f, and return with its value the function that pulls a gradient back through it.

    Parameters
    ----------
    f : callable
        Of as many arrays as there are `args`, made of the operations of this module.
    *args : array of real floating-point numbers

    Returns
    -------
    y : array
    pullback : callable
        ``pullback(dy)`` is the gradient in the argument, a tuple for several.

    Raises
    ------
    TypeError
        If an argument holds integers, or f returns no array.

    References
    ----------
    Linnainmaa (1970), "The representation of the cumulative rounding error of an algorithm as a
    Taylor expansion of the local rounding errors".

    Examples
    --------
    >>> y, pullback = vjp(lambda a, b: a * b, np.array([1.0, 2.0]), 3.0)
    >>> y, pullback(np.array([1.0, 1.0]))
    (array([3., 6.]), (array([3., 3.]), np.float64(3.0)))
    """
    leaves = [_leaf(a, i) for i, a in enumerate(args)]
    y = f(*leaves)
    for leaf in leaves:
        leaf.live = False
    if not hasattr(y, "shape"):
        raise TypeError(f"f must return an array; got {type(y).__name__}")
    order = _order(y)
    # With the argument of another function in it, this gradient will be differentiated: record it.
    recorded = any(node.live for node in order)
    seen = (lambda x: x) if recorded else _value

    def pullback(dy: Any) -> Any:
        if tuple(dy.shape) != tuple(y.shape):
            raise ValueError(f"dy must have y's shape {tuple(y.shape)}; got {tuple(dy.shape)}")
        grads = dict.fromkeys(order[:1], dy)
        for node in order:
            if node in leaves or node not in grads:
                continue
            dy, args = grads.pop(node), [seen(a) for a in node.args]
            for a, rule in zip(node.args, node.rules, strict=False):  # the rest are options
                if isinstance(a, Var):
                    da = _sum_to(rule(dy, seen(node), *args, **node.options), a.shape)
                    grads[a] = grads[a] + da if a in grads else da
        found = [grads[x] if x in grads else zeros_like(x.value) for x in leaves]
        return tuple(found) if len(found) > 1 else found[0]

    return seen(y), pullback


def grad(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that computes the gradient of f, whose value is one number.

    Of several arguments it is a tuple; otherwise as :func:`vjp`.

    Examples
    --------
    >>> cube = lambda x: x**3
    >>> float(grad(cube)(2.0)), float(grad(grad(cube))(2.0))
    (12.0, 12.0)
    """

    def gradient(*args: Any) -> Any:
        y, pullback = vjp(f, *args)
        if tuple(y.shape) != ():
            raise ValueError(f"f must return one number; got shape {tuple(y.shape)}: take vjp")
        return pullback(namespace(_value(y)).ones_like(_value(y)))

    return gradient


def hvp(f: Callable[..., Any], x: Any, v: Any) -> Any:
    r"""Hessian of f at x times v, :math:`\nabla(v\cdot\nabla f)`: the matrix is never formed.

    Examples
    --------
    >>> hvp(lambda x: sum(x**3), np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    array([6., 0.])
    """
    return grad(lambda x: sum(grad(f)(x) * v))(x)


def _leaf(x: Any, i: int) -> Var:
    if isinstance(x, Var):  # a node of its own, since f may use x in other ways too
        return reshape(x, x.shape)
    x = x if hasattr(x, "dtype") else np.asarray(x)
    if not namespace(x).isdtype(x.dtype, "real floating"):
        raise TypeError(f"argument {i} must be real floating-point; got dtype {x.dtype}")
    leaf = Var(x)
    leaf.live = True
    return leaf


def _order(y: Any) -> list[Var]:
    """Return the nodes that y came from, each after all that came from it."""
    order, seen, stack = [], set(), [(y, False)]
    while stack:
        node, arguments_done = stack.pop()
        if arguments_done:
            order.append(node)
        elif isinstance(node, Var) and node not in seen:
            seen.add(node)
            stack += [(node, True), *((a, False) for a in node.args)]
    return order[::-1]


def _sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting from `shape`: the gradient of what was repeated is the sum."""
    new = x.ndim - len(shape)
    repeated = [new + i for i, n in enumerate(shape) if n == 1 != x.shape[new + i]]
    axes = (*range(new), *repeated)
    return reshape(sum(x, axis=axes), shape) if axes else x
