"""The tape: against torch's autograd, the layers' backward by hand, and central differences."""

import inspect
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from companion import activations, autodiff, layers, losses
from companion.autodiff import Var, grad, hvp, operation, vjp
from companion.backend import array, namespace, to_numpy
from companion.network import Sequential

# Drawn expressions --------------------------------------------------------------------------

SHAPES = [(2, 3), (3,), (2, 1), (), (4, 1, 3)]
# Of operands a and b, in a library m: its derivative is bounded, and it is far from its kinks.
OPERATIONS = {
    "add": lambda m, a, b: a + b,
    "sub": lambda m, a, b: 2.0 - a - b,
    "mul": lambda m, a, b: 0.5 * a * b,
    "div": lambda m, a, b: a / (b * b + 1.5) - 1.0 / (2 + a * a),
    "power": lambda m, a, b: (a * a + 1.0) ** -0.5 + m.tanh(b) ** 3 + b**0 + a**1,
    "exp": lambda m, a, b: m.exp(-a * a),
    "log": lambda m, a, b: m.log(a * a + 2) - b,
    "tanh": lambda m, a, b: m.tanh(a + b),
    "sum": lambda m, a, b: m.sum(a, axis=0, keepdims=True) + b if a.ndim else a,
    "sum all": lambda m, a, b: b - m.sum(a),
    "mean": lambda m, a, b: m.mean(a, axis=(0, -1), keepdims=True) * b if a.ndim > 1 else a,
    "max": lambda m, a, b: a - m.max(a, axis=-1, keepdims=True) if a.ndim else b,
    "where": lambda m, a, b: m.where(a > b, a * b, b) + m.where(a < 0.3, 0.0, b),
    "matmul": lambda m, a, b: a @ b.mT if a.ndim > 1 and b.shape == (2, 3) == a.shape[-2:] else -a,
    "reshape": lambda m, a, b: m.reshape(m.reshape(a, (-1,)), tuple(a.shape)) + a,
    "transpose": lambda m, a, b: m.transpose(m.transpose(a) * 2.0) if a.ndim > 1 else a,
    "index": lambda m, a, b: a[..., :1] + a[0] - b if a.ndim > 1 else a[None, ...],
    "concat": lambda m, a, b: m.concat([a, a * a], axis=0)[1:-1] if a.shape == (2, 3) else b,
}
TORCH = SimpleNamespace(
    tanh=torch.tanh,
    exp=torch.exp,
    log=torch.log,
    sum=lambda x, axis=None, keepdims=False: torch.sum(x, dim=axis, keepdim=keepdims),
    mean=lambda x, axis=None, keepdims=False: torch.mean(x, dim=axis, keepdim=keepdims),
    max=lambda x, axis, keepdims: torch.max(x, dim=axis, keepdim=keepdims).values,
    where=torch.where,
    reshape=torch.reshape,
    transpose=lambda x: x.mT,
    concat=torch.concat,
)

steps = st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 99), st.integers(0, 99))
each_program = given(
    program=st.lists(steps, min_size=1, max_size=12), seed=st.integers(0, 2**32 - 1)
)
some = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def expression(m, program):
    """Return the function of five arrays: every step takes two of all values before it."""

    def f(*leaves):
        values = list(leaves)
        for name, i, j in program:
            a, b = values[i % len(values)], values[j % len(values)]
            try:
                values.append(OPERATIONS[name](m, a, b))
            except (ValueError, RuntimeError):  # the shapes do not fit, nor in any library
                values.append(a * 1.5)
        return m.sum(values[-1]) + m.sum(values[-1] * values[-1]) + 0.1 * m.sum(values[0])

    return f


def leaves_of(seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in SHAPES]


def check_program(ad, program, seed):
    """Hold the gradients to torch's, and their sum in a direction to differences."""
    x = leaves_of(seed)
    f = expression(ad, program)
    got = ad.grad(f)(*map(array, x))
    theirs = [torch.tensor(v, requires_grad=True) for v in x]
    y = expression(TORCH, program)(*theirs)
    want = torch.autograd.grad(y, theirs, allow_unused=True, materialize_grads=True)
    for a, b, v in zip(got, want, x, strict=True):
        assert tuple(a.shape) == v.shape
        scale = 1 + float(b.abs().max())
        assert_allclose(to_numpy(a), b.numpy(), rtol=1e-9, atol=1e-10 * scale)
    return f, x, got


@each_program
@some
def test_gradients_of_drawn_expressions(created, program, seed):
    check_program(autodiff, program, seed)


smooth = [name for name in OPERATIONS if name not in ("max", "where")]
smooth_steps = st.tuples(st.sampled_from(smooth), st.integers(0, 99), st.integers(0, 99))


@given(program=st.lists(smooth_steps, min_size=1, max_size=8), seed=st.integers(0, 2**32 - 1))
@some
def test_second_derivatives_of_drawn_expressions(created, program, seed):
    f, x, got = check_program(autodiff, program, seed)
    rng = np.random.default_rng(seed)
    v = [rng.standard_normal(a.shape) for a in x]
    moved = [array(a + 1e-6 * d) for a, d in zip(x, v, strict=True)]
    back = [array(a - 1e-6 * d) for a, d in zip(x, v, strict=True)]
    slope = (float(f(*moved)) - float(f(*back))) / 2e-6
    terms = [to_numpy(g) * d for g, d in zip(got, v, strict=True)]
    size = 1 + sum(float(np.abs(t).sum()) for t in terms) + abs(float(f(*moved)))
    assert sum(float(t.sum()) for t in terms) == pytest.approx(slope, abs=1e-6 * size)

    # the Hessian in the first argument, against torch's
    def of_first(g, rest):
        return lambda a: g(a, *rest)

    theirs = [torch.tensor(a) for a in x]
    want = torch.autograd.functional.hvp(
        of_first(expression(TORCH, program), theirs[1:]), theirs[0], torch.tensor(v[0])
    )[1]
    hv = hvp(of_first(f, [array(a) for a in x[1:]]), array(x[0]), array(v[0]))
    scale = 1 + float(want.abs().max())
    assert_allclose(to_numpy(hv), want.numpy(), rtol=1e-8, atol=1e-9 * scale)


# Against the layers -------------------------------------------------------------------------


def check_network(ad):
    """Hold a network with cross-entropy, written out, to the backward pass by hand."""
    net = Sequential(layers.Linear(4, 5), layers.Tanh(), layers.Linear(5, 3))
    rng = np.random.default_rng(0)
    theta = net.init(rng, replicas=2) + 0.1
    x, labels = array(rng.standard_normal((6, 4))), np.array([0, 2, 1, 1, 0, 2])
    hit = array(np.eye(3)[labels])

    def loss(x, w1, b1, w2, b2):
        z = ad.tanh(x @ w1 + ad.reshape(b1, (2, 1, 5))) @ w2 + ad.reshape(b2, (2, 1, 3))
        z = z - ad.max(z, axis=-1, keepdims=True)
        log_p = z - ad.log(ad.sum(ad.exp(z), axis=-1, keepdims=True))
        return ad.sum(ad.mean(-ad.sum(log_p * hit, axis=-1), axis=-1))

    dx, *got = ad.grad(loss)(x, *net.unpack(theta).values())
    y, cache = net.forward(theta, x)
    labels = array(labels)
    want_dx, dtheta = net.backward(cache, losses.cross_entropy_grad(y, labels))
    xp = namespace(dx)
    assert_allclose(to_numpy(dx), to_numpy(xp.sum(want_dx, axis=0)), rtol=1e-11, atol=1e-13)
    for a, b in zip(got, net.unpack(dtheta).values(), strict=True):
        assert type(a) is type(theta)
        assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-11, atol=1e-13)


def test_a_network_written_out(created):
    check_network(autodiff)


def test_a_function_with_its_derivative_becomes_an_operation(created):
    gelu = operation(activations.gelu, lambda dy, y, x: dy * activations.gelu_grad(x))
    x = array(np.linspace(-3, 3, 7))
    want = 2 * activations.gelu(x) * activations.gelu_grad(x)
    got = grad(lambda x: autodiff.sum(gelu(x) ** 2))(x)
    assert_allclose(to_numpy(got), to_numpy(want), rtol=1e-14)
    assert type(gelu(x)) is type(x)  # of arrays, a function of arrays as before


# Shapes, indices, ties ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "index", [0, -1, slice(1, None), slice(None, None, 2), (..., 1), (None, slice(1, 3), 0)]
)
def test_indexing(created, index):
    x = array(np.arange(12.0).reshape(4, 3))
    y, pullback = vjp(lambda x: x[index], x)
    assert_array_equal(to_numpy(y), to_numpy(x)[index])
    want = np.zeros((4, 3))
    want[index] = 2.0
    assert_array_equal(to_numpy(pullback(2 * namespace(y).ones_like(y))), want)


def test_indexing_with_arrays(created):
    x = array(np.arange(12.0).reshape(4, 3))
    rows, columns = array(np.array([0, 2, 3])), array(np.array([1, 1, 0]))
    dx = grad(lambda x: autodiff.sum(x[rows, columns] ** 2))(x)
    want = np.zeros((4, 3))
    want[[0, 2, 3], [1, 1, 0]] = 2 * np.array([1, 7, 9])
    assert_array_equal(to_numpy(dx), want)
    dx = grad(lambda x: autodiff.sum(x[x > 4.0]))(x)
    assert_array_equal(to_numpy(dx), np.arange(12.0).reshape(4, 3) > 4)
    with pytest.raises(ValueError, match="index must not name an entry twice"):
        grad(lambda x: autodiff.sum(x[columns, rows - rows]))(x)


def test_the_first_takes_it_at_a_tie(created):
    x = array(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]))
    dx = grad(lambda x: autodiff.sum(autodiff.max(x, axis=1)))(x)
    assert_array_equal(to_numpy(dx), [[0, 1, 0], [1, 0, 0]])
    dx = grad(lambda x: autodiff.sum(autodiff.max(x, axis=0)))(x)
    assert_array_equal(to_numpy(dx), [[0, 1, 1], [1, 0, 0]])


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 0.0, 1.0])
def test_powers_at_zero(created, exponent):
    x = array(np.array([0.0, -2.0]))
    dx = grad(lambda x: autodiff.sum(x**exponent))(x)
    want = [[0, 0], [1, 1], [0, -4], [0, 12]][int(exponent)]
    assert_array_equal(to_numpy(dx), want)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(created, axis):
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((2, 2)) for _ in range(3)]
    y, pullback = vjp(lambda *p: autodiff.concat(p, axis=axis), *map(array, parts))
    assert_array_equal(to_numpy(y), np.concatenate(parts, axis))
    dy = rng.standard_normal(tuple(y.shape))
    for got, want in zip(pullback(array(dy)), np.split(dy, 3, axis), strict=True):
        assert_array_equal(to_numpy(got), want)


def test_broadcast_to_and_its_reverse(created):
    x = array(np.array([[1.0], [2.0]]))
    dx = grad(lambda x: autodiff.sum(autodiff.broadcast_to(x, (4, 2, 3)) ** 2))(x)
    assert_array_equal(to_numpy(dx), [[24], [48]])


def test_arrays_on_the_left_are_constants(created):
    a = array(np.array([[1.0, 2.0], [3.0, 4.0]]))
    x = array(np.array([[5.0, 6.0], [7.0, 8.0]]))
    for f in (lambda x: a + x, lambda x: a - x, lambda x: a * x, lambda x: a / x, lambda x: a @ x):
        y, pullback = vjp(f, x)
        t = torch.tensor(to_numpy(x), requires_grad=True)
        c = torch.tensor(to_numpy(a))
        want = [c + t, c - t, c * t, c / t, c @ t]
        match = [w for w in want if np.allclose(w.detach(), to_numpy(y), rtol=1e-14)]
        (dx,) = torch.autograd.grad(match[0].sum(), t)
        assert_allclose(to_numpy(pullback(namespace(y).ones_like(y))), dx.numpy(), rtol=1e-13)
    assert_array_equal(to_numpy(a > Var(x)), to_numpy(a > x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_and_inputs_are_kept(created, dtype):
    x = array(np.linspace(0.5, 2, 6).reshape(2, 3), dtype=dtype)
    before = to_numpy(x).copy()

    def f(x):
        y = autodiff.tanh(x[1:] ** 2 / 3.0) + autodiff.where(x > 1.0, x, 0.0) - autodiff.log(x)
        return autodiff.mean(autodiff.max(y, axis=1) * autodiff.exp(-y[:, 0]))

    assert dtype in str(grad(f)(x).dtype)
    assert dtype in str(hvp(f, x, x).dtype)
    assert_array_equal(to_numpy(x), before)


def test_only_the_standard_is_used():
    import array_api_strict

    x = np.array([[0.5, 1.5, -2.0], [1.0, 3.0, 0.1]])

    def f(x):
        y = autodiff.tanh(x[1:, :] ** 2 / 3.0) + autodiff.where(x > 1.0, x, 0.0)
        y = y - autodiff.max(y @ x.mT @ x, axis=1, keepdims=True)
        y = autodiff.concat([autodiff.log(y * y + 1.0), -autodiff.exp(x)], axis=0)
        return autodiff.mean(autodiff.sum(autodiff.reshape(y, (-1, 2)), axis=0) / 2.0) ** 2

    # not twice: array_api_strict refuses what it does not know, where it should let Var answer
    strict = array_api_strict.asarray(x)
    got = grad(f)(strict)
    assert type(got) is type(strict)
    assert_allclose(np.asarray(got), grad(f)(x), rtol=1e-12)


# The graph ----------------------------------------------------------------------------------


def test_a_long_chain_needs_no_recursion(created):
    n = 10_000
    assert n > 5 * sys.getrecursionlimit()

    def f(x):
        y = x
        for _ in range(n):
            y = y + 0.001 * x  # the shared leaf receives a gradient from every step
        return y

    assert float(grad(f)(array(np.array(2.0)))) == pytest.approx(1 + n / 1000, rel=1e-10)


def test_shared_subexpressions_are_visited_once():
    calls = []
    double = operation(lambda x: 2 * x, lambda dy, y, x: calls.append(1) or 2 * dy)

    def f(x):
        for _ in range(50):  # 2 ** 50 paths
            x = double(x)
            x = x - 0.75 * x
        return x

    assert grad(f)(1.0) == 2.0**-50
    assert len(calls) == 50


def check_order(ad):
    """The gradient of a node that is used early and late is passed on when all of it is there."""
    x = np.array(0.3)

    def f(x):
        a = ad.tanh(x)
        b = ad.exp(a)
        return a * ad.log(b + a * b) + a

    t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    a = torch.tanh(t)
    (want,) = torch.autograd.grad(a * torch.log(torch.exp(a) + a * torch.exp(a)) + a, t)
    assert float(ad.grad(f)(x)) == pytest.approx(float(want), rel=1e-13)


def test_every_gradient_is_whole_before_it_is_passed_on():
    check_order(autodiff)


def check_nested(ad):
    """Differentiate what differentiates; the two variables are not mixed up."""
    assert float(ad.grad(ad.grad(ad.grad(lambda x: x**4)))(2.0)) == 48
    # d/dx of x d/dy(xy) at y = x is 2x; one x for both would give 4x
    assert float(ad.grad(lambda x: x * ad.grad(lambda y: x * y)(x))(3.0)) == 6
    # the inner point is a number, but the inner function holds the outer x
    assert float(ad.grad(lambda x: x * ad.grad(lambda y: x * y**2)(5.0))(3.0)) == 60
    x, v = np.array([0.5, 1.5]), np.array([1.0, -2.0])
    f = lambda x: ad.sum(ad.tanh(x)) * ad.sum(x**2)  # noqa: E731
    h = 1e-6
    want = (ad.grad(f)(x + h * v) - ad.grad(f)(x - h * v)) / (2 * h)
    assert_allclose(ad.hvp(f, x, v), want, rtol=1e-8)


def test_differentiating_twice():
    check_nested(autodiff)


def test_forward_mode_is_the_pullback_pulled_back(created):
    x, v = array(np.array([0.5, 1.5])), array(np.array([1.0, -2.0]))

    def f(x):
        return autodiff.tanh(x) * autodiff.sum(x)

    y, pullback = vjp(f, x)
    _, push = vjp(pullback, y)
    t = torch.tensor(to_numpy(x))
    _, want = torch.func.jvp(lambda x: torch.tanh(x) * x.sum(), (t,), (torch.tensor(to_numpy(v)),))
    assert_allclose(to_numpy(push(v)), want.numpy(), rtol=1e-13)


def test_what_is_not_used_has_gradient_zero(created):
    x, y = array(np.ones((2, 3))), array(np.ones(4))
    dx, dy = grad(lambda x, y: autodiff.sum(x))(x, y)
    assert_array_equal(to_numpy(dx), np.ones((2, 3)))
    assert_array_equal(to_numpy(dy), np.zeros(4))
    _, pullback = vjp(lambda x: y, x)  # a constant
    assert_array_equal(to_numpy(pullback(y)), np.zeros((2, 3)))


def test_a_pullback_may_be_called_again(created):
    x = array(np.array([1.0, 2.0]))
    y, pullback = vjp(lambda x: x * x, x)
    assert_array_equal(to_numpy(pullback(y)), to_numpy(pullback(y)))
    assert repr(Var(np.array(1.0))) == "Var(array(1.))"


# Bad input ----------------------------------------------------------------------------------


def test_bad_input_is_named(created):
    ones = array(np.ones((2, 3)))
    with pytest.raises(TypeError, match=r"argument 1 must be real floating-point; got dtype .*int"):
        grad(lambda x, n: autodiff.sum(x * n))(ones, array(np.array([1, 2, 3])))
    with pytest.raises(TypeError, match="argument 0 must be real floating-point; got dtype int"):
        grad(lambda x: x)(3)
    with pytest.raises(TypeError, match="argument 0 must be real floating-point; got dtype bool"):
        grad(lambda x: x)([True])
    with pytest.raises(ValueError, match=r"f must return one number; got shape \(2, 3\)"):
        grad(lambda x: x + 1)(ones)
    with pytest.raises(TypeError, match="f must return an array; got tuple"):
        vjp(lambda x: (x, x), ones)
    with pytest.raises(ValueError, match=r"dy must have y's shape \(2, 3\); got \(3,\)"):
        vjp(lambda x: x, ones)[1](ones[0])
    with pytest.raises(ValueError, match="@ takes arrays of two axes or more; got 2 and 1"):
        vjp(lambda x: x @ x[0], ones)
    with pytest.raises(TypeError, match="exponent must be a number"):
        vjp(lambda x: x**x, ones)


# Planted mistakes ---------------------------------------------------------------------------


def mutant(old, new):
    """Return the module with a mistake in its source."""
    source = inspect.getsource(autodiff)
    assert source.count(old) == 1, old
    module = types.ModuleType("mutant")
    exec(compile(source.replace(old, new), "mutant", "exec"), module.__dict__)
    return module


def check_all(ad):
    check_network(ad)
    check_order(ad)
    check_nested(ad)
    names = sorted(OPERATIONS)
    for k, name in enumerate(names):
        check_program(ad, [(name, 0, 1), (name, 0, 5), ("add", 6, k)], seed=k)
        check_program(ad, [("mul", 2, 0), (name, 5, 0), ("tanh", 6, 3)], seed=k)


@pytest.mark.parametrize(
    ("old", "new"),
    {
        "broadcasting not undone": (
            "return reshape(sum(x, axis=axes), shape) if axes else x", "return x"),
        "averaged where it must be summed": (
            "reshape(sum(x, axis=axes)", "reshape(mean(x, axis=axes)"),
        "overwritten instead of added": ("grads[a] + da if a in grads else da", "da"),
        "from the arguments to the result": ("return order[::-1]", "return order"),
        "a node before all that came from it": (
            "    order, seen, stack = [], set(), [(y, False)]",
            "    return _breadth_first(y)\n    order, seen, stack = [], set(), [(y, False)]"),
        "the outer variable taken for a constant": (
            "recorded = any(node.live for node in order)", "recorded = False"),
        "no end to being differentiated": ("leaf.live = False", "pass"),
        "one variable for both": ("return reshape(x, x.shape)", "return x"),
        "tanh' of x": ("dy * (1 - y * y)", "dy * (1 - x * x)"),
        "the sign of a quotient": ("-dy * y / b", "dy * y / b"),
        "minus forgotten": ("lambda dy, y, a, b: -dy)", "lambda dy, y, a, b: dy)"),
        "factors swapped": (
            "lambda dy, y, a, b: dy * b, lambda dy, y, a, b: dy * a",
            "lambda dy, y, a, b: dy * a, lambda dy, y, a, b: dy * b"),
        "the exponent kept": ("n * x ** (n - 1)", "n * x**n"),
        "both branches": ("where(condition, dy, 0.0)", "dy"),
        "mean as a sum": (
            "total / (math.prod(x.shape) / math.prod(total.shape))", "_half(total)"),
    }.values(),
)  # fmt: skip
def test_a_mistake_is_caught(on_numpy, old, new):
    ad = mutant(old, new)
    ad._breadth_first = breadth_first
    ad._half = lambda total: total / 2
    with pytest.raises((AssertionError, ValueError, TypeError)):
        check_all(ad)


def breadth_first(y):
    order, level = [], [y]
    while level:
        order += [node for node in level if node not in order]
        level = [a for node in level for a in node.args if hasattr(a, "rules")]
    return order


def test_without_a_mistake_all_is_well(on_numpy):
    check_all(mutant("return order[::-1]", "return list(reversed(order))"))
