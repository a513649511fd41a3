"""AMSGrad against torch.optim and optax; AdaBound and AMSBound against the published update."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import datasets, losses, training
from companion.backend import array, namespace, to_numpy
from companion.layers import Linear, Tanh
from companion.network import Sequential
from companion.optimizers import AdaBound, Adam, AMSBound, AMSGrad
from tests.optimizers.parity import ALL_PROBLEMS, adabounds, check_parity, torchs

PEERS = {
    AMSGrad: partial(torchs, "Adam", amsgrad=True),
    AdaBound: partial(adabounds, False),
    AMSBound: partial(adabounds, True),
}
KINDS = pytest.mark.parametrize("kind", list(PEERS))

OPTIONS = [
    {},
    {"weight_decay": 0.1},
    {"betas": (0.5, 0.9), "eps": 0.1},
    {"betas": (0.0, 0.99), "eps": 0.0, "weight_decay": 0.01},
]
OF_BOUNDS = [{"final_lr": 0.01, "gamma": 0.1}, {"final_lr": 0.0}, {"final_lr": 1.0, "gamma": 0.5}]
SETTINGS = [(kind, o) for kind in PEERS for o in OPTIONS] + [
    (kind, o) for kind in (AdaBound, AMSBound) for o in OF_BOUNDS
]


def check(kind, problems, steps=500, lr=0.01, **options):
    check_parity(kind(lr=lr, **options), PEERS[kind](lr=lr, **options), problems, steps)


@pytest.mark.parametrize(("kind", "options"), SETTINGS, ids=str)
def test_the_published_update(created, kind, options):
    if options.get("eps") == 0:  # torch's, too, divides 0 by 0 where a gradient was never there
        check(kind, ["quadratic"], **options)
    else:
        check(kind, ["quadratic", "extremes"] if options else ALL_PROBLEMS, **options)


@KINDS
def test_a_schedule_also_scales_the_final_rate(created, kind):
    check(kind, ["quadratic"], lr=lambda t: 0.01 * 0.99**t)


def test_amsgrad_is_not_optax_amsgrad(created):
    """optax takes the maximum of the corrected moment unless told not to; both are reproduced."""
    import jax
    import optax

    rng = np.random.default_rng(0)
    theta = rng.standard_normal(5)
    grads = [g * rng.standard_normal(5) for g in (10.0, *[0.1] * 99)]

    def by_definition(corrected_first, t_max):
        x, m, v, top = theta, 0, 0, 0
        for t, g in enumerate(grads[:t_max], 1):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            c = 1 - 0.999**t
            top = np.maximum(top, v / c if corrected_first else v)
            scale = np.sqrt(top if corrected_first else top / c)
            x = x - 0.1 * m / (1 - 0.9**t) / (scale + 1e-8)
        return x

    with jax.enable_x64(True):
        rule = optax.amsgrad(0.1)
        x = jax.numpy.asarray(theta)
        memory = rule.init(x)
        for g in grads:
            step, memory = rule.update(jax.numpy.asarray(g), memory)
            x = x + step
        assert x.dtype == np.float64
        assert_allclose(x, by_definition(True, 100), rtol=1e-8)
    opt, x = AMSGrad(lr=0.1), array(theta)
    state = opt.init(x)
    for g in grads:
        x, state = opt.update(x, array(g), state)
    assert_allclose(to_numpy(x), by_definition(False, 100), rtol=1e-10)
    assert abs(by_definition(True, 100) - by_definition(False, 100)).min() > 0.1


# What the definitions say -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AdaBound, AMSBound])
def test_the_rate_is_within_its_bounds_and_ends_as_momentum(created, kind):
    rng = np.random.default_rng(0)
    opt = kind(lr=0.001, final_lr=0.2, gamma=0.05)
    theta = array(np.zeros(6))
    state = opt.init(theta)
    for t in range(1, 3001):
        new, state = opt.update(
            theta, array(rng.standard_normal(6) * np.geomspace(1e-4, 1e4, 6)), state
        )
        rate = to_numpy((theta - new) / state["exp_avg"])
        passed = 0.05 * t
        slack = 1e-9  # theta - new has lost digits of the step
        assert (rate >= 0.2 * passed / (1 + passed) * (1 - slack)).all()
        assert (rate <= 0.2 * (1 + 1 / passed) * (1 + slack)).all()
        theta = 0 * new
    assert_allclose(rate, 0.2, rtol=0.01)


def test_the_bounds_at_three_times():
    for t, lower, upper in ((1, 1e-4, 100.1), (1000, 0.05, 0.2), (100_000, 0.0990, 0.1010)):
        for scale, bound in ((1e12, lower), (1e-12, upper)):  # rates far below and far above
            one, square = np.ones(1), np.array([scale**2])
            memory = {"step": t - 1, "exp_avg": one, "exp_avg_sq": square}
            theta, memory = AdaBound().update(0 * one, 0 * one, memory)
            assert_allclose(-theta / memory["exp_avg"], bound, rtol=2e-3)


def test_amsgrad_never_forgets(created):
    opt = AMSGrad(lr=1.0, betas=(0.0, 0.5))
    theta = array([0.0])
    state = opt.init(theta)
    for g in (8.0, *[1.0] * 30):
        before = theta
        theta, state = opt.update(theta, array([g]), state)
    # w is 0.5 * 64 from the first gradient on, Adam's v is 1 by now
    assert_allclose(to_numpy(before - theta), 1 / 32**0.5, rtol=1e-6)
    assert_allclose(to_numpy(state["exp_avg_sq"]), 1, rtol=1e-6)


def test_the_first_step_is_adams():
    theta, grad = np.array([1.0, -2.0]), np.array([1e-3, 1e3])
    adam, ams = Adam(), AMSGrad()
    expected, _ = adam.update(theta, grad, adam.init(theta))
    got, _ = ams.update(theta, grad, ams.init(theta))
    assert_array_equal(got, expected)


# The contract -----------------------------------------------------------------------------------


@KINDS
def test_nan_stays_in_its_parameter(created, kind):
    opt, theta = kind(lr=0.1), array([1.0, 2.0])
    theta, _ = opt.update(theta, array([float("nan"), 1.0]), opt.init(theta))
    assert np.isnan(to_numpy(theta)).tolist() == [True, False]


@pytest.mark.parametrize("kind", [AdaBound, AMSBound])
def test_autograd_passes_through(kind):
    theta = torch.tensor([1.0, 2.0], dtype=torch.float64)
    grad = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    opt = kind(lr=0.1, eps=0.1)

    def twice(grad):
        found, state = opt.update(theta, grad, opt.init(theta))
        return opt.update(found, grad * grad, state)[0]

    assert torch.autograd.gradcheck(twice, grad)


@pytest.mark.parametrize("opt", [AMSGrad(0.05), AdaBound(0.05, gamma=0.01), AMSBound(0.05)])
def test_they_train(created, opt):
    x, y = datasets.xor()
    net = Sequential(Linear(2, 8), Tanh(), Linear(8, 2))
    rng = np.random.default_rng(0)
    theta = net.init(rng, replicas=3)
    _, history = training.fit(
        net, theta, (x, y), loss=losses.cross_entropy, optimizer=opt, rng=rng, steps=300,
        schedule=lambda t: min(1, (t + 1) / 10) * 0.05,
    )  # fmt: skip
    assert (history.loss[:, -1] < 0.05).all()


def test_the_base_rate_is_what_the_rule_was_made_with():
    assert AdaBound(lr=0.01).base_lr == 0.01
    assert AdaBound(lr=lambda t: 0.5 / (t + 1)).base_lr == 0.5
    assert replace(AdaBound(lr=0.01), lr=0.02).base_lr == 0.01
    assert AdaBound(lr=lambda t: 0.0, base_lr=0.1).base_lr == 0.1


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (AMSGrad, {"lr": -1}, "lr must not be negative; got -1"),
        (AMSGrad, {"betas": (1.0, 0.9)}, "betas must be at least 0 and less than 1"),
        (AdaBound, {"betas": (0.9,)}, "betas must be a tuple of two"),
        (AdaBound, {"final_lr": -0.1}, "final_lr must not be negative; got -0.1"),
        (AdaBound, {"gamma": 0.0}, "gamma must be positive; got 0.0"),
        (AMSBound, {"gamma": float("nan")}, "gamma must be positive; got nan"),
        (AMSBound, {"lr": 0.0}, r"base_lr must be positive \(None is lr at step 0\); got 0.0"),
        (
            AdaBound,
            {"lr": lambda t: 0.1 * t},
            r"base_lr must be positive \(None is lr at step 0\); got 0.0",
        ),
    ],
)
def test_bad_options_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_arrays_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="gamma must broadcast against theta"):
        AdaBound(gamma=np.ones(3)).init(np.zeros((3, 5)))


# Planted mistakes ---------------------------------------------------------------------------


def wrong_amsgrad(no_maximum=False, corrected_first=False, reset=False):
    """AMSGrad's update with one mistake."""

    def _step(self, theta, grad, state, t):
        beta1, beta2 = self.betas
        xp, correction = namespace(theta), 1 - beta2**t
        m = beta1 * state["exp_avg"] + (1 - beta1) * grad
        v = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
        own = v / correction if corrected_first else v
        top = own if no_maximum else xp.maximum(state["max_exp_avg_sq"], own)
        scale = (top if corrected_first else top / correction) ** 0.5 + self.eps
        step = self.lr * m / (1 - beta1**t) / scale
        kept = top if reset else v  # the running mean goes on from the maximum
        return theta - step, {"exp_avg": m, "exp_avg_sq": kept, "max_exp_avg_sq": top}

    return _step


def wrong_adabound(
    uncorrected=False,
    eps_after=False,
    unscheduled=False,
    no_power=False,
    clip_step=False,
    from_0=False,
):
    """AdaBound's update with one mistake."""

    def _step(self, theta, grad, state, t):
        beta1, beta2 = self.betas
        xp = namespace(theta)
        m = beta1 * state["exp_avg"] + (1 - beta1) * grad
        v = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad * grad
        power = 1 if no_power else t
        c1, c2 = 1 - beta1**power, (1 - beta2**power) ** 0.5
        rate = self.lr * c2 / c1 / (v**0.5 + self.eps)
        if uncorrected:
            rate = self.lr / (v**0.5 + self.eps)
        if eps_after:
            rate = self.lr / c1 / (v**0.5 / c2 + self.eps)
        s = self.gamma * (t + 1 if from_0 else t)
        final = self.final_lr * (1 if unscheduled else self.lr / self.base_lr)
        lower, upper = final * (1 - 1 / (s + 1)), final * (1 + 1 / s)
        step = xp.clip(rate * m, lower, upper) if clip_step else xp.clip(rate, lower, upper) * m
        return theta - step, {"exp_avg": m, "exp_avg_sq": v}

    return _step


@pytest.mark.parametrize("mistake", ["no_maximum", "corrected_first", "reset"])
def test_a_wrong_amsgrad_is_caught(on_numpy, monkeypatch, mistake):
    monkeypatch.setattr(AMSGrad, "_step", wrong_amsgrad())
    check(AMSGrad, ["quadratic"], steps=100)
    monkeypatch.setattr(AMSGrad, "_step", wrong_amsgrad(**{mistake: True}))
    with pytest.raises(AssertionError):
        check(AMSGrad, ["quadratic"], steps=100)


@pytest.mark.parametrize(
    "mistake", ["uncorrected", "eps_after", "unscheduled", "no_power", "clip_step", "from_0"]
)
def test_a_wrong_adabound_is_caught(on_numpy, monkeypatch, mistake):
    options = {"gamma": 0.02, "eps": 0.1, "lr": lambda t: 0.01 * 0.9**t, "steps": 50}
    monkeypatch.setattr(AdaBound, "_step", wrong_adabound())
    check(AdaBound, ["quadratic"], **options)
    monkeypatch.setattr(AdaBound, "_step", wrong_adabound(**{mistake: True}))
    with pytest.raises(AssertionError):
        check(AdaBound, ["quadratic"], **options)
