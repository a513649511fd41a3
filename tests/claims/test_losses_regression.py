"""Claims about the losses of regression that are not told in the prose."""

from functools import partial

import numpy as np

from companion import datasets, losses, training
from companion.activations import softmax
from companion.backend import array, namespace, to_numpy
from companion.layers import Dropout, Linear, ReLU
from companion.network import Sequential
from companion.optimizers import SGD
from companion.teaching.race import mlp


def value(loss, error):
    return float(loss(array([error]), array([0.0])))


def slope(loss, error):
    return float(losses.grad_of(loss)(array([error]), array([0.0]))[0])


def test_smooth_l1_has_no_jump(ledger):
    near, jumps, ratios = 1e-9, [], []
    for beta in (1.0, 1 / 9, 3.0):
        loss = partial(losses.smooth_l1_loss, beta=beta)
        huber = partial(losses.huber_loss, delta=beta)
        for f in (value, slope):
            jumps.append(abs(f(loss, beta + near) - f(loss, beta - near)))
        ratios += [value(huber, e) / value(loss, e) / beta for e in (0.01, beta, 7.0)]
    formula = max(
        abs(value(losses.smooth_l1_loss, e) - (0.5 * e * e if abs(e) < 1 else abs(e) - 0.5))
        for e in np.linspace(-3, 3, 61)
    )
    ledger(
        "LOSS-25",
        holds=max(jumps) < 2e-8 and abs(np.array(ratios) - 1).max() < 1e-12 and formula < 1e-15,
        measured="value and slope have no jump at $\\pm\\beta$ for $\\beta=1,\\frac19,3$; Huber's "
        "loss is $\\delta$ times it; the stated formula agrees on $[-3,3]$",
    )


def descend(loss, x, rate, steps):
    path = [x]
    for _ in range(steps):
        path.append(path[-1] - rate * slope(loss, path[-1]))
    return np.abs(path)


def test_the_rate_alone_decides_on_a_parabola(ledger):
    starts = (0.01, 10.05, 1e6)
    ends = [[descend(losses.mse_loss, x, r, 100)[-1] / x for r in (0.3, 1.25)] for x in starts]
    smooth = descend(losses.smooth_l1_loss, 10.05, 2.5, 1000)[-100:].max()
    first = [10.05 - descend(f, 10.05, 0.3, 1)[1] for f in (losses.mse_loss, losses.smooth_l1_loss)]
    ends = np.array(ends)
    ledger(
        "LOSS-27",
        holds=(ends[:, 0] < 1e-30).all() and (ends[:, 1] > 1e15).all() and smooth < 1.3,
        measured=f"a first step of {first[0]:.2f} for $e^2$ and {first[1]:.2f} for smooth L1 at "
        "10.05 and a rate of 0.3; $e^2$ converges at a rate of 0.3 and diverges at 1.25 from "
        "0.01 as from a million, smooth L1 stays within 1.3 even at 2.5",
    )


def test_an_outlier_pulls_the_square_without_bound(ledger):
    distances = (10.0, 100.0, 1000.0)
    pulls = {
        f.__name__: [slope(f, e) for e in distances] for f in (losses.mse_loss, losses.l1_loss)
    }
    rng = np.random.default_rng(0)
    y = np.append(rng.standard_normal(95), np.full(5, 100.0))
    mean, median = y.mean(), np.median(y)
    # at the mean and the median the slopes of the losses change sign
    target = array(y)
    at_rest = [
        float(namespace(target).sum(losses.mse_loss_grad(mean + 0 * target, target))),
        float(namespace(target).sum(losses.l1_loss_grad(median + 0 * target, target))),
    ]
    ledger(
        "LOSS-36",
        holds=pulls["mse_loss"] == [20, 200, 2000]
        and pulls["l1_loss"] == [1, 1, 1]
        and abs(np.array(at_rest)).max() < 1e-12
        and mean > 4.9
        and median < 0.5,
        measured="the slope at errors of 10, 100 and 1000 is 20, 200 and 2000, of L1 always 1; "
        f"five of a hundred samples at 100 move the mean to {mean:.1f}, the median to {median:.1f}",
    )


def test_dropout_before_a_square_is_a_ridge(ledger):
    rng, keep = np.random.default_rng(0), 0.5
    x, w = rng.standard_normal((400, 6)), rng.standard_normal(6)
    y = x @ w  # without noise, so that w itself is best without dropout
    gram = x.T @ x
    ridge = np.linalg.solve(gram + (1 - keep) / keep * np.diag(np.diag(gram)), x.T @ y)
    net = Sequential(Dropout(1 - keep), Linear(6, 1))
    theta = net.init(np.random.default_rng(1), replicas=20)
    _, history = training.fit(
        net,
        theta,
        (array(x), array(y[:, None])),
        loss=losses.mse_loss,
        optimizer=SGD(0.02),
        rng=np.random.default_rng(2),
        steps=1500,
        batch_size=100,
        ema=0.995,
    )
    found = to_numpy(history.average)[:, :6].mean(0)
    norms = [np.linalg.norm(v) for v in (w, ridge, found)]
    off = np.linalg.norm(found - ridge) / norms[1]
    ledger(
        "LOSS-38",
        holds=off < 0.05 and norms[1] < 0.6 * norms[0],
        measured=f"targets linear in six inputs and without noise, half of the inputs dropped: "
        f"the ridge in closed form shrinks $\\|w\\|$ from {norms[0]:.2f} to {norms[1]:.2f}, and "
        "training with masks ends within 5 % of it",
    )


def test_hard_bins_stay_behind_on_a_smooth_function():
    """With four times the updates of the section, each at the best of six rates tried."""
    a, b, c, d = np.random.default_rng(5).uniform(-1, 1, (4, 1800, 1))
    y = np.sin(3 * a + 2 * b) * c + d**2
    y = (y - y.mean()) / y.std()
    data = array(np.concatenate([a, b, c, d], 1)), array(y)
    (x, y), (x_test, y_test) = datasets.split(data, np.random.default_rng(0))
    edges = np.linspace(float(y.min()), float(y.max()), 13)
    hard = losses.bin_probabilities(y[:, 0], edges, "hard")
    soft = losses.bin_probabilities(y[:, 0], edges, "gaussian", sigma=0.75 * (edges[1] - edges[0]))

    def error(target, loss, rate):
        net = mlp(4, 1, ReLU, n_out=target.shape[-1])
        theta, _ = training.fit(
            net,
            net.init(np.random.default_rng(1), replicas=10),
            (x, target),
            loss=loss,
            optimizer=SGD(rate),
            schedule=lambda t: rate * (1 - t / 4000),
            rng=np.random.default_rng(0),
            steps=4000,
            batch_size=50,
        )
        out = net.forward(theta, x_test)[0]
        if target.shape[-1] > 1:
            out = losses.bin_mean(softmax(out), edges)[..., None]
        return np.median(((to_numpy(out) - to_numpy(y_test)) ** 2).mean((-2, -1)) ** 0.5)

    square = error(y, losses.mse_loss, 0.3)
    assert error(hard, losses.cross_entropy, 3.0) > 1.4 * square
    assert 0.9 * square < error(soft, losses.cross_entropy, 4.0) < 1.4 * square
