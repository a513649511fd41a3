"""Claims about gradient descent that are not told in a box."""

import numpy as np

from companion import datasets
from companion.backend import array, to_numpy
from companion.optimizers import SGD


def left(lr, curvature, steps):
    """Descend from ones on half the sum of curvature times square."""
    opt, x, curvature = SGD(lr), array(np.ones(len(curvature))), array(curvature)
    state = opt.init(x)
    for _ in range(steps):
        x, state = opt.update(x, curvature * x, state)
    return to_numpy(x)


def pixels_and_ones():
    x, y = (to_numpy(a) for a in datasets.digits())
    return np.concatenate([x, np.ones((len(x), 1))], axis=1), y


def test_the_largest_stable_rate(ledger):
    inside, outside = (abs(left(lr / 3, [3.0], 1000)[0]) for lr in (1.99, 2.01))
    ledger(
        "OPT-01",
        holds=bool(inside < 1e-4 and outside > 1e4),
        measured="a parabola, 1,000 steps from 1: below 0.0001 at rate times curvature 1.99, "
        "above 10,000 at 2.01",
    )


def test_a_sum_needs_another_rate_for_every_number_of_samples(ledger):
    x, _ = pixels_and_ones()
    limits = [2 / np.linalg.eigvalsh(x[:m].T @ x[:m])[-1] for m in (10, 100, 1000)]
    grown = []
    for m, limit in zip((10, 100, 1000), limits, strict=True):
        for share in (0.98, 1.02):
            theta, opt = array(np.ones(65)), SGD(share * limit)
            gram = array(x[:m].T @ x[:m])
            state = opt.init(theta)
            for _ in range(1000):
                theta, state = opt.update(theta, gram @ theta, state)
            grown.append(float(to_numpy(abs(theta)).max() > 1e3))
    ledger(
        "OPT-03",
        holds=grown == [0, 1] * 3,
        measured="digits, loss as a sum: largest stable rate "
        f"{limits[0]:.4f}, {limits[1]:.5f}, {limits[2]:.6f} for 10, 100, 1,000 samples; as a mean "
        f"{10 * limits[0]:.3f}, {100 * limits[1]:.3f}, {1000 * limits[2]:.3f}",
    )


def test_sorted_samples_end_in_the_last_class(ledger):
    x, y = pixels_and_ones()

    def accuracy(order):
        theta, opt = np.zeros((65, 10)), SGD(0.03)
        state = opt.init(theta)
        for i in order:
            p = np.exp(x[i] @ theta)
            theta, state = opt.update(theta, np.outer(x[i], p / p.sum() - np.eye(10)[y[i]]), state)
        return ((x @ theta).argmax(1) == y).mean()

    rng = np.random.default_rng(5)
    orders = [rng.permutation(len(y)) for _ in range(10)]
    mixed = [accuracy(order) for order in orders]
    by_class = [accuracy(order[np.argsort(y[order], kind="stable")]) for order in orders]
    ledger(
        "OPT-04",
        holds=min(mixed) > 0.9 and max(by_class) < 0.15,
        measured="softmax regression on the digits, one epoch of single samples, ten orders: more "
        "than 90 % right after shuffled samples, less than 15 % after samples sorted by class",
    )


def test_a_batch_divides_the_variance(ledger):
    x, y = pixels_and_ones()
    g = (x[:, :, None] * (0.1 - np.eye(10)[y])[:, None, :]).reshape(len(x), -1)
    g = (g - g.mean(0))[:200]
    g = g - g.mean(0)
    n, s, rng = 200, (g**2).sum(1).mean(), np.random.default_rng(0)
    found, theory = {}, {}
    for replace in (True, False):
        for size in (1, 10, 100):
            means = [g[rng.choice(n, size, replace=replace)].mean(0) for _ in range(2000)]
            found[replace, size] = size * np.mean(np.sum(np.square(means), 1)) / s
            theory[replace, size] = 1.0 if replace else (n - size) / (n - 1)
    ledger(
        "OPT-06",
        holds=all(abs(found[k] / theory[k] - 1) < 0.05 for k in found),
        measured="gradients of 200 digits, batches of 1, 10 and 100: variance times batch size, in "
        "units of the variance of single samples, is 1 with replacement, and "
        f"{theory[False, 1]:.2f}, {theory[False, 10]:.2f}, {theory[False, 100]:.2f} without, "
        "within 5 %",
    )


def test_slow_where_badly_conditioned(ledger):
    steps = []
    for kappa in (10.0, 100.0, 10_000.0):
        factor = (kappa - 1) / (kappa + 1)
        steps.append(int(np.ceil(np.log(1e-6) / np.log(factor))))
        rate, both = 2 / (1 + kappa), np.array([1.0, kappa])
        assert abs(left(rate, both, steps[-1])).max() <= 1e-6 * (1 + 1e-9)
        assert abs(left(rate, both, steps[-1] - 1)).max() > 1e-6
    with np.errstate(over="ignore"):
        fails = abs(left(2.02 / 100, np.array([1.0, 100.0]), 1000)).max() > 1e6
    ledger(
        "OPT-07",
        holds=bool(fails) and steps == [69, 691, 69078],
        measured=f"steps to a millionth at the best rate: {steps[0]}, {steps[1]} and {steps[2]} "
        "for condition numbers 10, 100 and 10,000; divergence at 1.01 of the limit",
    )
