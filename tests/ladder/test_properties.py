"""Step 6: identities that hold for every input, with inputs sought by hypothesis."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad

from companion import activations as act

settings.register_profile("ladder", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("ladder")

reals = st.floats(-700, 700)
small = st.floats(-30, 30)
xs = arrays(np.float64, st.integers(1, 8), elements=reals)
# logits apart by at least 2^-20, so that adding a shift rounds no difference away
grid = st.integers(-(2**25), 2**25).map(lambda n: n / 2**20)
logits = arrays(np.float64, st.integers(1, 6), elements=grid)

INCREASING = {
    "identity": act.identity, "heaviside": act.heaviside, "sigmoid": act.sigmoid,
    "hardsigmoid": act.hardsigmoid, "tanh": act.tanh, "lecun_tanh": act.lecun_tanh,
    "softsign": act.softsign, "relu": act.relu, "relu6": act.relu6,
    "leaky_relu": act.leaky_relu, "softplus": act.softplus, "elu": act.elu, "celu": act.celu,
    "selu": act.selu,
}  # fmt: skip
GATED = {
    "silu": act.silu,
    "mish": act.mish,
    "gelu": act.gelu,
    "gelu tanh": lambda x: act.gelu(x, "tanh"),
    "hardswish": act.hardswish,
}


@pytest.mark.parametrize("f", INCREASING.values(), ids=INCREASING)
@given(a=reals, b=reals)
def test_increasing(f, a, b):
    low, high = f(np.array([min(a, b), max(a, b)]))
    assert low <= high * (1 + 1e-15 * np.sign(high))


@pytest.mark.parametrize("f", GATED.values(), ids=GATED)
@given(x=reals)
def test_gated_units_lie_between_a_small_dip_and_relu(f, x):
    assert -0.4 < f(x) <= max(x, 0)


@given(x=reals)
def test_ranges(x):
    assert 0 <= act.sigmoid(x) <= 1
    assert 0 < act.sigmoid_grad(x) <= 0.25 * (1 + 1e-15)
    assert abs(act.tanh(x)) <= 1
    assert abs(act.softsign(x)) < 1
    assert 0 <= act.relu6(x) <= 6
    assert act.softplus(x) >= max(x, 0)
    assert act.elu(x) >= -1


@given(x=reals)
def test_the_sigmoid_is_symmetric(x):
    assert math.isclose(act.sigmoid(x) + act.sigmoid(-x), 1, rel_tol=1e-15)
    assert act.sigmoid_grad(x) == act.sigmoid_grad(-x)


@given(x=small)
def test_tanh_is_a_sigmoid(x):
    assert math.isclose(act.tanh(x), 2 * act.sigmoid(2 * x) - 1, abs_tol=4e-16)
    assert math.isclose(act.tanh_grad(x), 4 * act.sigmoid_grad(2 * x), rel_tol=1e-14)


@given(x=reals)
def test_odd_functions(x):
    for f in (act.identity, act.tanh, act.lecun_tanh, act.softsign):
        assert f(-x) == -f(x)


@given(x=reals)
def test_what_adds_up_to_x(x):
    assert math.isclose(act.softplus(x) - act.softplus(-x), x, abs_tol=1e-15)
    assert act.relu(x) - act.relu(-x) == x
    for f in (act.silu, act.gelu, lambda x: act.gelu(x, "tanh"), lambda x: act.swish(x, 3.0)):
        assert math.isclose(f(x) - f(-x), x, rel_tol=1e-14, abs_tol=1e-300)


@given(x=xs)
def test_relu_is_idempotent(x):
    for f in (act.relu, act.relu6):
        np.testing.assert_array_equal(f(f(x)), f(x))


@given(x=reals, a=st.floats(0.0, 3.0))
def test_one_function_written_as_another(x, a):
    assert act.leaky_relu(x, 0.0) == act.relu(x)
    assert act.prelu(x, a) == act.leaky_relu(x, a) == act.rrelu(x, slope=a)
    assert act.leaky_relu(x, 1.0) == x
    if a <= 1:
        assert act.leaky_relu(x, a) == max(a * x, x)
    assert act.silu(x) == pytest.approx(act.swish(x, 1.0), rel=1e-14)
    assert act.swish(x, 0.0) == x / 2
    assert act.celu(x) == act.elu(x)
    assert act.gelu(x, "sigmoid") == act.swish(x, 1.702)
    assert act.hardswish(x) == pytest.approx(x * act.hardsigmoid(x), rel=1e-15)
    assert act.mish(x) == pytest.approx(x * act.tanh(act.softplus(x)), rel=1e-13, abs=1e-300)


@given(x=small)
def test_the_forms_of_gelu_stay_together(x):
    assert abs(act.gelu(x, "tanh") - act.gelu(x)) < 4.8e-4
    assert abs(act.gelu(x, "sigmoid") - act.gelu(x)) < 0.021


@pytest.mark.parametrize(
    "name", ["sigmoid", "tanh", "softsign", "softplus", "celu", "silu", "mish", "gelu", "relu"]
)
@given(a=small, b=small)
@settings(max_examples=15)
def test_a_derivative_integrates_to_the_function(name, a, b):
    f, f_grad = getattr(act, name), getattr(act, f"{name}_grad")
    middle = sorted([a, *(p for p in (-2.0, 0.0, 2.0) if min(a, b) < p < max(a, b)), b])
    rise = sum(quad(f_grad, p, q)[0] for p, q in itertools.pairwise(middle))
    assert math.isclose(rise, f(max(a, b)) - f(min(a, b)), abs_tol=1e-7)


@given(x=xs)
def test_crelu_keeps_everything(x):
    positive, negative = np.split(act.crelu(x), 2)
    np.testing.assert_array_equal(positive - negative, x)
    np.testing.assert_array_equal(positive + negative, np.abs(x))


@given(x=xs, a=st.floats(0.0, 1.0))
def test_maxout_makes_relu_and_leaky_relu(x, a):
    pairs = np.stack([x, 0 * x], -1).reshape(-1)
    np.testing.assert_array_equal(act.maxout(pairs, 2), act.relu(x))
    pairs = np.stack([x, a * x], -1).reshape(-1)
    np.testing.assert_array_equal(act.maxout(pairs, 2), act.leaky_relu(x, a))


@given(x=logits)
def test_softmax_is_a_distribution(x):
    p = act.softmax(x)
    assert (p >= 0).all()
    assert math.isclose(p.sum(), 1, rel_tol=1e-15 * len(x))
    assert np.argmax(p) == np.argmax(x)
    np.testing.assert_allclose(np.exp(act.log_softmax(x)), p, rtol=1e-13)


@given(x=logits, shift=st.integers(-(2**20), 2**20))
def test_softmax_ignores_a_shift(x, shift):
    np.testing.assert_array_equal(act.softmax(x + shift), act.softmax(x))
    np.testing.assert_array_equal(act.log_softmax(x + shift), act.log_softmax(x))


@given(x=logits, temperature=st.floats(0.1, 50))
def test_temperature_divides_the_logits(x, temperature):
    x = x / 8
    hot = act.softmax(x, temperature=temperature)
    np.testing.assert_allclose(hot, act.softmax(x / temperature), rtol=1e-11)
    np.testing.assert_allclose(act.softmax(x, temperature=1e9), 1 / len(x), rtol=1e-7)


@given(x=st.tuples(small, small))
def test_softmax_of_two_is_a_sigmoid(x):
    assert math.isclose(act.softmax(list(x))[0], act.sigmoid(x[0] - x[1]), rel_tol=1e-13)


@given(x=logits, data=st.data())
def test_softmax_vjp_sums_to_zero(x, data):
    dy = data.draw(arrays(np.float64, len(x), elements=st.floats(-10, 10)))
    for vjp in (act.softmax_vjp, act.log_softmax_vjp):
        dx = vjp(dy, x)
        assert abs(dx.sum()) <= 1e-14 * (1 + np.abs(dx).sum())
    np.testing.assert_allclose(act.softmax_vjp(np.ones_like(x), x), 0, atol=1e-15)


@given(x=xs)
def test_glu_is_a_product(x):
    pair = np.concatenate([x, x[::-1]])
    np.testing.assert_array_equal(act.glu(pair), x * act.sigmoid(x[::-1]))
    np.testing.assert_array_equal(act.swiglu(pair), x * act.silu(x[::-1]))
    np.testing.assert_array_equal(act.geglu(pair), x * act.gelu(x[::-1]))


def gaussian_mean(f):
    """Integrate f against the standard normal density."""
    density = lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    return sum(quad(lambda x: float(f(x)) * density(x), *part)[0] for part in ((-12, 0), (0, 12)))


def test_selu_keeps_mean_0_and_variance_1():
    assert abs(gaussian_mean(act.selu)) < 1e-10
    assert abs(gaussian_mean(lambda x: act.selu(x) ** 2) - 1) < 1e-10


def test_gelu_is_the_mean_of_a_stochastic_gate():
    # E[x * (z < x)] over z ~ N(0, 1), the definition of Hendrycks and Gimpel
    x = 0.7
    expected = gaussian_mean(lambda z: x * (z < x))
    assert abs(act.gelu(x) - expected) < 1e-4


def test_lecun_tanh_passes_through_plus_and_minus_1():
    np.testing.assert_allclose(act.lecun_tanh([-1.0, 1.0]), [-1, 1], atol=2e-5)


def test_relu_halves_the_second_moment():
    assert abs(gaussian_mean(lambda x: act.relu(x) ** 2) - 0.5) < 1e-10
