"""Optimizers against torch.optim."""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import layers, network, optimizers
from companion.backend import array, to_numpy
from companion.optimizers import SGD, Adam

SETTINGS = [
    {"momentum": m, "dampening": d, "weight_decay": w, "nesterov": n}
    for m, d, w, n in itertools.product((0.0, 0.9), (0.0, 0.3), (0.0, 0.1), (False, True))
    if not n or (m and not d)
]


def gradients(theta, rng):
    """A gradient that varies, and depends on theta."""
    return theta - 1 + 10.0 ** rng.uniform(-3, 1) * rng.standard_normal(theta.shape)


def check_parity(kind, lr, **options):
    """Hold 200 steps to torch.optim's optimizer of the same name."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 11))
    parameter = torch.tensor(start, requires_grad=True)
    theirs = getattr(torch.optim, kind.__name__)([parameter], lr=lr, **options)
    ours = kind(lr=lr, **options)
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
    check_parity(SGD, 0.05, **options)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("options", [{}, {"betas": (0.5, 0.9), "eps": 0.1}], ids=str)
def test_adam_is_torchs(created, options, weight_decay):
    check_parity(Adam, 0.05, weight_decay=weight_decay, **options)


@pytest.mark.parametrize(
    "kind", [SGD, functools.partial(SGD, momentum=0.9), Adam], ids=["SGD", "momentum", "Adam"]
)
def test_a_rate_for_each_replica(created, kind):
    rng = np.random.default_rng(0)
    rates = np.array([[0.1], [0.01], [1.0]])
    opt = kind(lr=rates, weight_decay=0.01)
    theta = array(rng.standard_normal((3, 5)))
    grads = [array(rng.standard_normal((3, 5))) for _ in range(3)]
    alone = [theta[i] for i in range(3)]
    state = opt.init(theta)
    for grad in grads:
        theta, state = opt.update(theta, grad, state)
    for i, one in enumerate(alone):
        single = kind(lr=float(rates[i, 0]), weight_decay=0.01)
        state = single.init(one)
        for grad in grads:
            one, state = single.update(one, grad[i], state)
        assert_array_equal(to_numpy(theta[i]), to_numpy(one))


BOTH = pytest.mark.parametrize(
    "opt",
    [SGD(lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True), Adam(lr=0.1, weight_decay=0.1)],
)


@BOTH
def test_nothing_is_changed_in_place(created, opt):
    theta, grad = array([1.0, 2.0]), array([0.5, -1.0])
    state = opt.init(theta)
    _, state = opt.update(theta, grad, state)
    arrays = {name: value for name, value in state.items() if name != "step"}
    kept = {name: np.array(to_numpy(value)) for name, value in arrays.items()}
    opt.update(theta, grad, state)
    assert_array_equal(to_numpy(theta), [1, 2])
    assert_array_equal(to_numpy(grad), [0.5, -1])
    for name, value in arrays.items():
        assert_array_equal(to_numpy(value), kept[name])


@BOTH
def test_the_dtype_stays(created, opt):
    theta = array([1.0, 2.0], dtype="float32")
    opt = replace(opt, lr=np.array([0.1]))
    theta, state = opt.update(theta, theta, opt.init(theta))
    for value in (theta, *(v for name, v in state.items() if name != "step")):
        assert "float32" in str(value.dtype)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SGD, {"lr": -1}, "lr must not be negative; got -1"),
        (SGD, {"lr": float("nan")}, "lr must not be negative; got nan"),
        (SGD, {"lr": 1, "momentum": -0.1}, "momentum must not be negative"),
        (SGD, {"lr": 1, "weight_decay": -0.1}, "weight_decay must not be negative"),
        (SGD, {"lr": 1, "nesterov": True}, "nesterov needs a positive momentum"),
        (
            SGD,
            {"lr": 1, "momentum": 0.9, "dampening": 0.1, "nesterov": True},
            "momentum=0.9, dampening=0.1",
        ),
        (Adam, {"eps": -1.0}, "eps must not be negative; got -1.0"),
        (Adam, {"betas": (0.9, 1.0)}, r"betas must be at least 0 and less than 1; got \(0.9, 1"),
        (Adam, {"betas": (0.9,)}, "betas must be two"),
    ],
)
def test_bad_options_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


@pytest.mark.parametrize("lr", [np.ones(3), np.ones((3, 1, 1)), lambda t: np.ones((2, 1))])
def test_arrays_that_do_not_fit_are_named(created, lr):
    with pytest.raises(ValueError, match="lr must broadcast against theta"):
        SGD(lr=lr).init(array(np.zeros((3, 5))))


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_a_schedule_is_read_before_each_step(created, kind):
    theta, numbers = array([1.0, -2.0]), array([1.0, -2.0])
    scheduled = kind(lr=lambda t: 0.1 / (t + 1), weight_decay=lambda t: 0.01 * t)
    state = scheduled.init(theta)
    own = kind(lr=0.1).init(theta)
    for t in range(5):
        theta, state = scheduled.update(theta, theta**3, state)
        rule = kind(lr=0.1 / (t + 1), weight_decay=0.01 * t)
        numbers, own = rule.update(numbers, numbers**3, own)
    assert_array_equal(to_numpy(theta), to_numpy(numbers))


def test_an_array_makes_parameter_groups(created):
    net = network.Sequential(layers.Linear(2, 3), layers.BatchNorm(3), layers.Linear(3, 1))
    theta = net.init(np.random.default_rng(0))
    opt = SGD(lr=1.0, weight_decay=0.5 * optimizers.decay_mask(net))
    decayed, _ = opt.update(theta, 0 * theta, opt.init(theta))
    for name, values in net.unpack(decayed).items():
        start = to_numpy(net.unpack(theta)[name])
        assert_allclose(to_numpy(values), start / 2 if start.ndim > 1 else start)


# Planted mistakes ---------------------------------------------------------------------------


def wrong_sgd(damped_from_start=False, stale_nesterov=False, decay_after=False):
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


def wrong_adam(no_power=False, in_place=False, eps_before=False, eps_inside=False):
    """Adam's update with one mistake."""

    def update(self, theta, grad, state):
        (beta1, beta2), t = self.betas, 1 if no_power else state["step"] + 1
        m = beta1 * state["exp_avg"] + (1 - beta1) * grad
        v = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        scale = (v_hat + self.eps) ** 0.5 if eps_inside else v_hat**0.5 + self.eps
        if eps_before:
            scale = (v**0.5 + self.eps) / (1 - beta2**t) ** 0.5
        kept = (m_hat, v_hat) if in_place else (m, v)
        state = {"step": state["step"] + 1, "exp_avg": kept[0], "exp_avg_sq": kept[1]}
        return theta - self.lr * m_hat / scale, state

    return update


WRONG = [
    (SGD, wrong_sgd, "damped_from_start", {"momentum": 0.9, "dampening": 0.3}),
    (SGD, wrong_sgd, "stale_nesterov", {"momentum": 0.9, "nesterov": True}),
    (SGD, wrong_sgd, "decay_after", {"momentum": 0.9, "weight_decay": 0.1}),
    *((Adam, wrong_adam, m, {}) for m in ("no_power", "in_place", "eps_before", "eps_inside")),
]


@pytest.mark.parametrize(("kind", "wrong", "mistake", "options"), WRONG)
def test_a_wrong_update_is_caught(monkeypatch, kind, wrong, mistake, options):
    monkeypatch.setattr(kind, "update", wrong())
    check_parity(kind, 0.05, **options)
    monkeypatch.setattr(kind, "update", wrong(**{mistake: True}))
    with pytest.raises(AssertionError):
        check_parity(kind, 0.05, **options)
