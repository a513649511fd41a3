"""Gradient checks: against exact derivatives, torch's autograd and planted errors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from companion import backend, gradients, layers, losses
from companion.backend import array, to_numpy
from companion.gradients import gradient_check, numerical_gradient
from companion.network import Sequential

finite = st.floats(-100, 100).filter(lambda v: v == 0 or abs(v) > 1e-3)


def small_net():
    """Return a loss of a network of 35 parameters, where it is taken, and the right gradient."""
    net = Sequential(layers.Linear(4, 4), layers.Tanh(), layers.Linear(4, 3))
    rng = np.random.default_rng(0)
    theta, x = net.init(rng), array(rng.standard_normal((6, 4)))
    labels = np.arange(6) % 3
    y, cache = net.forward(theta, x)
    _, grad = net.backward(cache, losses.cross_entropy_grad(y, labels))
    return (lambda t: losses.cross_entropy(net.forward(t, x)[0], labels)), theta, grad


def test_central_differences_of_a_cube_are_off_by_the_square_of_the_step(created):
    x = array([[1.0, -2.0], [0.5, 3.0]])
    for h in (0.5, 0.125):  # (x + h)^3 - (x - h)^3 = 2h (3x^2 + h^2), exactly
        grad = numerical_gradient(lambda x: (x**3).sum(), x, h=h)
        assert_allclose(to_numpy(grad), 3 * to_numpy(x) ** 2 + h**2, rtol=1e-13)


@given(a=finite, b=finite, c=finite, x=finite)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_of_a_parabola_only_rounding_is_left(a, b, c, x):
    x = np.array(x)
    size = abs(a) * x**2 + abs(b * x) + abs(c)
    grad = numerical_gradient(lambda x: a * x**2 + b * x + c, x)
    step = np.finfo(float).eps ** (1 / 3) * max(1, abs(x))
    assert grad == pytest.approx(2 * a * x + b, abs=1e-14 * (1 + size) / step)


def test_agrees_with_autograd(created):
    f, theta, grad = small_net()
    numerical = numerical_gradient(f, theta)
    assert type(numerical) is type(theta)
    assert numerical.dtype == theta.dtype
    backend.use("torch", device="cpu")  # the fixture sets it back
    f, theta, _ = small_net()
    f(theta.requires_grad_()).backward()
    assert_allclose(to_numpy(numerical), theta.grad.numpy(), atol=1e-9)
    assert_allclose(to_numpy(grad), theta.grad.numpy(), atol=1e-14)


def test_float32(created):
    backend.use(dtype="float32")  # the fixture sets it back
    f, theta, grad = small_net()
    assert "float32" in str(numerical_gradient(f, theta).dtype)
    assert_allclose(to_numpy(numerical_gradient(f, theta)), to_numpy(grad), atol=3e-4)
    assert gradient_check(f, theta, grad, rng=np.random.default_rng(0)) < 1e-3


def test_the_step_that_rounding_left_is_the_one_divided_by():
    x = np.array([1000.0], np.float32)  # x + h moves in steps of 6e-5
    assert numerical_gradient(lambda x: x.sum(), x, h=1e-4) == 1


@pytest.mark.parametrize(("shape", "scale"), [((), 1), ((7,), 0.1), ((2, 3), 1e3), ((5000,), 1)])
def test_a_right_gradient_passes_at_any_size(created, shape, scale):
    x = array(scale * np.random.default_rng(0).standard_normal(shape))
    error = gradient_check(lambda x: (x**4).sum(), x, 4 * x**3, rng=np.random.default_rng(1))
    assert error < 1e-6


def test_inputs_are_left_as_they_are(created):
    f, theta, grad = small_net()
    before = [to_numpy(a).copy() for a in (theta, grad)]
    numerical_gradient(f, theta)
    gradient_check(f, theta, grad, rng=np.random.default_rng(0))
    for a, b in zip((theta, grad), before, strict=True):
        np.testing.assert_array_equal(to_numpy(a), b)


@pytest.mark.parametrize("size", [1e-4, 0.01, 1.0])
def test_estimates_the_norm_of_the_error(created, size):
    f, theta, grad = small_net()
    e = np.random.default_rng(2).standard_normal(theta.shape)
    e *= size * np.linalg.norm(to_numpy(grad)) / np.linalg.norm(e)
    wrong = array(to_numpy(grad) + e)
    norms = [np.linalg.norm(to_numpy(g)) for g in (wrong, grad)]
    error = gradient_check(f, theta, wrong, rng=np.random.default_rng(3), directions=2000)
    # the relative standard deviation of a mean of 2,000 squares of normals, halved by the root
    assert error == pytest.approx(np.linalg.norm(e) / max(norms), rel=5 / math.sqrt(2 * 2000))


@pytest.mark.parametrize("entry", range(35))
def test_one_wrong_entry_is_enough(entry):
    f, theta, grad = small_net()
    wrong = grad.copy()
    wrong[entry] += 1e-3
    assert gradient_check(f, theta, wrong, rng=np.random.default_rng(entry)) > 1e-5


def test_gradients_of_zero():
    x, rng = np.ones(4), np.random.default_rng(0)
    assert gradient_check(lambda x: 3.0, x, 0 * x, rng=rng) == 0
    assert gradient_check(lambda x: x.sum(), x, 0 * x, rng=rng) == pytest.approx(1)
    assert gradient_check(lambda x: 3.0, x, x, rng=rng, directions=500) == pytest.approx(1, rel=0.1)


def test_bad_input_is_named():
    x, rng = np.ones(3), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"f must return one number; got shape \(3,\)"):
        numerical_gradient(lambda x: x, x)
    with pytest.raises(ValueError, match="f must return one number"):
        gradient_check(lambda x: x, x, x, rng=rng)
    with pytest.raises(ValueError, match="h must be positive"):
        numerical_gradient(lambda x: x.sum(), x, h=0.0)
    with pytest.raises(ValueError, match=r"grad must have shape \(3,\); got \(2,\)"):
        gradient_check(lambda x: x.sum(), x, np.ones(2), rng=rng)
    with pytest.raises(ValueError, match="directions must be positive; got 0"):
        gradient_check(lambda x: x.sum(), x, x, rng=rng, directions=0)
    with pytest.raises(TypeError, match="x must be real"):
        numerical_gradient(lambda x: x.sum(), np.ones(3, complex))


def forward_difference(f, x, *, h):
    at = to_numpy(x)
    steps = h * np.eye(at.size).reshape(at.size, *at.shape)
    slopes = [float(f(array(at + step)) - f(x)) / h for step in steps]
    return array(np.reshape(slopes, at.shape))


def without_the_half(f, x, *, h):
    return 2 * gradients.numerical_gradient(f, x, h=h)


@pytest.mark.parametrize("mutant", [forward_difference, without_the_half])
def test_mutants_of_the_difference(monkeypatch, created, mutant):
    monkeypatch.setitem(globals(), "numerical_gradient", mutant)
    with pytest.raises(AssertionError):
        test_central_differences_of_a_cube_are_off_by_the_square_of_the_step(created)


def with_unit_directions(f, x, grad, *, rng, directions):
    """Forget that a unit direction sees only a share of the error."""
    v = rng.standard_normal((directions, *x.shape))
    v /= np.linalg.norm(v, axis=-1, keepdims=True)
    slopes = [float(f(x + 1e-5 * d) - f(x - 1e-5 * d)) / 2e-5 for d in v]
    return float(np.sqrt(np.mean((v @ grad - slopes) ** 2)) / np.linalg.norm(grad))


def with_one_direction_for_all(f, x, grad, *, rng, directions):
    return gradients.gradient_check(f, x, grad, rng=rng, directions=1)


@pytest.mark.parametrize("mutant", [with_unit_directions, with_one_direction_for_all])
def test_mutants_of_the_estimate(monkeypatch, mutant):
    monkeypatch.setitem(globals(), "gradient_check", mutant)
    with pytest.raises(AssertionError):
        test_estimates_the_norm_of_the_error(None, 0.01)
