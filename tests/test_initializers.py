"""Initializers: their distributions, and torch's names for them."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from companion import initializers as init

SHAPE = (300, 500)  # n_in, n_out

NORMAL = {
    "kaiming_normal": ({}, math.sqrt(2 / 300)),
    "kaiming_normal, fan out": ({"mode": "fan_out"}, math.sqrt(2 / 500)),
    "kaiming_normal, gain": ({"gain": 5 / 3}, 5 / 3 / math.sqrt(300)),
    "xavier_normal": ({}, math.sqrt(2 / 800)),
    "xavier_normal, gain": ({"gain": 2.0}, 2 * math.sqrt(2 / 800)),
    "lecun_normal": ({}, math.sqrt(1 / 300)),
    "normal": ({"std": 0.01}, 0.01),
}
UNIFORM = {
    "kaiming_uniform": ({}, math.sqrt(6 / 300)),
    "kaiming_uniform, fan out": ({"mode": "fan_out"}, math.sqrt(6 / 500)),
    "xavier_uniform": ({}, math.sqrt(6 / 800)),
    "uniform": ({"low": -0.1, "high": 0.1}, 0.1),
}


def draw(name, options, shape=SHAPE):
    return getattr(init, name.split(",")[0])(shape, rng=np.random.default_rng(0), **options)


def check_normal(name):
    options, std = NORMAL[name]
    values = draw(name, options)
    assert values.shape == SHAPE
    assert stats.kstest(values.ravel() / std, "norm").pvalue > 0.01


def check_uniform(name):
    options, bound = UNIFORM[name]
    values = draw(name, options)
    assert stats.kstest((values.ravel() / bound + 1) / 2, "uniform").pvalue > 0.01


@pytest.mark.parametrize("name", NORMAL)
def test_normal(name):
    check_normal(name)


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform(name):
    check_uniform(name)


@pytest.mark.parametrize("name", ["kaiming_normal", "kaiming_uniform"])
def test_the_scale_of_relu_layers_stays(name):
    """Thirty layers of ReLU keep the mean square of what goes forward within a factor of two."""
    rng = np.random.default_rng(0)
    start = a = rng.standard_normal((200, 512))
    for _ in range(30):
        a = np.maximum(a @ getattr(init, name)((512, 512), rng=rng), 0)
    assert 0.5 < (a**2).mean() / (start**2).mean() < 2


def test_a_kernel_counts_in_both_fans():
    small = init.kaiming_normal((3, 3, 8, 4000), rng=np.random.default_rng(0))
    assert small.std() == pytest.approx(math.sqrt(2 / 72), rel=0.02)
    both = init.xavier_normal((3, 3, 8, 4000), rng=np.random.default_rng(0))
    assert both.std() == pytest.approx(math.sqrt(2 / (9 * 4008)), rel=0.02)


def test_constant_needs_no_generator():
    assert init.constant((2, 2), value=3).tolist() == [[3, 3], [3, 3]]


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gain_is_torchs(name):
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))


def test_gain_of_a_slope():
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(
        torch.nn.init.calculate_gain("leaky_relu", 0.3)
    )


def test_aliases():
    assert init.he_normal is init.kaiming_normal
    assert init.he_uniform is init.kaiming_uniform
    assert init.glorot_normal is init.xavier_normal
    assert init.glorot_uniform is init.xavier_uniform


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.calculate_gain("gelu"), "nonlinearity must be one of linear, .*got 'gelu'"),
        (lambda: draw("kaiming_normal", {"mode": "in"}), "mode must be 'fan_in' or 'fan_out'"),
        (lambda: draw("xavier_normal", {}, (5,)), r"shape must be \(..., n_in, n_out\).*\(5,\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_swapped_fans_are_caught(monkeypatch):
    fan = init.independent._fan
    monkeypatch.setattr(init.independent, "_fan", lambda shape, mode: fan(shape[::-1], mode))
    for check, name in ((check_normal, "kaiming_normal"), (check_uniform, "kaiming_uniform")):
        with pytest.raises(AssertionError):
            check(name)
