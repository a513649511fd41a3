"""Claims about non-linearity, the step, the sigmoid and tanh."""

import math
from functools import partial

import mpmath
import numpy as np

from companion import activations as act
from companion import datasets, losses
from companion.backend import array, to_numpy
from companion.layers import Heaviside, Linear, Sigmoid, Tanh
from companion.network import Sequential
from companion.training import accuracy
from tests.claims.experiments import at, mlp, normal_mean, tasks, train


def test_nonlinearity_solves_xor(ledger):
    points = datasets.xor()
    quadrants = datasets.quadrants(rng=np.random.default_rng(0))
    right = {}
    for name, net in {
        "tanh": mlp(2, 1, Tanh, width=8, n_out=2, gain=5 / 3),
        "affine": Sequential(Linear(2, 2)),
    }.items():
        theta = net.init(np.random.default_rng(0), 10)
        on_xor, _ = train(net, theta, points, 0.5, 1000, batch_size=4)
        on_quadrants, _ = train(net, theta, quadrants, 0.5, 1000)
        right[name] = (
            to_numpy(accuracy(net, on_xor, *points)),
            to_numpy(accuracy(net, on_quadrants, *quadrants)),
        )
    ledger(
        "ACT-03",
        holds=right["tanh"][0].min() == 1
        and right["affine"][0].max() <= 0.75
        and right["tanh"][1].min() > 0.9 > 0.65 > right["affine"][1].max(),
        measured="with 8 tanh units all of ten seeds solve XOR, and are right on over 90 % of its "
        "continuous form; without them at most 75 % and 65 %",
    )


def test_sigmoid_formula(ledger):
    x = [-700.0, -50.0, -1.0, 0.0, 1.0, 50.0, 700.0]
    with np.errstate(over="raise", invalid="raise"):
        ours = at(act.sigmoid, x)
    with mpmath.workdps(60):
        exact = [1 / (1 + mpmath.exp(-mpmath.mpf(p))) for p in x]
        error = max(abs(mpmath.mpf(float(v)) / e - 1) for v, e in zip(ours, exact, strict=True))
    ledger(
        "ACT-04",
        holds=error < 1e-14,
        measured=r"for $|x|\le700$ the relative error is below $10^{-14}$; nothing overflows",
    )


def test_sigmoid_range_in_float32(ledger):
    below, above = at(act.sigmoid, [17.32, 17.34]).astype("float32")
    at_20 = array([20.0], dtype="float32")
    with np.errstate(divide="ignore"):
        naive = np.log(1 - to_numpy(act.sigmoid(at_20)))[0]
    right = -to_numpy(act.softplus(at_20))[0]
    ledger(
        "ACT-05",
        holds=below < 1 and above == 1 and naive == -np.inf and right == -20,
        measured=r"rounded to float32, $\sigma(17.32)<1=\sigma(17.34)$; there "
        r"$\log(1-\sigma(20))=-\infty$, and $-\mathrm{softplus}(20)=-20$",
    )


def test_sigmoid_is_monotone(ledger):
    x = np.linspace(-30, 30, 601)
    up, down = at(act.sigmoid, x), at(act.sigmoid, -x)
    ledger(
        "ACT-06",
        holds=np.diff(up).min() > 0 and abs(up + down - 1).max() < 1e-15,
        measured="it rises at each of 600 steps from $-30$ to 30, and the sum of its values at "
        "$x$ and at $-x$ is 1 to within $10^{-15}$",
    )


def test_sigmoid_derivative(ledger):
    x, h = np.linspace(-20, 20, 401), 1e-5
    central = (at(act.sigmoid, x + h) - at(act.sigmoid, x - h)) / (2 * h)
    value = at(act.sigmoid, x)
    error = abs(value * (1 - value) - central).max()
    largest = at(act.sigmoid_grad, x).max()
    ledger(
        "ACT-07",
        holds=error < 1e-9 and largest == 0.25,
        measured=r"$\sigma(1-\sigma)$ agrees with central differences to $10^{-9}$; the largest "
        f"slope is {largest}, so ten layers leave at most $0.25^{{10}}<10^{{-6}}$ of it",
    )


def test_saturated_sigmoid_learns_by_its_loss(ledger):
    slopes = at(act.sigmoid_grad, [-10.0, 10.0])
    error = at(act.sigmoid, -10.0) - 1  # the target is 1
    squared, cross_entropy = error * slopes[0], error
    ledger(
        "ACT-08",
        holds=np.allclose(slopes, 4.54e-5, rtol=1e-3) and abs(squared) < 1e-4 < 0.99 < -error,
        measured=rf"$\sigma'(\pm10)={slopes[0] * 1e5:.2f}\cdot10^{{-5}}$; the gradient of a unit "
        rf"at $-10$ with target 1 is ${squared * 1e5:.2f}\cdot10^{{-5}}$ with the squared loss "
        f"and ${cross_entropy:.2f}$ with cross-entropy",
    )


def test_mean_of_sigmoid(ledger):
    mean = normal_mean(act.sigmoid)
    ledger(
        "ACT-10",
        holds=abs(mean - 0.5) < 1e-12,
        measured=f"mean output {mean:.4f} under $N(0,1)$; what the mean costs stands at ACT-13",
    )


def one_signed(gradients):
    """Fraction of the vectors on the last axis whose entries all have one sign."""
    return float(((gradients > 0).all(-1) | (gradients < 0).all(-1)).mean())


def test_gradient_of_one_sample_has_one_sign(ledger):
    z, error = np.random.default_rng(0).standard_normal((2, 20000, 1, 8))
    share = {}
    for f in (act.sigmoid, act.tanh):
        # 20,000 replicas of a linear neuron, each with a sample of its own.
        net = Sequential(Linear(8, 1))
        theta = net.init(np.random.default_rng(1), 20000)
        _, cache = net.forward(theta, f(array(z)))
        _, grad = net.backward(cache, array(error[..., :1]))
        share[f] = one_signed(to_numpy(grad)[:, :8])
    ledger(
        "ACT-11",
        holds=share[act.sigmoid] == 1 and abs(share[act.tanh] - 2**-7) < 2e-3,
        measured="behind 8 sigmoid outputs all of 20,000 weight gradients have one sign, behind "
        f"8 tanh outputs {100 * share[act.tanh]:.2f} %; chance is {100 * 2**-7:.2f} %",
    )


def test_batch_relieves_the_zigzag(ledger):
    rng = np.random.default_rng(0)
    x = at(act.sigmoid, rng.standard_normal((2000, 100, 8)))
    error = rng.standard_normal((2000, 100, 1))
    free = one_signed((x * error).sum(1))
    still = one_signed((x * (error - error.mean(1, keepdims=True))).sum(1))
    trained = []
    for data in tasks().values():
        net = mlp(data[0].shape[1], 1, Sigmoid, width=8, gain=4.0)
        theta, _ = train(net, net.init(rng, 10), data, 1.0, 100)
        logits, cache = net.forward(theta, data[0][:100])
        _, grad = net.backward(cache, losses.cross_entropy_grad(logits, data[1][:100]))
        weight = to_numpy(net.unpack(grad)["2.weight"])
        trained.append(one_signed(np.swapaxes(weight, -1, -2)))
    ledger(
        "ACT-12",
        holds=free > 0.4 and still < 0.02 and all(still < share < free for share in trained),
        measured=f"share of one-signed gradients in batches of 100: {free:.2f} with independent "
        f"errors, {still:.2f} where they sum to 0, {trained[0]:.2f} and {trained[1]:.2f} after "
        "100 updates of a network on clusters and on digits",
    )


def test_fisher_and_hessian(ledger):
    rng = np.random.default_rng(0)
    x, theta = rng.standard_normal((200, 3)), rng.standard_normal(3)
    y = (rng.uniform(size=200) < 0.5) * 1.0

    def hessian(gradient, h=1e-6):
        steps = h * np.eye(3)
        return np.stack([(gradient(theta + d) - gradient(theta - d)) / (2 * h) for d in steps])

    def likelihood_grad(theta):
        return x.T @ (at(act.sigmoid, x @ theta) - y)

    def squared_grad(theta):
        z = x @ theta
        return x.T @ ((at(act.sigmoid, z) - y) * at(act.sigmoid_grad, z))

    p = at(act.sigmoid, x @ theta)
    # The mean of score times score over the labels that the model itself would draw.
    fisher = (x.T * (p * (1 - p) ** 2 + (1 - p) * p**2)) @ x
    same = np.linalg.norm(hessian(likelihood_grad) - fisher) / np.linalg.norm(fisher)
    squared = hessian(squared_grad)
    angle = (squared * fisher).sum() / np.linalg.norm(squared) / np.linalg.norm(fisher)
    ledger(
        "ACT-14",
        holds=same < 1e-8 and angle < 0.9,
        measured="logistic regression: Fisher matrix and Hessian of the likelihood agree to "
        f"$10^{{-8}}$; the Hessian of the squared loss has cosine {angle:.2f} with it",
    )


def test_tanh_formula(ledger):
    x = np.linspace(-20, 20, 4001)
    with np.errstate(over="ignore", invalid="ignore"):
        up, down = np.exp(800.0), np.exp(-800.0)
        naive = (up - down) / (up + down)
    error = abs(at(act.tanh, x) - (2 * at(act.sigmoid, 2 * x) - 1)).max()
    ledger(
        "ACT-15",
        holds=np.isnan(naive) and at(act.tanh, 800.0) == 1 and error < 1e-15,
        measured=f"at 800 the formula as written gives {naive}, the package 1; "
        r"$2\sigma(2x)-1$ agrees to $10^{-15}$",
    )


def test_tanh_is_centred_and_saturates(ledger):
    tanh_mean, sigmoid_mean = normal_mean(act.tanh), normal_mean(act.sigmoid)
    slope = float(at(act.tanh_grad, 5.0))
    below, above = at(act.tanh, [9.0, 9.02]).astype("float32")
    ledger(
        "ACT-16",
        holds=abs(tanh_mean) < 1e-12 and slope < 2e-4 and below < 1 and above == 1,
        measured=f"mean under $N(0,1)$: 0.00, and {sigmoid_mean:.2f} for sigmoid; "
        rf"$\tanh'(5)={slope * 1e4:.1f}\cdot10^{{-4}}$; "
        r"rounded to float32, $\tanh(9)<1=\tanh(9.02)$",
    )


def test_step_formula(ledger):
    x = [-math.inf, -2.0, -5e-324, 0.0, 5e-324, 3.0, math.inf]
    values = at(act.heaviside, x).tolist()
    ledger(
        "ACT-62",
        holds=values == [0, 0, 0, 1, 1, 1, 1] and at(act.heaviside, 0.0, values=0.5) == 0.5,
        measured="0 left of 0, 1 right of it; at 0 the option `values`, 1 unless given",
    )


def test_step_units_can_be_used(ledger):
    moved, right = [], {}
    for name, data in tasks().items():
        for estimator in ("none", "hardtanh"):
            units = partial(Heaviside, estimator=estimator)
            net = mlp(data[0].shape[1], 1, units, width=64)
            start = net.init(np.random.default_rng(1), 10)
            end, _ = train(net, start, data, 0.5, 300)
            right[name, estimator] = to_numpy(accuracy(net, end, *data))
            if estimator == "none":
                moved.append(abs(net.unpack(to_numpy(end - start))["0.weight"]).max())
    gain = [right[name, "hardtanh"] - right[name, "none"] for name in tasks()]
    mean = {key: value.mean() for key, value in right.items()}
    ledger(
        "ACT-63",
        holds=max(moved) == 0
        and all(mean[name, "none"] > 0.7 for name in tasks())
        and all(g.min() > 0.05 for g in gain),
        measured=f"hidden weights move by exactly 0; the output layer alone reaches an accuracy "
        f"of {mean['clusters', 'none']:.2f} on clusters and {mean['digits', 'none']:.2f} on "
        f"digits, with a straight-through estimator {mean['clusters', 'hardtanh']:.2f} and "
        f"{mean['digits', 'hardtanh']:.2f} (means of ten seeds)",
    )
