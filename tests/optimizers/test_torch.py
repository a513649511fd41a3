"""Optimizers against torch.optim, in all their options."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from companion import layers, network, optimizers
from companion.backend import to_numpy
from companion.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, NAdam, RAdam, RMSprop
from tests.optimizers.parity import PROBLEMS, check_parity, torchs


def grid(**values):
    """Return all combinations of some options."""
    names = list(values)
    combined = itertools.product(*values.values())
    return [dict(zip(names, found, strict=True)) for found in combined]


DECAY = (0.0, 0.1)
MOMENTS = {"betas": ((0.9, 0.999), (0.5, 0.9)), "eps": (1e-8, 0.1), "weight_decay": DECAY}

SETTINGS = {
    SGD: [
        options
        for options in grid(
            lr=[0.05],
            momentum=(0.0, 0.9),
            dampening=(0.0, 0.3),
            weight_decay=DECAY,
            nesterov=(False, True),
        )
        if not options["nesterov"] or (options["momentum"] and not options["dampening"])
    ],
    Adagrad: grid(
        lr=[0.05],
        lr_decay=(0.0, 0.01),
        weight_decay=DECAY,
        initial_accumulator_value=(0.0, 0.1),
        eps=(1e-10, 0.1),
    ),
    Adadelta: grid(lr=[0.5], rho=(0.9, 0.5), eps=(1e-6, 0.1), weight_decay=DECAY),
    RMSprop: grid(
        lr=[0.05],
        alpha=(0.99, 0.5),
        eps=(1e-8, 0.1),
        weight_decay=DECAY,
        momentum=(0.0, 0.9),
        centered=(False, True),
    ),
    Adam: grid(lr=[0.05], **MOMENTS),
    AdamW: grid(lr=[0.05], **MOMENTS),
    NAdam: grid(
        lr=[0.05], momentum_decay=(0.004, 0.5), decoupled_weight_decay=(False, True), **MOMENTS
    ),
    RAdam: grid(lr=[0.05], decoupled_weight_decay=(False, True), **MOMENTS),
}


def check_torch(kind, problems=PROBLEMS, **options):
    # where a gradient hardly changes, its centred variance is a difference of equal numbers
    atol = 1e-9 if options.get("centered") else 1e-12
    check_parity(kind(**options), torchs(kind.__name__, **options), problems, atol=atol)


@pytest.mark.parametrize("kind", SETTINGS)
def test_torchs_in_all_options(created, kind):
    settings, names = SETTINGS[kind], list(PROBLEMS)
    check_torch(kind, **settings[0])
    check_torch(kind, **settings[-1])
    for i, options in enumerate(settings[1:-1]):
        check_torch(kind, [names[i % len(names)]], **options)


@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if kind is not SGD])
def test_torchs_defaults(kind):
    check_torch(kind, ["logistic"])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (SGD, {"lr": -1}, "lr must not be negative; got -1"),
        (SGD, {"lr": float("nan")}, "lr must not be negative; got nan"),
        (SGD, {"lr": 1, "nesterov": True}, "nesterov needs a positive momentum"),
        (
            SGD,
            {"lr": 1, "momentum": 0.9, "dampening": 0.1, "nesterov": True},
            "momentum=0.9, dampening=0.1",
        ),
        (Adam, {"betas": (0.9, 1.0)}, r"betas must be at least 0 and less than 1; got \(0.9, 1"),
        (Adam, {"betas": (0.9,)}, "betas must be a tuple of two"),
    ],
)
def test_bad_options_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


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
            old = state["momentum_buffer"]
            first = state["step"] == 0 and not damped_from_start
            buffer = self.momentum * old + (1 if first else 1 - self.dampening) * grad
            ahead = old if stale_nesterov else buffer
            grad = grad + self.momentum * ahead if self.nesterov else buffer
            state = {"step": state["step"] + 1, "momentum_buffer": buffer}
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


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("kind", "wrong", "mistake", "options"), WRONG)
def test_a_wrong_update_is_caught(monkeypatch, kind, wrong, mistake, options):
    monkeypatch.setattr(kind, "update", wrong())
    check_torch(kind, ["quadratic"], lr=0.05, **options)
    monkeypatch.setattr(kind, "update", wrong(**{mistake: True}))
    with pytest.raises(AssertionError):
        check_torch(kind, ["quadratic"], lr=0.05, **options)
