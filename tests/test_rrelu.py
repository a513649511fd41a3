"""The random slopes of RReLU: range, mean, shape, and the same for both libraries."""

import numpy as np
import pytest

from companion.activations import rrelu, rrelu_grad, sample_rrelu
from companion.backend import to_numpy
from tests.ladder.checks import put

X = np.zeros((200, 500))


def slopes(**arguments):
    return sample_rrelu(np.random.default_rng(1), X, **arguments)


@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize(("lower", "upper"), [(1 / 8, 1 / 3), (0.1, 0.2), (0.25, 0.25)])
def test_slopes_lie_within_the_bounds(convention, lower, upper):
    a = slopes(lower=lower, upper=upper, convention=convention)
    assert a.shape == X.shape
    assert lower * (1 - 1e-15) <= a.min() <= a.max() <= upper * (1 + 1e-15)


def test_the_slope_or_its_reciprocal_is_uniform():
    for convention, values, low, high in (
        ("torch", slopes(), 1 / 8, 1 / 3),
        ("paper", 1 / slopes(convention="paper"), 3, 8),
    ):
        unit = (values - low) / (high - low)
        # four standard errors of the mean and of the variance of 1e5 uniform numbers
        assert abs(unit.mean() - 1 / 2) < 4 * np.sqrt(1 / 12 / X.size), convention
        assert abs(unit.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / X.size), convention


def test_inference_takes_the_mean_slope_of_torch_and_the_mean_reciprocal_of_the_paper():
    assert abs(slopes().mean() - -rrelu(-1.0)) < 1e-3
    assert (
        abs((1 / slopes(convention="paper")).mean() - 1 / -rrelu(-1.0, convention="paper")) < 0.02
    )
    assert rrelu(-1.0) == -11 / 48
    assert rrelu(-11.0, convention="paper") == -2


def test_slopes_belong_to_the_input(library, device):
    for dtype in ("float32", "float64"):
        x = put(X[:3].astype(dtype), library, device)
        a = sample_rrelu(np.random.default_rng(1), x)
        assert type(a) is type(x)
        assert a.dtype == x.dtype
        assert a.device == x.device
        expected = sample_rrelu(np.random.default_rng(1), X[:3].astype(dtype))
        np.testing.assert_array_equal(to_numpy(a), expected)


def test_slopes_apply_to_negative_inputs_alone(library, device):
    x = put(np.array([-2.0, -1.0, 0.0, 3.0]), library, device)
    a = sample_rrelu(np.random.default_rng(2), x)
    s = to_numpy(a)
    np.testing.assert_array_equal(to_numpy(rrelu(x, slope=a)), [-2 * s[0], -s[1], 0, 3])
    np.testing.assert_array_equal(to_numpy(rrelu_grad(x, slope=a)), [*s[:3], 1])


def test_a_seed_gives_the_same_slopes():
    np.testing.assert_array_equal(slopes(), slopes())
    assert sample_rrelu(np.random.default_rng(0), [1.0, 2.0]).shape == (2,)
    assert sample_rrelu(np.random.default_rng(0), np.empty((0, 3))).shape == (0, 3)
