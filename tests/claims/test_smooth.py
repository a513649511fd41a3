"""Claims about ELU, SELU, swish and GELU."""

import math
from functools import partial
from timeit import timeit

import numpy as np
from scipy import optimize, stats

from companion import activations as act
from companion import initializers
from companion.backend import array, to_numpy
from companion.layers import ELU, SELU, Linear, ReLU, SiLU
from companion.network import Sequential
from companion.training import accuracy
from tests.claims.experiments import at, interval, kill, mlp, normal_mean, race, tasks, train


def test_elu_formula(ledger):
    x = -1e-12
    exact = x + x**2 / 2
    naive = abs((math.exp(x) - 1) / exact - 1)
    ours = abs(float(at(act.elu, x)) / exact - 1)
    ledger(
        "ACT-36",
        holds=naive > 1e-5
        and ours < 1e-15
        and np.allclose(at(act.elu, [-2.0, 3.0]), [math.expm1(-2), 3]),
        measured="at $-10^{-12}$ the relative error of $e^x-1$ is "
        rf"${naive * 1e5:.1f}\cdot10^{{-5}}$, that of the package below $10^{{-15}}$",
    )


def test_elu_derivative(ledger):
    x = np.linspace(-5, 0, 51)
    h = 1e-7
    sides = {}
    for alpha in (0.5, 1.0, 2.0):
        elu = partial(at, act.elu, alpha=alpha)
        error = abs(at(act.elu_grad, x, alpha=alpha) - (elu(x) + alpha)).max()
        assert error < 1e-15
        sides[alpha] = -float(elu(-h)) / h, float(elu(h)) / h
    ledger(
        "ACT-37",
        holds=all(abs(left - a) < 1e-6 and right == 1 for a, (left, right) in sides.items()),
        measured=r"$f+\alpha$ to $10^{-15}$ on $[-5,0]$; slopes left and right of 0: "
        + ", ".join(
            rf"{left:.1f} and {right:.0f} for $\alpha={a:g}$" for a, (left, right) in sides.items()
        ),
    )


def test_mean_of_elu(ledger):
    mean = {
        "SELU": normal_mean(act.selu),
        "ELU": normal_mean(act.elu),
        "PReLU with slope 0.25": normal_mean(partial(act.prelu, weight=0.25)),
        "leaky ReLU": normal_mean(act.leaky_relu),
        "ReLU": normal_mean(act.relu),
    }
    ledger(
        "ACT-39",
        holds=np.diff(list(mean.values())).min() > 1e-3 and 0.16 < mean["ELU"] < 0.161,
        measured="mean output under $N(0,1)$: "
        + ", ".join(f"{name} {abs(value):.3f}" for name, value in mean.items()),
    )


def test_cost_of_elu(ledger):
    rng = np.random.default_rng(0)
    x = array(rng.standard_normal((128, 1024)), dtype="float32")
    weight = array(rng.standard_normal((1024, 1024)), dtype="float32")
    calls = {
        "leaky ReLU": lambda: act.leaky_relu(x),
        "ELU": lambda: act.elu(x),
        "matrix product": lambda: x @ weight,
    }
    best = dict.fromkeys(calls, math.inf)
    for _ in range(20):
        for name, call in calls.items():
            best[name] = min(best[name], timeit(call, number=1))
    ledger(
        "ACT-40",
        holds=max(best["leaky ReLU"], best["ELU"]) < best["matrix product"],
        measured="in a layer of 1024 units, 128 samples, float32, ELU and leaky ReLU both take "
        "less time than the matrix product before them",
    )


def test_elu_saturates(ledger):
    slope, value = float(at(act.elu_grad, -10.0)), float(at(act.elu, -20.0))
    ledger(
        "ACT-41",
        holds=slope < 5e-5 and -1 < value < -1 + 1e-8,
        measured=rf"$f'(-10)={slope * 1e5:.1f}\cdot10^{{-5}}$ and "
        rf"$f(-20)=-1+{(value + 1) * 1e9:.1f}\cdot10^{{-9}}$ for $\alpha=1$",
    )


def test_elu_unit_far_left_does_not_move(ledger):
    moved = {}
    for depth in (0.05, 40.0):
        for name, data in tasks().items():
            net = mlp(data[0].shape[1], 2, ELU)
            start = kill(net, net.init(np.random.default_rng(1), 10), data[0], 1, 16, depth)
            end, _ = train(net, start, data, 0.1, 200)
            change = abs(net.unpack(to_numpy(end - start))["0.weight"][..., :16])
            moved[depth, name] = change.max() if depth > 1 else change.max((1, 2)).min()
    ledger(
        "ACT-42",
        holds=all(moved[0.05, n] > 0.01 and moved[40.0, n] < 1e-12 for n in tasks()),
        measured="200 updates move the weights of units that are below $-40$ on all data by less "
        "than $10^{-12}$ (clusters and digits, ten seeds), where units just below 0 move by more "
        "than 0.01",
    )


def moments(function):
    """Mean and variance of function(z) for z ~ N(0, 1)."""
    mean = normal_mean(function)
    return mean, normal_mean(lambda z: function(z) ** 2) - mean**2


def test_selu_constants(ledger):
    def off(constants):
        scale, alpha = constants
        mean, variance = moments(lambda z: scale * act.elu(z, alpha=alpha))
        return mean, variance - 1

    scale, alpha = optimize.fsolve(off, (1.0, 1.0), xtol=1e-12)
    _, variance = moments(lambda z: 1.0507009873554805 * act.elu(z))
    ledger(
        "ACT-43",
        holds=abs(scale - 1.0507009873554805) < 1e-6
        and abs(alpha - 1.6732632423543772) < 1e-6
        and abs(variance - 1) > 0.3,
        measured=rf"mean 0 and variance 1 are kept for $\lambda={scale:.5f}$ and "
        rf"$\alpha={alpha:.5f}$; with $\alpha=1$ the variance is {variance:.3f}",
    )


def test_selu_slope(ledger):
    slope = float(at(act.selu, 3.0) - at(act.selu, 2.0))
    ledger("ACT-44", holds=slope > 1, measured=f"slope {slope:.4f}")


def rademacher(shape, *, rng):
    return rng.choice([-1.0, 1.0], shape) / math.sqrt(shape[0])


def test_selu_needs_no_normal_weights(ledger):
    x = array(np.random.default_rng(0).standard_normal((50, 200)))
    seen = {}
    for name, init in {
        "normal": initializers.lecun_normal,
        "uniform": partial(initializers.kaiming_uniform, gain=1.0),
        r"$\pm1$": rademacher,
    }.items():
        layers = [f for _ in range(30) for f in (Linear(200, 200, init), SELU())]
        net = Sequential(*layers)
        y, _ = net.forward(net.init(np.random.default_rng(1), 10), x)
        y = to_numpy(y)
        skew = stats.skew(y, axis=None)
        seen[name] = abs(y.mean((1, 2))).max(), y.var((1, 2)).mean(), skew
    ledger(
        "ACT-46",
        holds=all(m < 0.1 and abs(v - 1) < 0.1 and 0.3 < s < 0.5 for m, v, s in seen.values()),
        measured="variance and skewness after 30 layers of 200 units: "
        + ", ".join(f"{v:.2f} and {s:.2f} with {n} weights" for n, (_, v, s) in seen.items())
        + " (ten seeds)",
    )


def test_deep_selu_and_relu(ledger):
    right = {}
    arms = {"SELU": (SELU, 1.0), "ReLU": (ReLU, 1.0), "ReLU with He weights": (ReLU, math.sqrt(2))}
    for name, data in tasks().items():
        for arm, (activation, gain) in arms.items():
            net = mlp(data[0].shape[1], 20, activation, gain=gain)
            start = net.init(np.random.default_rng(1), 10)
            end, _ = train(net, start, data, 0.02, 100)
            right[name, arm] = np.median(to_numpy(accuracy(net, end, *data)))
    for name in tasks():
        assert right[name, "SELU"] > 0.7 > 0.3 > right[name, "ReLU with He weights"]
        assert right[name, "ReLU"] < 0.15
    ledger(
        "ACT-47",
        measured="median training accuracy of ten seeds on clusters and on digits, 20 layers of "
        "32 units without normalisation, 100 updates at rate 0.02: above 0.7 with SELU, below "
        "0.3 with ReLU and He weights, at chance with ReLU and SELU's weights",
    )


def test_swish_beta(ledger):
    x, h = np.linspace(-6, 6, 121), 1e-6
    error = 0.0
    for beta in (0.5, 1.0, 3.0):
        central = (at(act.swish, x, beta=beta + h) - at(act.swish, x, beta=beta - h)) / (2 * h)
        error = max(error, abs(at(act.swish_grad_beta, x, beta=beta) - central).max())
    same = abs(at(act.swish, x) - at(act.silu, x)).max()
    ledger(
        "ACT-56",
        holds=error < 1e-8 and same < 1e-15,
        measured=r"$\partial f/\partial\beta=x^2\sigma(\beta x)\sigma(-\beta x)$ agrees with "
        r"central differences to $10^{-8}$; with $\beta=1$ it is SiLU",
    )


def test_swish_minimum(ledger):
    lowest = {}
    for beta in (0.5, 1.0, 4.0):
        found = optimize.minimize_scalar(
            lambda x, b=beta: float(at(act.swish, x, beta=b)), (-3 / beta, -1 / beta), tol=1e-10
        )
        lowest[beta] = beta * found.x, beta * found.fun
    x, y = lowest[1.0]
    ledger(
        "ACT-57",
        holds=np.allclose(list(lowest.values()), (-1.2785, -0.2785), atol=1e-4)
        and at(act.swish, 1e300) == 1e300,
        measured=rf"for $\beta=\frac12$, 1 and 4 the minimum is at $\beta x={x:.4f}$, where "
        rf"$\beta f={y:.4f}$",
    )


def test_swish_between_linear_and_relu(ledger):
    x = np.linspace(-10, 10, 200001)
    far = {b: abs(at(act.swish, x, beta=b) - at(act.relu, x)).max() for b in (10.0, 100.0, 1000.0)}
    flat = abs(at(act.swish, x, beta=1e-6) - x / 2).max()
    ledger(
        "ACT-58",
        holds=all(abs(b * d - 0.2785) < 1e-3 for b, d in far.items()) and flat < 1e-4,
        measured=r"largest distance to ReLU on $[-10,10]$: "
        + ", ".join(rf"{d:.5f} for $\beta={b:g}$" for b, d in far.items())
        + r"; to $x/2$ below $10^{-4}$ for $\beta=10^{-6}$",
    )


def swish_correlation(c, q=1.0):
    """Map the correlation of two inputs to that one layer on, at the edge of chaos.

    There the weights have variance 1/E[f'(z)²], z ~ N(0, q), and the biases what is missing to q.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    z = math.sqrt(q) * nodes
    w = 1 / (weights @ at(act.silu_grad, z) ** 2)
    b = q - w * (weights @ at(act.silu, z) ** 2)
    assert b > 0
    other = at(act.silu, c * z[:, None] + math.sqrt(1 - c * c) * z) @ weights
    return (b + w * (weights @ (at(act.silu, z) * other))) / q


def relu_correlation(c):
    """Do the same for ReLU with He weights: the arc-cosine kernel."""
    return (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi


def test_swish_at_the_edge_of_chaos(ledger):
    swish = relu = 0.5
    for _ in range(50):
        swish, relu = swish_correlation(swish), relu_correlation(relu)
    ledger(
        "ACT-60",
        holds=1 - swish > 3 * (1 - relu),
        measured="two inputs start with a correlation $c=0.5$; after 50 layers at the edge of "
        f"chaos $1-c$ is {1 - swish:.3f} with swish and {1 - relu:.3f} with ReLU",
    )


def test_swish_in_shallow_networks(ledger):
    ratio = {}
    for name, data in tasks().items():
        for depth in (1, 2):
            n = [
                race(mlp(data[0].shape[1], depth, f), data, 2.0 ** np.arange(-4, 5), 80)
                for f in (SiLU, ReLU)
            ]
            ratio[name, depth] = n[0] / n[1]
    ledger(
        "ACT-61",
        holds=all(0.6 < r.mean() < 1.5 for r in ratio.values()),
        measured="updates to 25 % training error over those of ReLU, each at its best rate, mean "
        "and 95 % interval of ten seeds: "
        + ", ".join(
            f"{interval(r)} on {n} with {d} hidden layer{'s'[: d - 1]}"
            for (n, d), r in ratio.items()
        ),
    )


def test_gelu_forms(ledger):
    x = np.linspace(-5, 5, 100001)
    exact = at(act.gelu, x)
    tanh, sigmoid = (
        abs(at(act.gelu, x, approximate=form) - exact).max() for form in ("tanh", "sigmoid")
    )
    formula = abs(exact - x * stats.norm.cdf(x)).max()
    lowest = x[exact.argmin()]
    ledger(
        "ACT-73",
        holds=formula < 1e-14 and tanh < 4.8e-4 and sigmoid < 0.0204,
        measured=rf"it is $x\Phi(x)$ to $10^{{-14}}$; on $[-5,5]$ the tanh form is off by at most "
        rf"${tanh * 1e4:.2f}\cdot10^{{-4}}$, $x\sigma(1.702x)$ by {sigmoid:.4f}; minimum "
        f"${exact.min():.4f}$ at ${lowest:.3f}$",
    )


def test_gelu_is_an_expectation(ledger):
    rng = np.random.default_rng(0)
    off = []
    for x in (-0.7, 0.4, 1.3):
        # A Bernoulli variable of probability Phi(x): is a normal variable below x?
        kept = x * (rng.standard_normal(400_000) < x)
        off.append((kept.mean() - float(at(act.gelu, x))) / (kept.std() / math.sqrt(len(kept))))
    ledger(
        "ACT-74",
        holds=max(map(abs, off)) < 3,
        measured="means of 400,000 draws at $-0.7$, 0.4 and 1.3 are within 3 standard errors "
        "of GELU",
    )
