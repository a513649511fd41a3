"""Claims about what a loss is, entropy and divergence."""

import math

import numpy as np
import pytest

from companion import datasets, losses
from companion.activations import softmax
from companion.backend import array, to_numpy
from companion.layers import Linear
from companion.network import Sequential
from companion.teaching.claims import load
from tests.claims.experiments import at
from tests.claims.test_groups import central_difference


@pytest.mark.parametrize("id", ["LOSS-01", "LOSS-03", "LOSS-04"])
def test_settled_by_citation(id, ledger):
    assert load()[id].evidence == "citation"
    ledger(id)


def test_a_small_loss_is_not_robustness(ledger):
    rng = np.random.default_rng(0)
    points, between = np.linspace(-1, 1, 15), np.linspace(-1, 1, 401)
    noisy = np.sin(3 * points)[:, None] + 0.15 * rng.standard_normal((15, 20))
    seen, unseen = {}, {}
    for degree in (5, 13):
        basis, fine = (np.polynomial.legendre.legvander(p, degree) for p in (points, between))
        w = np.linalg.lstsq(basis, noisy, rcond=None)[0]
        seen[degree] = ((basis @ w - noisy) ** 2).mean(0)
        unseen[degree] = ((fine @ w - np.sin(3 * between)[:, None]) ** 2).mean(0)
    times = np.median(unseen[13] / unseen[5])
    ledger(
        "LOSS-02",
        holds=(seen[13] < seen[5]).all() and (unseen[13] > unseen[5]).all() and times > 20,
        measured=r"polynomials through 15 noisy values of $\sin3x$, twenty draws: at degree 13 the "
        f"loss on them is {np.median(seen[5] / seen[13]):.0f} times smaller than at degree 5, "
        f"and the error between them {times:.0f} times larger, medians",
    )


def test_zero_one_loss(ledger):
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal((1000, 5)), rng.integers(5, size=1000)
    each = to_numpy(losses.zero_one_loss(array(z), array(t), reduction="none"))
    right = z.argmax(-1) == t
    ledger(
        "LOSS-05",
        holds=np.array_equal(each, ~right)
        and math.isclose(float(losses.zero_one_loss(array(z), array(t))), 1 - right.mean()),
        measured="on 1000 random answers 0 where the answer is the label, else 1; the mean is one "
        "minus the accuracy",
    )


def test_the_zero_one_loss_has_no_slope(ledger):
    x, y = datasets.digits()
    x, y = x[:300], y[:300]
    net = Sequential(Linear(64, 10))
    theta = net.init(np.random.default_rng(1), replicas=1000)
    step = array(1e-5 * np.random.default_rng(0).standard_normal(theta.shape))
    up, down = (net.forward(theta + s, x)[0] for s in (step, -step))
    zero_one, bits = (
        to_numpy(loss(z, y, reduction="none"))
        for loss, z in ((losses.zero_one_loss, up), (losses.cross_entropy, up))
    )
    flat = {
        loss.__name__: (to_numpy(loss(up, y)) == to_numpy(loss(down, y))).mean()
        for loss in (losses.zero_one_loss, losses.cross_entropy)
    }
    ledger(
        "LOSS-06",
        holds=flat["zero_one_loss"] > 0.99
        and flat["cross_entropy"] == 0
        and (bits / np.log(2) >= zero_one).all(),
        measured=f"on 300 digits the difference of the 0–1 risk is 0 at "
        f"{flat['zero_one_loss']:.1%} of 1000 random weights, that of cross-entropy at "
        f"{flat['cross_entropy']:.0%}; cross-entropy in bits is never below the 0–1 loss",
    )


def test_entropy_of_a_coin(ledger):
    p = np.linspace(0, 1, 1001)
    bits = at(losses.entropy, np.stack([p, 1 - p], axis=-1)) / np.log(2)
    ledger(
        "LOSS-07",
        holds=p[bits.argmax()] == 0.5 and abs(bits.max() - 1) < 1e-12 and bits[0] == bits[-1] == 0,
        measured=f"the entropy of a coin is largest at {p[bits.argmax()]}, {bits.max():.0f} bit, "
        "and 0 for one that always falls alike",
    )


def test_entropy_formula(ledger):
    p = np.random.default_rng(0).dirichlet(np.ones(5))
    mean = p @ at(losses.self_information, p)
    uniform = float(at(losses.entropy, np.full(8, 1 / 8)))
    ledger(
        "LOSS-09",
        holds=abs(float(at(losses.entropy, p)) - mean) < 1e-14
        and float(at(losses.entropy, [1.0, 0.0, 0.0])) == 0
        and abs(uniform - np.log(8)) < 1e-14,
        measured="equal to the mean self-information to $10^{-14}$; 0 for (1, 0, 0), "
        r"$\log8$ for eight equal chances",
    )


def test_self_information(ledger):
    bits = at(losses.self_information, [1.0, 0.5, 0.125]) / np.log(2)
    ledger(
        "LOSS-10",
        holds=np.allclose(bits, [0, 1, 3], rtol=0, atol=1e-15),
        measured="probabilities 1, 1/2 and 1/8: " + ", ".join(f"{b:.0f}" for b in bits) + " bits",
    )


def test_divergence(ledger):
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), size=(2, 10000))
    there = to_numpy(losses.kl_div(array(np.log(q)), array(p), reduction="none"))
    direct = (p * (np.log(p) - np.log(q))).sum(-1)
    a, b = np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])
    ab, ba = (float(losses.kl_div(array(np.log(y)), array(x))) for x, y in ((a, b), (b, a)))
    ledger(
        "LOSS-18",
        holds=np.allclose(there, direct, rtol=1e-10) and (there >= 0).all() and abs(ab - ba) > 0.1,
        measured="never negative for 10,000 random pairs; "
        f"{ab:.3f} and {ba:.3f} in the two directions between (0.9, 0.1) and (0.5, 0.5)",
    )


def test_cross_entropy_is_entropy_plus_divergence(ledger):
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal((2, 50, 6))
    p = at(softmax, t)
    surprise = at(losses.self_information, at(softmax, z))
    cross = (p * surprise).sum(-1)  # the mean of -log q under p
    parts = at(losses.entropy, p) + to_numpy(
        losses.kl_div_with_logits(array(z), array(t), reduction="none")
    )
    labels = rng.integers(6, size=50)
    one_hot = to_numpy(losses.cross_entropy(array(z), array(labels), reduction="none"))
    ledger(
        "LOSS-19",
        holds=np.allclose(one_hot, surprise[np.arange(50), labels], rtol=1e-12)
        and np.isinf(at(losses.self_information, [0.0])).all(),
        measured=r"with a one-hot $P$ it is the mean of $-\log Q$ at the labels; infinite where "
        r"$Q=0<P$",
    )

    def difference(z):
        q = to_numpy(softmax(array(z)))
        return float(-(p[0] * np.log(q)).sum())

    gradient = to_numpy(losses.kl_div_with_logits_grad(array(z[:1]), array(t[:1])))[0]
    ledger(
        "LOSS-20",
        holds=abs(cross - parts).max() < 1e-14
        and abs(gradient - central_difference(difference, z[0])).max() < 1e-8,
        measured="$H(p,q)=H(p)+D(p\\|q)$ to $10^{-14}$ for 50 random pairs; the gradients of both "
        "in the logits agree to $10^{-8}$",
    )
