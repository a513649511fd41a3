"""Step 5: every library, dtype and layout of the input gives the same, and bad input is refused."""

import numpy as np
import pytest

from companion import activations as act
from companion import backend
from companion.backend import BLOCK, to_numpy
from companion.registry import REGISTRY
from tests.ladder import checks
from tests.ladder.reference import DTYPES, cases

pytestmark = pytest.mark.filterwarnings("error")

EACH = pytest.mark.parametrize(
    ("row", "setting"),
    [
        pytest.param(REGISTRY[name], i, id=f"{name}-{i}")
        for elementwise in (True, False)
        for name, i in cases(elementwise)
    ],
)


def functions(row, setting):
    """The function, its derivatives, each as a function of x alone."""
    parameters = row.parameters[setting]
    calls = [lambda x: row.function(x, **parameters)]
    if row.elementwise:
        calls += [
            lambda x, f=f: f(x, **parameters) for f in (row.grad, *row.parameter_grads.values())
        ]
    else:
        # a gradient that depends on the entries, so that a mixed-up order is seen
        calls += [lambda x: row.grad(2 * row.function(x, **parameters) + 1, x, **parameters)]
    return calls


def data(*shape, dtype="float64"):
    return (np.random.default_rng(9).normal(size=shape) * 3).astype(dtype)


def same(got, expected, rtol=1e-14):
    got, expected = to_numpy(got), to_numpy(expected)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@EACH
def test_libraries_agree(row, setting, dtype, device):
    x = data(3, 6, dtype=dtype)
    for f in functions(row, setting):
        expected = f(x)
        assert type(expected) is np.ndarray
        for library in ("torch", "array_api_strict"):
            moved = checks.put(x, library, device)
            got = f(moved)
            assert type(got) is type(moved)
            assert got.dtype == moved.dtype
            assert got.device == moved.device
            same(np.asarray(to_numpy(got)), expected, 20 * np.finfo(dtype).eps)


@EACH
def test_layouts_of_memory(row, setting, library, device):
    x = checks.put(data(4, 12), library, device)
    layouts = [x[:, ::2], x[:, 1:7], x.T[:6].T]
    if library == "numpy":  # torch has neither
        frozen = x[:, :6].copy()
        frozen.flags.writeable = False
        layouts += [x[:, 5::-1], np.asfortranarray(x[:, :6]), frozen, x[::-1, :6]]
    for f in functions(row, setting):
        for view in layouts:
            plain = checks.put(to_numpy(view), library, device)
            same(f(view), f(plain))


@EACH
def test_input_is_unchanged(row, setting, library, device):
    x = checks.put(data(4, 6), library, device)
    before = to_numpy(x).copy()
    for f in functions(row, setting):
        y = f(x)
        np.testing.assert_array_equal(to_numpy(x), before)
        if library == "numpy":
            assert not np.shares_memory(x, y)
        else:
            assert x.data_ptr() != y.data_ptr()


@EACH
def test_leading_axes_are_replicas(row, setting, library, device):
    x = data(2, 5, 6)
    for f in functions(row, setting):
        together = to_numpy(f(checks.put(x, library, device)))
        for i in np.ndindex(2, 5):
            one = to_numpy(f(checks.put(x[i], library, device)))
            np.testing.assert_allclose(together[i], one, rtol=1e-14, atol=1e-14)


@EACH
def test_empty(row, setting, library, device):
    for shape in [(0, 6)] + [(0,)] * row.elementwise:
        x = checks.put(np.empty(shape, "float32"), library, device)
        for f in functions(row, setting):
            y = f(x)
            assert y.dtype == x.dtype
            assert y.shape[0] == 0


@checks.each()
def test_no_axes_scalars_and_lists(row, setting, library, device):
    x = data(7)
    for f in functions(row, setting):
        y = f(x)
        for i in (0, 1):
            scalar = f(checks.put(x[i : i + 1].reshape(()), library, device))
            assert scalar.shape == ()
            np.testing.assert_allclose(to_numpy(scalar), y[i], rtol=1e-14)
            for number in (float(x[i]), np.float64(x[i])):
                np.testing.assert_allclose(f(number), y[i], rtol=1e-14)
        same(f(x.tolist()), y)
        assert f([1, 2]).dtype == backend.current().dtype
        assert f(3).dtype == backend.current().dtype


@EACH
def test_integers_become_the_default_float(row, setting, library, device):
    x = np.array([3, -1, 0, 7, 2, -4])
    default = backend.current()
    for dtype in DTYPES:
        backend.use(dtype=dtype)
        try:
            for f in functions(row, setting):
                got = f(checks.put(x, library, device))
                same(got, f(checks.put(x.astype(dtype), library, device)))
        finally:
            backend.use(dtype=default.dtype)


@EACH
def test_half_precision_is_computed_in_float32(row, setting, library, device):
    names = ["float16"] if library == "numpy" else ["float16", "bfloat16"]
    for name in names:
        x = checks.put(data(3, 6).astype("float16").astype("float32"), library, device)
        if library == "numpy":
            half = x.astype(name)
        else:
            import torch

            half = x.to(getattr(torch, name))
            x = half.to(torch.float32)
        for f in functions(row, setting)[:1] + functions(row, setting)[1:] * row.elementwise:
            got, exact = f(half), f(x)
            assert got.dtype == half.dtype
            expected = exact.astype(name) if library == "numpy" else exact.to(half.dtype)
            assert (got == expected).all()


@pytest.mark.parametrize("size", [BLOCK + 1, 3 * BLOCK])
@checks.each()
def test_blocks_equal_small_pieces(row, setting, size):
    x = data(size, dtype="float32")
    for f in functions(row, setting):
        pieces = [f(part) for part in np.split(x, [1000, BLOCK // 2, BLOCK])]
        np.testing.assert_array_max_ulp(f(x), np.concatenate(pieces), 1)
    folded = x[: size // 2 * 2].reshape(2, -1).T  # not contiguous, and larger than a block
    np.testing.assert_array_max_ulp(
        row.function(folded, **row.parameters[setting]),
        row.function(folded.copy(), **row.parameters[setting]),
        1,
    )


@pytest.mark.parametrize(
    ("f", "name", "values"),
    [
        (act.prelu, "weight", [0.25, -0.5, 1.5]),
        (act.prelu_grad, "weight", [0.25, -0.5, 1.5]),
        (act.leaky_relu, "negative_slope", [0.01, 0.3, 1.5]),
        (act.rrelu, "slope", [0.2, 0.3, 0.15]),
        (act.swish, "beta", [0.1, 1.0, -3.0]),
        (act.swish_grad, "beta", [0.1, 1.0, -3.0]),
        (act.swish_grad_beta, "beta", [0.1, 1.0, -3.0]),
        (act.elu, "alpha", [0.5, 1.0, 2.0]),
        (act.celu, "alpha", [0.5, 1.0, 2.0]),
        (act.heaviside, "values", [0.0, 0.5, 1.0]),
    ],
)
def test_parameters_broadcast(f, name, values, library, device):
    x = data(5, 3)
    x[0] = 0.0
    together = to_numpy(
        f(checks.put(x, library, device), **{name: checks.put(np.array(values), library, device)})
    )
    for j, value in enumerate(values):
        alone = to_numpy(f(checks.put(x[:, j], library, device), **{name: value}))
        np.testing.assert_allclose(together[:, j], alone, rtol=1e-14)


@pytest.mark.parametrize("axis", [0, 1, -1, -3])
@checks.each(elementwise=False)
def test_any_axis(row, setting, axis, library, device):
    x = data(6, 6, 6)
    parameters = row.parameters[setting]
    f = lambda x, axis: row.function(x, axis=axis, **parameters)  # noqa: E731
    got = to_numpy(f(checks.put(x, library, device), axis))
    expected = np.moveaxis(f(np.moveaxis(x, axis, -1), -1), -1, axis)
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    dy = np.arange(expected.size, dtype=float).reshape(expected.shape)
    got = to_numpy(
        row.grad(
            checks.put(dy, library, device), checks.put(x, library, device), axis=axis, **parameters
        )
    )
    moved = row.grad(np.moveaxis(dy, axis, -1), np.moveaxis(x, axis, -1), **parameters)
    np.testing.assert_allclose(got, np.moveaxis(moved, -1, axis), rtol=1e-11, atol=1e-11)


# ---------------------------------------------------------------------------------------------
# Bad input


@EACH
@pytest.mark.parametrize(
    ("bad", "came"),
    [
        ("abc", "<U3"),
        (None, "object"),
        ([1j, 2.0], "complex"),
        ([True, False], "bool"),
        ([[1.0, 2.0], [3.0]], "inhomogeneous"),
        ([{}], "object"),
    ],
    ids=["text", "none", "complex", "bool", "ragged", "dict"],
)
def test_what_is_no_real_array(row, setting, bad, came):
    calls = [lambda: row.function(bad, **row.parameters[setting])]
    if row.elementwise:
        calls.append(lambda: row.grad(bad, **row.parameters[setting]))
    else:
        calls.append(lambda: row.grad(np.ones(2), bad, **row.parameters[setting]))
        calls.append(lambda: row.grad(bad, np.ones(6), **row.parameters[setting]))
    for f in calls:
        with pytest.raises((TypeError, ValueError), match=f"(x|dy) must be .*{came}"):
            f()


def test_bool_and_complex_tensors():
    import torch

    for bad in (torch.ones(2, dtype=torch.bool), torch.ones(2, dtype=torch.complex64)):
        with pytest.raises(TypeError, match=r"x must be real .*torch\.(bool|complex64)"):
            act.relu(bad)


X = np.ones((2, 6))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: act.heaviside_grad(X, estimator="sign"), ["estimator", "hardtanh", "'sign'"]),
        (lambda: act.gelu(X, approximate="erf"), ["approximate", "none, tanh, sigmoid", "'erf'"]),
        (lambda: act.gelu_grad(X, approximate="erf"), ["approximate", "'erf'"]),
        (lambda: act.rrelu(X, convention="keras"), ["convention", "'torch' or 'paper'", "'keras'"]),
        (lambda: act.rrelu(X, 0.5, 0.1), ["lower", "upper", "0.5, 0.1"]),
        (lambda: act.rrelu(X, 0.0, 0.1), ["lower", "0 < lower", "0.0"]),
        (lambda: act.sample_rrelu(np.random.default_rng(0), X, -1, 1), ["lower", "-1"]),
        (lambda: act.softmax(X, temperature=0.0), ["temperature", "positive", "0.0"]),
        (lambda: act.softmax(X, temperature=-1.0), ["temperature", "positive", "-1.0"]),
        (lambda: act.log_softmax(X, temperature=float("nan")), ["temperature", "nan"]),
        (lambda: act.softmax_vjp(X, X, temperature=0), ["temperature", "positive", "0"]),
        (lambda: act.softmax(X, axis=2), ["axis", "2 axes", "2"]),
        (lambda: act.softmax(1.0), ["axis", "0 axes", "-1"]),
        (lambda: act.log_softmax(X, axis=-3), ["axis", "2 axes", "-3"]),
        (lambda: act.crelu(X, axis=5), ["axis", "2 axes", "5"]),
        (lambda: act.glu(X, axis=2), ["axis", "2 axes", "2"]),
        (lambda: act.maxout(X, 2, axis=2), ["axis", "2 axes", "2"]),
        (lambda: act.maxout_vjp(X, X, 2, axis=2), ["axis", "2 axes", "2"]),
        (lambda: act.crelu_vjp(X, X, axis=2), ["axis", "2 axes", "2"]),
        (lambda: act.softmax_vjp(X, X, axis=2), ["axis", "2 axes", "2"]),
        (lambda: act.log_softmax_vjp(X, X, axis=2), ["axis", "2 axes", "2"]),
        (lambda: act.glu(np.ones(5)), ["x must", "multiple of 2", "axis 0", "(5,)"]),
        (lambda: act.geglu(np.ones((5, 2)), axis=0), ["axis 0", "multiple of 2", "(5, 2)"]),
        (lambda: act.swiglu_vjp(np.ones(2), np.ones(5)), ["multiple of 2", "(5,)"]),
        (lambda: act.glu_vjp(np.ones(4), np.ones(6)), ["dy", "(3,)", "(4,)"]),
        (lambda: act.maxout(X, 4), ["num_pieces=4", "multiple", "(2, 6)"]),
        (lambda: act.maxout(X, 0), ["num_pieces", "0"]),
        (lambda: act.maxout_vjp(np.ones((2, 2)), X, 2), ["dy", "(2, 3)", "(2, 2)"]),
        (lambda: act.crelu_vjp(np.ones(3), np.ones(2)), ["dy", "4", "(3,)"]),
        (lambda: act.crelu_vjp(np.ones((3, 4)), np.ones((2, 2))), ["dy", "(2, 4)", "(3, 4)"]),
        (lambda: act.softmax_vjp(np.ones(3), np.ones(2)), ["dy", "(2,)", "(3,)"]),
        (lambda: act.log_softmax_vjp(np.ones((1, 2)), X), ["dy", "(2, 6)", "(1, 2)"]),
        (lambda: act.leaky_relu(X, "0.1"), ["negative_slope", "real number", "str"]),
        (lambda: act.leaky_relu(X, None), ["negative_slope", "real number", "NoneType"]),
        (lambda: act.swish(X, beta=1j), ["beta", "real number", "complex"]),
        (lambda: act.prelu(X, np.ones(4)), ["weight", "broadcast", "(4,)", "(2, 6)"]),
        (lambda: act.celu(X, alpha=0.0), ["alpha", "positive", "0.0"]),
        (lambda: act.celu_grad(X, alpha=-1.0), ["alpha", "positive", "-1.0"]),
    ],
)  # fmt: skip
def test_the_message_says_what_is_wrong(call, words):
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_libraries_do_not_mix():
    import torch

    with pytest.raises(TypeError, match="dy and x must be arrays of one library"):
        act.softmax_vjp(np.ones(2), torch.ones(2))
    with pytest.raises(TypeError, match="weight must be a real number or an array of x's library"):
        act.prelu(np.ones(2), torch.ones(2))
    with pytest.raises(TypeError, match="weight must be a real number or an array of x's library"):
        act.prelu(torch.ones(2), np.ones(2))
