"""Step 7: planted mistakes, each of which the very checks of the other steps must catch."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from companion import activations as act
from companion.backend import namespace
from companion.registry import REGISTRY
from tests.ladder import checks


def mutant(name, **wrong):
    """Return the row of `name` with something wrong in it."""
    return replace(REGISTRY[name], **wrong)


def value(row, dtype="float64", setting=0):
    checks.check_value(row, setting, dtype, "numpy")


def derivative(row, dtype="float64", setting=0):
    checks.check_derivative(row, setting, dtype, "numpy")


def kinks(row):
    checks.check_kinks(row, "float64", "numpy")


def quietly(f):
    def function(*args, **kwargs):
        with np.errstate(all="ignore"):
            y = f(*args, **kwargs)
        return y.astype(args[-1].dtype)

    return function


def tied_maxout_vjp(dy, x, num_pieces):
    groups = x.reshape(*x.shape[:-1], -1, num_pieces)
    top = groups == groups.max(-1, keepdims=True)
    return (dy[..., None] * top / top.sum(-1, keepdims=True)).reshape(x.shape)


def naive_softmax(x, temperature=1.0):
    return np.exp(x / temperature) / np.exp(x / temperature).sum(-1, keepdims=True)


def relu_from_where(x):
    xp = namespace(x)
    return xp.where(x > 0, x, xp.zeros_like(x)) + 0 * xp.sqrt(x)


def sigmoid_from_abs(x):
    xp = namespace(x)
    t = xp.exp(-xp.abs(x))
    return xp.where(x > 0, 1 / (1 + t), t / (1 + t))


ELEMENTWISE = {
    "sigmoid: 1 - sigmoid(-x)":
        ("sigmoid", "function", lambda x: 1 - 1 / (1 + np.exp(x)), value),
    "sigmoid': p(1 - p)":
        ("sigmoid", "grad", lambda x: act.sigmoid(x) * (1 - act.sigmoid(x)), derivative),
    "tanh': 1 - tanh":
        ("tanh", "grad", lambda x: 1 - act.tanh(x), derivative),
    "tanh': 1 - tanh^2":
        ("tanh", "grad", lambda x: 1 - act.tanh(x) ** 2, derivative),
    "hardsigmoid with the slope 0.2 of Keras 2":
        ("hardsigmoid", "function", lambda x: np.clip(0.2 * x + 0.5, 0, 1), value),
    "relu'(0) = 1":
        ("relu", "grad", lambda x: (x >= 0) * 1.0, kinks),
    "relu6'(6) = 1":
        ("relu6", "grad", lambda x: (x > 0) * (x <= 6) * 1.0, kinks),
    "leaky_relu with the slope on the right":
        ("leaky_relu", "function", lambda x: np.where(x > 0, 0.01 * x, x), value),
    "leaky_relu': the slope on both sides":
        ("leaky_relu", "grad", lambda x: np.full_like(x, 0.01), derivative),
    "softplus: log(1 + e^x)":
        ("softplus", "function", lambda x: np.log(1 + np.exp(x)), value),
    "softplus: x above the threshold of 20":
        ("softplus", "function", lambda x: np.where(x > 20, x, act.softplus(x)), value),
    "elu: e^x - 1":
        ("elu", "function", lambda x: np.where(x > 0, x, np.exp(x) - 1), value),
    "elu': f + alpha":
        ("elu", "grad", lambda x: np.where(x > 0, 1, act.elu(x) + 1), derivative),
    "selu without the scale":
        ("selu", "function", lambda x: act.elu(x, 1.6732632423543772848), value),
    "silu' without the term of x":
        ("silu", "grad", act.sigmoid, derivative),
    "mish' without the factor of softplus'":
        ("mish", "grad",
         lambda x: act.tanh(act.softplus(x)) + x * act.tanh_grad(act.softplus(x)), derivative),
    "gelu: x(1 + erf)/2":
        ("gelu", "function", lambda x: x * (1 + special.erf(x / np.sqrt(2))) / 2, value),
    "gelu' without the density":
        ("gelu", "grad", lambda x: act.gelu(x) / x, derivative),
    "gelu' with x^2 rounded before the exponential":
        ("gelu", "grad",
         lambda x: special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi), derivative),
}  # fmt: skip


@pytest.mark.parametrize(("name", "which", "wrong", "check"), ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_a_wrong_formula_is_caught(name, which, wrong, check):
    check(REGISTRY[name])
    with pytest.raises(AssertionError):
        check(mutant(name, **{which: quietly(wrong)}))


def test_elu_grad_that_forgets_alpha_is_caught():
    row = mutant("elu", grad=quietly(lambda x, alpha=1.0: act.elu_grad(x)))
    derivative(row)
    with pytest.raises(AssertionError):
        derivative(row, setting=1)


def test_prelu_as_a_maximum_is_caught_at_slopes_above_1():
    row = mutant("prelu", function=quietly(lambda x, weight: np.maximum(x, weight * x)))
    value(row, setting=0)
    with pytest.raises(AssertionError):
        value(row, setting=1)


def test_rrelu_with_the_mean_slope_of_torch_is_caught_under_the_papers_convention():
    row = mutant("rrelu", function=lambda x, convention="torch": act.leaky_relu(x, 11 / 48))
    value(row)
    with pytest.raises(AssertionError):
        value(row, setting=2)


def test_gelu_that_ignores_its_form_is_caught():
    row = mutant("gelu", function=lambda x, approximate="none": act.gelu(x))
    value(row)
    with pytest.raises(AssertionError):
        value(row, setting=1)


def test_swish_grad_beta_with_x_for_its_square_is_caught():
    wrong = quietly(lambda x, beta=1.0: x * act.sigmoid(beta * x) * act.sigmoid(-beta * x))
    row = mutant("swish", parameter_grads={"beta": wrong})
    with pytest.raises(AssertionError):
        checks.check_parameter_grads(row, 0, "float64", "numpy")


AXES = {
    "softmax without the shift":
        ("softmax", "function", naive_softmax, checks.check_vector_value),
    "softmax, the rounding of the shift left in":
        ("softmax", "function",
         lambda x: naive_softmax(x - x.max(-1, keepdims=True)), checks.check_vector_value),
    "log_softmax: log of softmax":
        ("log_softmax", "function", lambda x: np.log(act.softmax(x)), checks.check_vector_value),
    "softmax': the diagonal alone":
        ("softmax", "grad", lambda dy, x: dy * act.softmax(x) * (1 - act.softmax(x)),
         checks.check_vjp),
    "log_softmax': 1 - p of a saturated entry":
        ("log_softmax", "grad", lambda dy, x: dy - act.softmax(x) * dy.sum(-1, keepdims=True),
         checks.check_vjp),
    "glu with the gate in the first half":
        ("glu", "function", lambda x: act.glu(np.roll(x, x.shape[-1] // 2, -1)),
         checks.check_vector_value),
    "geglu': the halves of the gradient swapped":
        ("geglu", "grad", lambda dy, x: np.roll(act.geglu_vjp(dy, x), x.shape[-1] // 2, -1),
         checks.check_vjp),
    "crelu: the sign of the second half kept":
        ("crelu", "function", lambda x: np.concatenate([act.relu(x), -act.relu(-x)], -1),
         checks.check_vector_value),
    "crelu': the second half added":
        ("crelu", "grad",
         lambda dy, x: dy[..., : x.shape[-1]] * (x > 0) + dy[..., x.shape[-1] :] * (x < 0),
         checks.check_vjp),
}  # fmt: skip


@pytest.mark.parametrize(("name", "which", "wrong", "check"), AXES.values(), ids=AXES)
def test_a_wrong_function_of_an_axis_is_caught(name, which, wrong, check):
    check(REGISTRY[name], 0, "float64", "numpy")
    with pytest.raises(AssertionError):
        check(mutant(name, **{which: quietly(wrong)}), 0, "float64", "numpy")


def test_maxout_that_shares_a_tie_is_caught():
    row = mutant("maxout", grad=quietly(tied_maxout_vjp))
    checks.check_vjp(row, 0, "float64", "numpy")  # right off the ties
    checks.check_tie(REGISTRY["maxout"], 0, "numpy")
    with pytest.raises(AssertionError):
        checks.check_tie(row, 0, "numpy")


@pytest.mark.parametrize(
    ("name", "wrong"), [("sigmoid", sigmoid_from_abs), ("relu", relu_from_where)]
)
def test_a_formula_that_breaks_autograd_is_caught(name, wrong):
    checks.check_autograd(REGISTRY[name], 0)
    with pytest.raises(AssertionError):
        checks.check_autograd(mutant(name, function=wrong), 0)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("gelu", lambda x: act.gelu(x) / x),
        ("softmax", lambda dy, x: dy * act.softmax(x) * (1 - act.softmax(x))),
        # right, but in a form that torch cannot differentiate again
        ("tanh", lambda x: act.tanh_grad(x.detach())),
    ],
)
def test_a_derivative_that_gradcheck_refuses_is_caught(name, wrong):
    checks.check_gradcheck(REGISTRY[name], 0)
    with pytest.raises(AssertionError):
        checks.check_gradcheck(mutant(name, grad=wrong), 0)


def test_what_breaks_at_the_extremes_is_caught():
    row = mutant("silu", function=quietly(lambda x: x * act.sigmoid(x)))  # -inf * 0
    value(row)
    with pytest.raises(AssertionError):
        checks.check_limits(row, 0, "float64", "numpy")
    row = mutant("relu", function=quietly(lambda x: np.where(x > 0, x, 0)))  # nan > 0 is false
    value(row)
    with pytest.raises(AssertionError):
        checks.check_nan(row, 0, "float64", "numpy")
