"""The checker of the exercises: right functions pass, wrong ones are told what is wrong."""

import inspect
import math

import numpy as np
import pytest
from scipy.special import erfc, expit

from companion import activations as act
from companion import backend
from companion.registry import ROWS
from companion.teaching import check as checker
from companion.teaching.check import check_answer, check_function
from companion.teaching.mistakes import MISTAKES

FUNCTIONS = [f for row in ROWS for f in (row.function, row.grad, *row.parameter_grads.values())]
KNOWN = [(name, text, f) for name, known in MISTAKES.items() for text, f in known]


def check(name, function, **parameters):
    """Check on the arrays of the backend in force."""
    checker.check(name, function, library=backend.current().library, **parameters)


@pytest.fixture
def arrays(library, device):
    """Arrays of each backend in turn."""
    old = backend.current()
    backend.use(library, device=device if library == "torch" else "cpu", dtype="float64")
    yield library
    backend.use(old.library, device=old.device, dtype=old.dtype)


@pytest.fixture
def numpy_arrays():
    old = backend.current()
    backend.use("numpy", dtype="float64")
    yield
    backend.use(old.library, device=old.device, dtype=old.dtype)


def report(name, function, **parameters):
    """Return the report of a check that fails, its line breaks removed."""
    with pytest.raises(AssertionError) as failure:
        check(name, function, **parameters)
    return " ".join(str(failure.value).split())


def differing(name, function, **parameters):
    """Return the aspects in which a function differs."""
    with pytest.raises(AssertionError) as failure:
        check(name, function, **parameters)
    lines = [line.split() for line in str(failure.value).splitlines()[1:]]
    return [words[0] for words in lines if words[1:] == ["differs"]]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_our_own_functions_pass(function, arrays, capsys):
    check(function.__name__, function)
    line = capsys.readouterr().out
    assert line.startswith(f"{function.__name__}: all ")
    assert line.count("\n") == 1


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_our_own_functions_pass_in_float32(function, arrays):
    backend.use(dtype="float32")
    check(function.__name__, function)


@pytest.mark.parametrize(("name", "text", "mistake"), KNOWN)
def test_every_known_mistake_is_named(name, text, mistake, numpy_arrays):
    assert text in report(name, mistake)


def test_every_row_of_mistakes_is_a_function():
    assert set(MISTAKES) <= {f.__name__ for f in FUNCTIONS}
    for name, text, mistake in KNOWN:
        ours = inspect.signature(getattr(act, name)).parameters
        assert set(inspect.signature(mistake).parameters) <= set(ours), (name, text)


# ---------------------------------------------------------------------------------------------
# Right, though written differently


def masked_sigmoid(x):
    y = np.empty_like(x)
    y[x >= 0] = 1 / (1 + np.exp(-x[x >= 0]))
    y[x < 0] = np.exp(x[x < 0]) / (1 + np.exp(x[x < 0]))
    y[np.isnan(x)] = np.nan
    return y


def clipped_gelu(x):
    return np.maximum(x, -50) * 0.5 * erfc(-x / 2**0.5)


def softmax_by_log(x, axis=-1, temperature=1):
    x = (x - x.max(axis, keepdims=True)) / temperature
    return np.exp(x - np.log(np.exp(x).sum(axis, keepdims=True)))


def jacobian_vjp(dy, x):
    p = softmax_by_log(x)
    jacobian = p[..., None] * np.eye(x.shape[-1], dtype=x.dtype) - p[..., None] * p[..., None, :]
    return (dy[..., None, :] @ jacobian)[..., 0, :]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("sigmoid", masked_sigmoid),
        ("sigmoid", expit),
        ("sigmoid", lambda x: np.exp(-np.logaddexp(0, -x))),
        ("sigmoid_grad", lambda x: expit(x) * expit(-x)),
        ("tanh", np.tanh),
        ("tanh_grad", lambda x: 1 / np.cosh(np.clip(x, -355, 355)) ** 2),
        ("relu", lambda x: x.clip(min=0)),
        ("relu_grad", lambda x: (x > 0).astype(x.dtype)),
        ("leaky_relu", lambda x: np.where(x > 0, x, x * x.dtype.type(0.01))),
        ("softplus", lambda x: np.logaddexp(0, x)),
        ("elu", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
        ("gelu", clipped_gelu),
        ("softmax", softmax_by_log),
        ("softmax_vjp", jacobian_vjp),
        ("log_softmax", lambda x: x - np.logaddexp.reduce(x, -1, keepdims=True)),
        (
            "maxout",
            lambda x, num_pieces: np.stack([x[..., i::num_pieces] for i in range(num_pieces)]).max(
                0
            ),
        ),
        ("glu", lambda x: x[..., : x.shape[-1] // 2] * expit(x[..., x.shape[-1] // 2 :])),
    ],
)
def test_a_right_function_passes_however_it_is_written(name, function, numpy_arrays):
    check(name, function)


# ---------------------------------------------------------------------------------------------
# Wrong


def test_the_naive_sigmoid_differs_in_the_extremes_only(arrays):
    xp = backend.namespace(backend.array(0.0))

    def naive(x):
        return 1 / (1 + xp.exp(-x))

    assert differing("sigmoid", naive) == ["extremes"]
    assert "exp(-x) overflows on the left" in report("sigmoid", naive)


def test_an_unused_branch_of_where_may_overflow(arrays):
    xp = backend.namespace(backend.array(0.0))
    text = report("elu", lambda x: xp.where(x > 0, x, xp.exp(x) - 1))
    assert "720" not in text
    assert "1000 1000 after an overflow" in text
    assert "where() computes both branches" in text


def test_the_textbook_gelu_loses_its_tail(numpy_arrays):
    erf = np.vectorize(math.erf, otypes=[float])
    text = report("gelu", lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))))
    assert "accuracy differs input expected got -40 0" not in text
    assert "1 + erf loses the left tail; use erfc" in text


def test_parameters_are_handed_on(numpy_arrays, capsys):
    check("leaky_relu", lambda x, negative_slope: act.prelu(x, negative_slope), negative_slope=0.2)
    assert capsys.readouterr().out.startswith("leaky_relu with negative_slope=0.2: all 6 checks")
    check(
        "leaky_relu",
        lambda x, negative_slope: np.maximum(x, negative_slope * x),
        negative_slope=0.2,
    )
    assert "a <= 1 only" in report(
        "leaky_relu", lambda x, negative_slope: np.maximum(x, negative_slope * x), negative_slope=2
    )


def test_other_settings_are_tried_of_the_parameters_that_there_are(numpy_arrays):
    def forgot_alpha(x, alpha=1.0):
        return np.exp(np.minimum(x, 0))

    assert differing("elu_grad", forgot_alpha) == ["parameters"]
    assert "with alpha=0.5" in report("elu_grad", forgot_alpha)
    assert "the factor alpha is missing" in report("elu_grad", forgot_alpha)
    check("elu_grad", lambda x: forgot_alpha(x))


@pytest.mark.parametrize(
    ("function", "aspects", "text"),
    [
        (act.relu_grad, None, "this is the derivative, relu_grad"),
        (lambda x: 2 * np.maximum(x, 0), None, "every value is 2 times what is expected"),
        (lambda x: max(x, 0), None, "`if` and `math` take one number"),
        (lambda x: None, None, "returned None: is a return missing?"),
        (lambda x: [x, 1], None, "expected an array of real numbers; got [array([-8."),
        (lambda x: 1 / 0, None, "raised ZeroDivisionError: division by zero"),
        (lambda x: np.maximum(x, np.zeros(1)), ["shapes", "dtype"], "float32 float32 float64"),
        (lambda x: np.maximum(x.ravel(), 0), ["shapes"], "shape (2, 3) shape (2, 3) shape (6,)"),
        (lambda x: np.maximum(x, 0, out=x), ["input"], "work on a copy"),
        (lambda x: np.where(x > 0, x, 0), ["extremes"], "maximum(x, 0) keeps it"),
    ],
)
def test_what_is_wrong_with_a_relu_is_said(function, aspects, text, numpy_arrays):
    assert text in report("relu", function)
    assert aspects in (None, differing("relu", function))


def test_a_difference_is_shown_at_its_input(numpy_arrays):
    text = report("relu", lambda x: np.where(x == 2.5, 7.0, np.maximum(x, 0)).astype(x.dtype))
    assert "values differs input expected got 2.5 2.5 7" in text


def test_enough_digits_are_shown_to_see_the_difference(numpy_arrays):
    text = report("relu", lambda x: np.maximum(x, 0) * (1 + 3e-12 * (x == 2.5)))
    assert "2.5 2.5 2.5000000000075002" in text


def test_a_formula_for_one_number_is_told_so(arrays):
    assert "`if` and `math` take one number" in report("tanh", lambda x: math.tanh(x))
    assert "`if` and `math` take one number" in report("relu", lambda x: x if x > 0 else 0 * x)


def test_a_report_says_each_thing_once(numpy_arrays):
    text = report("tanh_grad", lambda x: 1 - x * x)
    assert text.count("1 - x^2 is right only if x is tanh's value already") == 1


def test_a_function_that_does_not_tell_its_parameters_is_called(numpy_arrays):
    check("tanh", np.tanh)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sigmod", {}, "name must be a registered function, such as sigmoid"),
        ("relu", {"alpha": 1}, "parameters of relu must be among none; got alpha"),
        ("elu", {"a": 1}, "parameters of elu must be among alpha; got a"),
    ],
)
def test_what_does_not_exist_is_refused(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        check(name, np.tanh, **parameters)


# ---------------------------------------------------------------------------------------------
# Answers, and functions that are not in the registry


@pytest.mark.parametrize("got", [0.25, np.float64(0.25), 0.25 * (1 + 1e-7), np.array(0.25)])
def test_a_right_answer(got, capsys):
    check_answer(got, 0.25)
    assert capsys.readouterr().out == "ok: 0.25\n"


def test_an_answer_may_be_an_array_of_the_backend(arrays):
    check_answer(backend.array([1.0, 0.0]), [1.0, 1e-9])


@pytest.mark.parametrize(
    ("got", "expected", "message"),
    [
        (0.5, 0.25, "got 0.5, expected 0.25: 2 times the expected"),
        (-3, 3, "the sign is reversed"),
        ([2.0, 4.0], [0.5, 0.25], "the reciprocal"),
        ([1.0, 2.0], [1.0, 3.0], r"got \[1 2\], expected \[1 3\]$"),
        ([1.0], 1.0, r"got shape \(1,\), expected shape \(\)"),
        (float("nan"), 1.0, "got nan, expected 1$"),
        (1.0, 0.0, "got 1, expected 0$"),
    ],
)
def test_a_wrong_answer(got, expected, message):
    with pytest.raises(AssertionError, match=message):
        check_answer(got, expected)


def test_a_hint_is_shown_with_a_wrong_answer_only(capsys):
    check_answer(1, 1, hint="think")
    assert "think" not in capsys.readouterr().out
    with pytest.raises(AssertionError, match="think"):
        check_answer(2, 1, hint="think")


def pair(x, n):
    return x + n, x * n


def test_functions_are_compared_on_inputs(arrays, capsys):
    inputs = [([1.0, 2.0], 3), (np.ones((2, 2)), 0)]
    check_function(lambda x, n: (n + x, n * x), pair, inputs)
    assert capsys.readouterr().out == "pair: agrees on all 2 inputs\n"
    with pytest.raises(
        AssertionError, match=r"pair: differs at input 1 of 2\n.*\n.*\[1, 0\].* 3 .* 9"
    ):
        check_function(lambda x, n: (n + x, n * n * x), pair, inputs)
    with pytest.raises(AssertionError, match="got shapes"):
        check_function(lambda x, n: (n + x, 0.0), pair, inputs)
    with pytest.raises(AssertionError, match="raised ZeroDivisionError"):
        check_function(lambda x, n: (n + x, x * (n / 0)), pair, inputs)


def test_the_inputs_are_not_changed():
    x = np.ones(3)

    def writes(x):
        x *= 2
        return x

    check_function(writes, lambda x: 2 * x, [x])
    assert (x == 1).all()
