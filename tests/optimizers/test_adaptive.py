"""AdaGrad, RMSProp, Adadelta: the papers, other libraries, planted mistakes."""

import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

from companion.backend import array, to_numpy
from companion.optimizers import Adadelta, Adagrad, RMSprop
from tests.optimizers.parity import check_parity, optaxs, torchs, written

SOME = ["quadratic", "logistic"]


@pytest.mark.parametrize(
    ("opt", "transform"),
    [
        # optax and Keras: epsilon in the root, which is part of the sum before the first step
        (
            Adagrad(lr=0.05, initial_accumulator_value=0.1 + 1e-7, eps=0.0),
            optax.adagrad(0.05, initial_accumulator_value=0.1, eps=1e-7),
        ),
        (RMSprop(lr=0.05, alpha=0.9), optax.rmsprop(0.05, decay=0.9, eps_in_sqrt=False)),
        (
            RMSprop(lr=0.05, alpha=0.9, momentum=0.8),
            optax.rmsprop(0.05, decay=0.9, eps_in_sqrt=False, momentum=0.8),
        ),
        (Adadelta(lr=0.5, rho=0.8), optax.adadelta(0.5, rho=0.8)),
    ],
)
def test_optaxs_form(created, opt, transform):
    check_parity(opt, optaxs(transform), SOME, steps=200)


def test_adagrad_is_the_papers(created):
    def rule(theta, grad, memory, t):
        """Duchi et al., figure 1, for a sequence of linear losses: from all gradients so far."""
        memory.setdefault("grads", []).append(grad)
        return theta - 0.1 * grad / (0.01 + np.linalg.norm(memory["grads"], axis=0))

    check_parity(Adagrad(lr=0.1, eps=0.01), written(rule), steps=100)


def test_adadelta_is_the_papers(created):
    def rule(theta, grad, memory, t):
        """Zeiler, algorithm 1: the averages as sums over all steps so far."""
        weights = 0.05 * 0.95 ** np.arange(t)[::-1, None, None]
        memory.setdefault("grads", []).append(grad)
        rms = np.sqrt((weights * np.square(memory["grads"])).sum(0) + 1e-6)
        moves = memory.setdefault("moves", [])
        old = (weights[1:] * np.square(moves)).sum(0) if moves else 0.0
        moves.append(-np.sqrt(old + 1e-6) / rms * grad)
        return theta + moves[-1]

    check_parity(Adadelta(rho=0.95), written(rule), steps=60)


@pytest.mark.parametrize("kind", [Adagrad, RMSprop, Adadelta])
def test_a_coordinate_without_gradients_stays(created, kind):
    opt = kind(lr=0.1)
    theta = array([1.0, 1.0])
    state = opt.init(theta)
    for _ in range(3):
        theta, state = opt.update(theta, array([0.5, 0.0]), state)
    assert to_numpy(theta)[1] == 1
    assert to_numpy(theta)[0] < 1


def test_rounding_takes_no_variance_below_zero(created):
    opt = RMSprop(lr=1e-9, alpha=0.9, centered=True)
    theta = array(np.ones(100))
    grad = array(np.random.default_rng(0).uniform(1, 2, 100))
    state = opt.init(theta)
    for _ in range(1000):
        theta, state = opt.update(theta, grad, state)
    variance = to_numpy(state["square_avg"] - state["grad_avg"] ** 2)
    assert (variance < 0).any()
    assert np.isfinite(to_numpy(theta)).all()


def test_a_start_for_each_replica(created):
    opt = Adagrad(lr=1.0, initial_accumulator_value=np.array([[0.0], [3.0]]))
    theta = array(np.zeros((2, 4)))
    theta, _ = opt.update(theta, array(np.ones((2, 4))), opt.init(theta))
    assert_allclose(to_numpy(theta), -np.outer([1, 0.5], np.ones(4)), rtol=1e-9)


# Planted mistakes ---------------------------------------------------------------------------


def wrong_adagrad(mistake=""):
    def rule(self, theta, grad, state, t):
        total = state["sum"] + (grad if mistake == "no square" else grad**2)
        before = state["sum"] if mistake == "of the past only" else total
        root = np.sqrt(np.abs(before))
        scale = np.sqrt(before + self.eps) if mistake == "eps inside" else root + self.eps
        first = t if mistake == "decay at once" else t - 1
        rate = self.lr / (1 + first * self.lr_decay)
        return theta - rate * grad / scale, {"sum": total}

    return rule


def wrong_rmsprop(mistake=""):
    def rule(self, theta, grad, state, t):
        a, b = self.alpha, 1 - self.alpha
        if mistake == "swapped":
            a, b = b, a
        if mistake == "a sum":
            b = 1.0
        square = a * state["square_avg"] + b * grad**2
        mean = a * state["grad_avg"] + b * grad
        own = square - (mean if mistake == "mean" else mean**2)
        if mistake == "not centred":
            own = square
        scale = np.sqrt(np.maximum(own, 0)) + self.eps
        buffer = self.momentum * state["momentum_buffer"]
        buffer = buffer + grad / scale
        step = self.lr * buffer
        if mistake == "momentum before":
            step = self.lr * (self.momentum * state["momentum_buffer"] + grad) / scale
        return theta - step, {"square_avg": square, "grad_avg": mean, "momentum_buffer": buffer}

    return rule


def wrong_adadelta(mistake=""):
    def rule(self, theta, grad, state, t):
        square = self.rho * state["square_avg"] + (1 - self.rho) * grad**2
        if mistake == "eps outside":
            step = (state["acc_delta"] ** 0.5 + self.eps) / (square**0.5 + self.eps) * grad
        else:
            step = np.sqrt((state["acc_delta"] + self.eps) / (square + self.eps)) * grad
        kept = self.lr * step if mistake == "with the rate" else step
        moved = self.rho * state["acc_delta"] + (1 - self.rho) * kept**2
        return theta - self.lr * step, {"square_avg": square, "acc_delta": moved}

    return rule


WRONG = [
    *(
        (Adagrad, wrong_adagrad, mistake, {"lr": 0.05, "lr_decay": 0.1, "eps": 0.01})
        for mistake in ("no square", "of the past only", "eps inside", "decay at once")
    ),
    *(
        (RMSprop, wrong_rmsprop, mistake, {"lr": 0.05, "momentum": 0.9, "centered": True})
        for mistake in ("swapped", "a sum", "mean", "not centred", "momentum before")
    ),
    *(
        (Adadelta, wrong_adadelta, mistake, {"lr": 0.5})
        for mistake in ("eps outside", "with the rate")
    ),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("kind", "wrong", "mistake", "options"), WRONG)
def test_a_wrong_step_is_caught(on_numpy, monkeypatch, kind, wrong, mistake, options):
    peer = torchs(kind.__name__, **options)
    monkeypatch.setattr(kind, "_step", wrong())
    check_parity(kind(**options), peer, ["quadratic"], steps=100)
    monkeypatch.setattr(kind, "_step", wrong(mistake))
    with pytest.raises(AssertionError):
        check_parity(kind(**options), peer, ["quadratic"], steps=100)


def test_the_rate_stays_outside_the_momentum(created):
    """Which only a rate that changes tells from a rate inside, where Keras and optax have it."""
    opt = RMSprop(lr=lambda t: 0.1 / (1 + t), alpha=0.0, eps=0.0, momentum=0.5)
    theta = array([0.0])
    state = opt.init(theta)
    for _ in range(2):
        theta, state = opt.update(theta, array([3.0]), state)
    assert_allclose(to_numpy(theta), [-0.1 - 0.05 * 1.5], rtol=1e-12)
