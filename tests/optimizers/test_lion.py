"""Lion against optax, and against the published update."""

import numpy as np
import optax
import pytest
from numpy.testing import assert_array_equal

from companion.backend import array, namespace, to_numpy
from companion.optimizers import Lion
from tests.optimizers.parity import check_parity, optaxs, written


def published(lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    """Algorithm 2 of Chen et al. (2023)."""

    def rule(theta, grad, memory, t):
        m = memory.get("m", np.zeros_like(theta))
        c = betas[0] * m + (1 - betas[0]) * grad
        memory["m"] = betas[1] * m + (1 - betas[1]) * grad
        return theta - lr * (np.sign(c) + weight_decay * theta)

    return written(rule)


OPTIONS = pytest.mark.parametrize(
    "options",
    [{}, {"lr": 0.01, "betas": (0.5, 0.9)}, {"lr": 0.01, "weight_decay": 0.3}, {"betas": (0, 0)}],
    ids=str,
)


@OPTIONS
def test_lion_is_the_published_one(created, options):
    check_parity(Lion(**options), published(**options))


@OPTIONS
def test_lion_is_optaxs(options):
    lr, (b1, b2) = options.get("lr", 1e-4), options.get("betas", (0.9, 0.99))
    theirs = optax.lion(lr, b1, b2, weight_decay=options.get("weight_decay", 0.0))
    check_parity(Lion(**options), optaxs(theirs))


def test_every_step_has_the_same_length(created):
    grad = array([1e300, -1e-300, 5e-324, 0.0, -0.0])
    theta = array(np.zeros(5))
    opt = Lion(lr=0.5, betas=(0.0, 0.0))
    theta, _ = opt.update(theta, grad, opt.init(theta))
    assert_array_equal(to_numpy(theta), [-0.5, 0.5, -0.5, 0, 0])


def test_a_rate_for_each_replica_and_a_schedule(created):
    theta = array(np.ones((2, 3)))
    opt = Lion(lr=lambda t: np.array([[0.1], [0.2]]) / (t + 1), weight_decay=array([1.0, 0, 0]))
    state = opt.init(theta)
    for _ in range(2):
        theta, state = opt.update(theta, theta, state)
    slow = 1 - 0.1 - 0.05, (1 - 0.2) - 0.05 * (1 + 0.8)
    fast = 1 - 0.2 - 0.1, (1 - 0.4) - 0.1 * (1 + 0.6)
    expected = [[slow[1], slow[0], slow[0]], [fast[1], fast[0], fast[0]]]
    np.testing.assert_allclose(to_numpy(theta), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "lr must not be negative; got -1"),
        ({"weight_decay": -1}, "weight_decay must not be negative"),
        ({"betas": (0.9, 1.0)}, "betas must be at least 0 and less than 1"),
        ({"betas": (0.9,)}, "betas must be a tuple of two"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Lion(**options)


# Planted mistakes ---------------------------------------------------------------------------


def wrong(mistake):
    """Return the update with one mistake."""

    def step(self, theta, grad, state, t):
        (b1, b2), m = self.betas, state["exp_avg"]
        if mistake == "betas exchanged":
            b1, b2 = b2, b1
        new = b2 * m + (1 - b2) * grad
        signed = namespace(theta).sign(b1 * (new if mistake == "m first" else m) + (1 - b1) * grad)
        decay = self.weight_decay * theta
        if mistake == "decay in the gradient":
            signed = namespace(theta).sign(b1 * m + (1 - b1) * (grad + decay))
            decay = 0
        decay = decay / self.lr if mistake == "decay without the rate" else decay
        return theta - self.lr * (signed + decay), {"exp_avg": new}

    return step


MISTAKES = ["betas exchanged", "m first", "decay in the gradient", "decay without the rate"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_update_is_caught(on_numpy, monkeypatch, mistake):
    options = {"lr": 0.01, "weight_decay": 0.3}
    monkeypatch.setattr(Lion, "_step", wrong(None))
    check_parity(Lion(**options), published(**options), ["logistic"])
    monkeypatch.setattr(Lion, "_step", wrong(mistake))
    with pytest.raises(AssertionError):
        check_parity(Lion(**options), published(**options), ["logistic"])
