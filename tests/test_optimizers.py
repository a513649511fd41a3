"""Optimizers against torch.optim."""

import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion.backend import array, namespace, to_numpy
from companion.optimizers import SGD

SETTINGS = [
    {"momentum": m, "dampening": d, "weight_decay": w, "nesterov": n}
    for m, d, w, n in itertools.product((0.0, 0.9), (0.0, 0.3), (0.0, 0.1), (False, True))
    if not n or (m and not d)
]


def gradients(theta, rng):
    """A gradient that varies, and depends on theta."""
    return theta - 1 + 10.0 ** rng.uniform(-3, 1) * rng.standard_normal(theta.shape)


def check_parity(lr, **options):
    """Hold 200 steps to torch.optim.SGD."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 11))
    parameter = torch.tensor(start, requires_grad=True)
    theirs = torch.optim.SGD([parameter], lr=lr, **options)
    ours = SGD(lr=lr, **options)
    theta = array(start)
    state = ours.init(theta)
    for _ in range(200):
        grad = gradients(parameter.detach().numpy(), rng)
        parameter.grad = torch.tensor(grad)
        theirs.step()
        theta, state = ours.update(theta, array(grad), state)
        assert_allclose(
            to_numpy(theta), parameter.detach().numpy(), rtol=1e-10, atol=1e-13, err_msg=options
        )


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_sgd_is_torchs(created, options):
    check_parity(0.05, **options)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_rate_for_each_replica(created, momentum):
    rng = np.random.default_rng(0)
    rates = np.array([[0.1], [0.01], [1.0]])
    opt = SGD(lr=rates, momentum=momentum, weight_decay=0.01)
    theta = array(rng.standard_normal((3, 5)))
    grads = [array(rng.standard_normal((3, 5))) for _ in range(3)]
    alone = [theta[i] for i in range(3)]
    state = opt.init(theta)
    for grad in grads:
        theta, state = opt.update(theta, grad, state)
    for i, one in enumerate(alone):
        single = SGD(lr=float(rates[i, 0]), momentum=momentum, weight_decay=0.01)
        state = single.init(one)
        for grad in grads:
            one, state = single.update(one, grad[i], state)
        assert_array_equal(to_numpy(theta[i]), to_numpy(one))


def test_nothing_is_changed_in_place(created):
    opt = SGD(lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
    theta, grad = array([1.0, 2.0]), array([0.5, -1.0])
    state = opt.init(theta)
    _, state = opt.update(theta, grad, state)
    kept = namespace(theta).asarray(state["momentum"], copy=True)
    opt.update(theta, grad, state)
    assert_array_equal(to_numpy(theta), [1, 2])
    assert_array_equal(to_numpy(grad), [0.5, -1])
    assert_array_equal(to_numpy(state["momentum"]), to_numpy(kept))


def test_the_dtype_stays(created):
    theta = array([1.0, 2.0], dtype="float32")
    opt = SGD(lr=np.array([0.1]), momentum=0.9)
    theta, _ = opt.update(theta, theta, opt.init(theta))
    assert "float32" in str(theta.dtype)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "lr must not be negative; got -1"),
        ({"lr": float("nan")}, "lr must not be negative; got nan"),
        ({"lr": 1, "momentum": -0.1}, "momentum must not be negative"),
        ({"lr": 1, "weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"lr": 1, "nesterov": True}, "nesterov needs a positive momentum"),
        (
            {"lr": 1, "momentum": 0.9, "dampening": 0.1, "nesterov": True},
            "momentum=0.9, dampening=0.1",
        ),
        ({"lr": np.ones(3)}, r"lr must have shape \(..., 1\); got \(3,\)"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SGD(**options)


# Planted mistakes ---------------------------------------------------------------------------


def mutant(damped_from_start=False, stale_nesterov=False, decay_after=False):
    """SGD's update with one mistake."""

    def update(self, theta, grad, state):
        decay = self.weight_decay * theta
        grad = grad if decay_after else grad + decay
        if self.momentum:
            old = state["momentum"]
            first = state["step"] == 0 and not damped_from_start
            buffer = self.momentum * old + (1 if first else 1 - self.dampening) * grad
            ahead = old if stale_nesterov else buffer
            grad = grad + self.momentum * ahead if self.nesterov else buffer
            state = {"step": state["step"] + 1, "momentum": buffer}
        grad = grad + decay if decay_after else grad
        return theta - self.lr * grad, state

    return update


WRONG = {
    "damped_from_start": {"momentum": 0.9, "dampening": 0.3},
    "stale_nesterov": {"momentum": 0.9, "nesterov": True},
    "decay_after": {"momentum": 0.9, "weight_decay": 0.1},
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_update_is_caught(monkeypatch, mistake):
    monkeypatch.setattr(SGD, "update", mutant())
    check_parity(0.05, **WRONG[mistake])
    monkeypatch.setattr(SGD, "update", mutant(**{mistake: True}))
    with pytest.raises(AssertionError):
        check_parity(0.05, **WRONG[mistake])
