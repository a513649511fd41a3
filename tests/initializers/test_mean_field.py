"""The mean-field maps against adaptive quadrature, closed forms and wide networks."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate

from companion import activations as act
from companion.backend import array, ndtr, to_numpy
from companion.initializers import mean_field
from companion.initializers.mean_field import correlation_map, susceptibility, variance_map

PAIRS = {
    "tanh": (act.tanh, act.tanh_grad),
    "sigmoid": (act.sigmoid, act.sigmoid_grad),
    "gelu": (act.gelu, act.gelu_grad),
}


def expectation(f):
    """E f(z) by adaptive quadrature."""
    return integrate.quad(
        lambda z: f(z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
        -14, 14, points=[-0.5, 0.0, 0.5], limit=400, epsabs=1e-14,
    )[0]  # fmt: skip


def check_variance(name="tanh"):
    f, _ = PAIRS[name]
    for q in (0.01, 1.0, 20.0):
        expected = 1.3**2 * expectation(lambda z, q=q: float(f(math.sqrt(q) * z)) ** 2) + 0.4**2
        found = mean_field.variance_map(f, array(np.array([q])), 1.3, 0.4)
        assert_allclose(to_numpy(found), expected, rtol=1e-11)


def check_slope(name="tanh"):
    _, grad = PAIRS[name]
    for q in (0.01, 1.0, 20.0):
        expected = 1.3**2 * expectation(lambda z, q=q: float(grad(math.sqrt(q) * z)) ** 2)
        found = mean_field.susceptibility(grad, array(np.array([q])), 1.3)
        assert_allclose(to_numpy(found), expected, rtol=1e-11)


@pytest.mark.parametrize("name", PAIRS)
def test_variance_and_slope_are_the_integrals(created, name):
    check_variance(name)
    check_slope(name)


def check_relu():
    q = array(np.array([0.3, 2.0]))
    found = to_numpy(mean_field.variance_map(act.relu, q, 1.3, 0.4))
    assert_allclose(found, 1.69 * np.array([0.15, 1.0]) + 0.16, rtol=1e-13)
    found = to_numpy(mean_field.susceptibility(act.relu_grad, q, 1.3))
    assert_allclose(found, 1.69 / 2, rtol=1e-13)


def test_relus_halves_are_exact(created):
    check_relu()


def check_correlation():
    """ReLU's arc-cosine kernel (Cho and Saul 2009), and erf's arcsine (Williams 1997)."""
    c = np.array([-1, -0.5, 0, 0.3, 0.9, 0.999, 1])
    relu = (np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c))) / np.pi
    found = mean_field.correlation_map(act.relu, array(c), 1.7, 2**0.5)
    assert_allclose(to_numpy(found), relu, atol=2e-4)  # the kink's error
    q = 2.5
    expected = np.arcsin(2 * q * c / (1 + 2 * q)) * 2 / np.pi
    length = np.arcsin(2 * q / (1 + 2 * q)) * 2 / np.pi

    def erf(x):
        return 2 * ndtr(x * 2**0.5) - 1

    found = mean_field.correlation_map(erf, array(c), q, 1.5, 0.3)
    both = (1.5**2 * expected + 0.09) / (1.5**2 * length + 0.09)
    assert_allclose(to_numpy(found), both, rtol=1e-10, atol=1e-12)


def test_correlation_is_the_closed_form(created):
    check_correlation()


def test_the_slope_at_one_is_the_susceptibility(created):
    q = 1.0
    for _ in range(300):
        q = variance_map(act.tanh, q, 1.6, 0.3)
    h = 1e-5
    slope = (1 - correlation_map(act.tanh, 1 - h, q, 1.6, 0.3)) / h
    assert_allclose(to_numpy(slope), to_numpy(susceptibility(act.tanh_grad, q, 1.6)), rtol=1e-3)


def test_a_wide_network_does_so():
    rng = np.random.default_rng(0)
    n, sigma_w, sigma_b, c = 2000, 1.8, 0.5, 0.4
    a, b = rng.standard_normal((2, n))
    a, b = (v - v.mean() for v in (a, b))
    b = b - a * (a @ b) / (a @ a)
    a, b = (v / v.std() for v in (a, b))
    z = 1.2 * np.stack([a, c * a + math.sqrt(1 - c * c) * b])  # variance 1.44, correlation 0.4
    w = rng.standard_normal((n, n)) * sigma_w / math.sqrt(n)
    z = np.tanh(z) @ w + rng.standard_normal(n) * sigma_b
    q = variance_map(act.tanh, 1.44, sigma_w, sigma_b)
    assert_allclose((z * z).mean(-1), q, rtol=0.1)
    expected = correlation_map(act.tanh, c, 1.44, sigma_w, sigma_b)
    assert_allclose((z[0] * z[1]).mean() / q, expected, atol=0.07)


def test_arrays_broadcast(created):
    q, sigma = array(np.array([0.5, 1.0, 2.0])), array(np.array([[1.0], [2.0]]))
    found = to_numpy(variance_map(act.tanh, q, sigma, 0.1))
    assert found.shape == (2, 3)
    assert_allclose(found[1, 2], to_numpy(variance_map(act.tanh, 2.0, 2.0, 0.1)), rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variance_map(act.tanh, -1.0, 1.0), "q must not be negative; got -1.0"),
        (lambda: susceptibility(act.tanh, float("nan"), 1.0), "q must not be negative; got nan"),
        (lambda: correlation_map(act.tanh, 1.1, 1.0, 1.0), "c must be from -1 to 1; got 1.1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Planted mistakes ---------------------------------------------------------------------------


def hermite(monkeypatch):
    """A Gauss–Hermite rule, which is too coarse for saturated tanh."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    monkeypatch.setattr(mean_field, "_NODES", nodes)
    monkeypatch.setattr(mean_field, "_WEIGHTS", weights / weights.sum())


def unnormalised(monkeypatch):
    monkeypatch.setattr(mean_field, "_WEIGHTS", np.exp(-(mean_field._NODES**2) / 2) / 20)


def not_squared(monkeypatch):
    monkeypatch.setattr(
        mean_field, "variance_map", lambda f, q, w, b=0.0: w * mean_field._mean(f, q) + b**2
    )
    monkeypatch.setattr(mean_field, "susceptibility", lambda f, q, w: w * mean_field._mean(f, q))


def test_a_node_at_zero_is_caught(monkeypatch, on_numpy):
    """It belongs to neither half, and a jump would lose its weight."""
    nodes = np.arange(-160, 161) / 20
    weights = np.exp(-(nodes**2) / 2)
    monkeypatch.setattr(mean_field, "_NODES", nodes)
    monkeypatch.setattr(mean_field, "_WEIGHTS", weights / weights.sum())
    with pytest.raises(AssertionError):
        check_relu()


@pytest.mark.parametrize("mistake", [hermite, unnormalised, not_squared])
def test_a_wrong_expectation_is_caught(monkeypatch, on_numpy, mistake):
    mistake(monkeypatch)
    for check in (check_variance, check_slope):
        with pytest.raises(AssertionError):
            check()


def test_a_wrong_correlation_is_caught(monkeypatch, on_numpy):
    right = mean_field.correlation_map
    monkeypatch.setattr(mean_field, "correlation_map", lambda f, c, *a: right(f, c * c, *a))
    with pytest.raises(AssertionError):
        check_correlation()
