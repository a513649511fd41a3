"""Adam and its kin: the papers, other libraries, planted mistakes."""

import math

import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from companion.backend import array, to_numpy
from companion.optimizers import Adam, AdamW, NAdam, RAdam
from tests.optimizers.parity import check_parity, optaxs, torchs, written

SOME = ["quadratic", "logistic"]


@pytest.mark.parametrize(
    ("opt", "transform"),
    [
        (Adam(lr=0.05, eps=0.01), optax.adam(0.05, eps=0.01)),
        (AdamW(lr=0.05), optax.adamw(0.05, weight_decay=0.01)),
        (NAdam(lr=0.05, momentum_decay=math.inf), optax.nadam(0.05)),
        # rectified from the sixth step on in both; next to no epsilon, whose place is another
        (RAdam(lr=0.05, eps=1e-100), optax.radam(0.05, eps=1e-100)),
    ],
)
def test_optaxs_form(created, opt, transform):
    check_parity(opt, optaxs(transform), SOME, steps=200)


def test_adamw_has_the_papers_decay(created):
    """Loshchilov and Hutter, algorithm 2: the schedule scales the decay, the rate does not."""
    alpha, decay = 0.02, 0.1

    def factor(t):
        return 0.5 * (1 + math.cos(math.pi * t / 500))

    def rule(theta, grad, memory, t):
        memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * grad
        memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * grad**2
        m, v = memory["m"] / (1 - 0.9**t), memory["v"] / (1 - 0.999**t)
        return theta - factor(t - 1) * (alpha * m / (np.sqrt(v) + 1e-8) + decay * theta)

    opt = AdamW(lr=lambda t: alpha * factor(t), weight_decay=decay / alpha)
    check_parity(opt, written(rule), steps=200)


def test_the_decay_may_be_free_of_rate_and_schedule(created):
    def rate(t):
        return 0.1 / (1 + t)

    opt = AdamW(lr=rate, weight_decay=lambda t: 0.01 / rate(t))
    theta = array([1.0])
    state = opt.init(theta)
    for _ in range(5):
        theta, state = opt.update(theta, array([0.0]), state)
    assert_allclose(to_numpy(theta), [0.99**5], rtol=1e-13)


def test_nadam_is_dozats_but_for_m(created):
    """Dozat 2016, algorithm 2, its m averaged with a constant; Keras has this with psi = 1."""
    beta1, psi = 0.9, 1.0

    def mu(t):
        return beta1 * (1 - 0.5 * 0.96 ** (psi * t))

    def rule(theta, grad, memory, t):
        memory["m"] = beta1 * memory.get("m", 0.0) + (1 - beta1) * grad
        memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * grad**2
        now, ahead = (math.prod(map(mu, range(1, k + 1))) for k in (t, t + 1))
        m = mu(t + 1) * memory["m"] / (1 - ahead) + (1 - mu(t)) * grad / (1 - now)
        return theta - 0.05 * m / (np.sqrt(memory["v"] / (1 - 0.999**t)) + 1e-7)

    check_parity(NAdam(lr=0.05, momentum_decay=psi, eps=1e-7), written(rule), steps=100)


@pytest.mark.parametrize("beta2", [0.999, 0.99, 0.9, 0.6, 0.5, 0.0])
def test_radam_waits_until_the_variance_is_known(created, beta2):
    opt = RAdam(lr=0.1, betas=(0.0, beta2), eps=0.0)
    theta = array([0.0])
    state, moves = opt.init(theta), []
    for _ in range(40):
        new, state = opt.update(theta, array([1e3]), state)
        moves.append(float(to_numpy(theta - new)[0]))
        theta = new
    # rho_t counted from the definition, as a sum of weights: it is the length of the mean
    weights = [beta2**k for k in range(40)]
    for t, move in enumerate(moves, 1):
        own = np.array(weights[:t])
        length = 2 * (own @ np.arange(1, t + 1)) / own.sum() - 1
        assert (move > 99) == (length <= 5)


def test_radam_in_float32_knows_when_to_rectify(created):
    """With arrays as rates of averaging too, whose differences are small."""
    found = []
    for dtype in ("float32", "float64"):
        opt = RAdam(lr=0.1, betas=(0.9, np.full(4, 0.99999)))
        theta = array(np.zeros(4), dtype)
        state = opt.init(theta)
        for grad in (1.0, -2.0, 3.0, 0.5, -1.0, 2.0, 1.5, -0.5, 1.0):
            theta, state = opt.update(theta, array(np.full(4, grad), dtype), state)
        found.append(to_numpy(theta))
    # β₂ rounded to float32 would be off by 1e-3 of what it lacks to 1
    assert_allclose(found[0], found[1], rtol=1e-5)


# Planted mistakes ---------------------------------------------------------------------------


def wrong_nadam(mistake=""):
    def rule(self, theta, grad, state, t):
        beta1, beta2 = self.betas
        m = beta1 * state["exp_avg"] + (1 - beta1) * grad
        v = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad**2
        first = t - 1 if mistake == "a step early" else t
        mu, ahead = (
            beta1 * (1 - 0.5 * 0.96 ** (k * self.momentum_decay)) for k in (first, first + 1)
        )
        product = state["mu_product"] * mu
        past = product if mistake == "one product" else product * ahead
        step = (mu if mistake == "not ahead" else ahead) * m / (1 - past)
        step = step + (1 - mu) * grad / (1 - product)
        step = step / (np.sqrt(v / (1 - beta2**t)) + self.eps)
        new = {"exp_avg": m, "exp_avg_sq": v, "mu_product": product}
        return theta - self.lr * step, new

    return rule


def wrong_radam(mistake=""):
    def rule(self, theta, grad, state, t):
        beta1, beta2 = self.betas
        m = beta1 * state["exp_avg"] + (1 - beta1) * grad
        v = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad**2
        left, limit = 1 - beta2**t, 2 / (1 - beta2) - 1
        length = limit - 2 * t * beta2**t / left
        step = self.lr * m / (1 - beta1**t)
        if length > (4 if mistake == "threshold" else 5):
            r = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
            if mistake != "no root":
                r = r**0.5
            if mistake == "upside down":
                r = 1 / r
            if mistake == "eps corrected":
                step = step * r / ((v / left) ** 0.5 + self.eps)
            else:
                step = step * r * left**0.5 / (v**0.5 + self.eps)
        elif mistake == "scaled at once":
            step = step / ((v / left) ** 0.5 + self.eps)
        return theta - step, {"exp_avg": m, "exp_avg_sq": v}

    return rule


def wrong_adamw(mistake=""):
    def rule(self, theta, grad, state, t):
        if mistake == "in the gradient":
            grad = grad + self.weight_decay * theta
        plain = Adam(self.lr, self.betas, self.eps)
        after, new = Adam._step(plain.at(t - 1, theta), theta, grad, state, t)
        if mistake == "after the step":
            return after * (1 - self.lr * self.weight_decay), new
        rate = 1 if mistake == "without the rate" else self.lr
        return after - (mistake != "in the gradient") * rate * self.weight_decay * theta, new

    return rule


WRONG = [
    *(
        (AdamW, wrong_adamw, mistake)
        for mistake in ("in the gradient", "after the step", "without the rate")
    ),
    *((NAdam, wrong_nadam, mistake) for mistake in ("a step early", "one product", "not ahead")),
    *(
        (RAdam, wrong_radam, mistake)
        for mistake in ("threshold", "no root", "upside down", "eps corrected", "scaled at once")
    ),
]


@pytest.mark.parametrize(("kind", "wrong", "mistake"), WRONG)
def test_a_wrong_step_is_caught(on_numpy, monkeypatch, kind, wrong, mistake):
    options = {"lr": 0.05, "eps": 0.01}
    peer = torchs(kind.__name__, **options)
    monkeypatch.setattr(kind, "_step", wrong())
    check_parity(kind(**options), peer, ["quadratic"], steps=50)
    monkeypatch.setattr(kind, "_step", wrong(mistake))
    with pytest.raises(AssertionError):
        check_parity(kind(**options), peer, ["quadratic"], steps=50)
