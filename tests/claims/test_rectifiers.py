"""Claims about ReLU and its relatives: dead units, leaks, learned and random slopes."""

import inspect
import math
from functools import partial

import numpy as np
import pytest

from companion import activations as act
from companion import datasets, initializers, losses
from companion.backend import array, to_numpy
from companion.layers import CReLU, LeakyReLU, Linear, PReLU, ReLU, Sigmoid
from companion.network import Sequential
from companion.training import accuracy
from tests.claims.experiments import (
    at,
    dead,
    hidden,
    interval,
    kill,
    mlp,
    normal_mean,
    race,
    tasks,
    train,
)

LOW, HIGH, RUINOUS = 0.3, 3.0, 10.0


@pytest.fixture(scope="module")
def start():
    """Ten networks of two hidden layers for each task, as they are drawn."""
    nets = {name: mlp(data[0].shape[1], 2, ReLU, width=64) for name, data in tasks().items()}
    return {name: (net, net.init(np.random.default_rng(1), 10)) for name, net in nets.items()}


@pytest.fixture(scope="module")
def trained(start):
    """The same after 200 updates, by task and learning rate."""
    return {
        (name, lr): train(*start[name], tasks()[name], lr, 200)[0]
        for name in tasks()
        for lr in (LOW, HIGH, RUINOUS)
    }


@pytest.fixture(scope="module")
def spiked(start):
    """The same after one update at a rate of 100, and after 300 more at 0.1."""
    after = {}
    for name, data in tasks().items():
        net, theta = start[name]
        spike, _ = train(net, theta, data, 100.0, 1)
        after[name] = spike, train(net, spike, data, 0.1, 300)[0]
    return after


def dead_share(start, thetas):
    """Median over the seeds of the dead fraction in layer 2, for each task."""
    return {
        name: np.median(dead(start[name][0], thetas[name], tasks()[name][0])) for name in tasks()
    }


def test_relu_formula(ledger):
    x = np.linspace(-3, 3, 61)
    away = abs(x) > 1e-3
    central = (at(act.relu, x + 1e-6) - at(act.relu, x - 1e-6)) / 2e-6
    error = abs(at(act.relu_grad, x) - central)[away].max()
    slope = float(at(act.relu_grad, 0.0))
    ledger(
        "ACT-18",
        holds=(at(act.relu, x) == np.maximum(x, 0)).all() and error < 1e-9 and slope == 0,
        measured=f"equal to $\\max(0,x)$ on 61 points; the slope taken at 0 is {slope:.0f}",
    )


@pytest.fixture(scope="module")
def gradient_ratio():
    """Median over ten seeds of the gradient's norm in over out, for 20 layers of 128 units."""
    ratio = {}
    x = array(np.random.default_rng(0).standard_normal((50, 128)))
    for activation, gain in ((ReLU, 1.0), (ReLU, math.sqrt(2)), (ReLU, 2.0), (Sigmoid, 1.0)):
        layers = [
            f() for _ in range(20) for f in (partial(Linear, 128, 128, gain=gain), activation)
        ]
        net = Sequential(*layers)
        y, cache = net.forward(net.init(np.random.default_rng(1), 10), x)
        dy = array(np.random.default_rng(2).standard_normal(tuple(y.shape)))
        dx, dy = to_numpy(net.backward(cache, dy)[0]), to_numpy(dy)
        norms = np.linalg.norm(dx, axis=(1, 2)) / np.linalg.norm(dy, axis=(1, 2))
        ratio[activation, gain] = np.median(norms)
    return ratio


def test_slope_one_alleviates_vanishing(ledger, gradient_ratio):
    he, small = gradient_ratio[ReLU, math.sqrt(2)], gradient_ratio[ReLU, 1.0]
    sigmoid = gradient_ratio[Sigmoid, 1.0]
    ledger(
        "ACT-20",
        holds=0.3 < he < 3 and sigmoid < 1e-11 and 1e-4 < small < 1e-2,
        measured=f"gradient at the first of 20 layers over that at the last: {he:.1f} for ReLU "
        f"with He weights, {small:.4f} with $N(0,1/n)$, below $10^{{-11}}$ for sigmoid",
    )


def test_relu_does_not_stop_explosion(ledger, gradient_ratio):
    small, large = gradient_ratio[ReLU, 1.0], gradient_ratio[ReLU, 2.0]
    ledger(
        "ACT-71",
        holds=small < 1e-2 and large > 300,
        measured=f"20 ReLU layers multiply the gradient by {small:.4f} for weights $N(0,1/n)$ and "
        f"by more than 300 for $N(0,4/n)$",
    )


def test_half_of_the_outputs_are_zero(ledger, start, trained):
    x = array(np.random.default_rng(0).standard_normal((500, 100)))
    net = mlp(100, 5, ReLU, width=200)
    theta = net.init(np.random.default_rng(1), 10)
    zero = [(hidden(net, theta, x, layer) <= 0).mean((-2, -1)).mean() for layer in range(1, 6)]
    later = [
        (hidden(start[n][0], trained[n, LOW], d[0], 2) <= 0).mean() for n, d in tasks().items()
    ]
    ledger(
        "ACT-21",
        holds=0.45 < min(zero) <= max(zero) < 0.55 and all(0.4 < z < 0.8 for z in later),
        measured=f"zeros in each of 5 He-initialised layers: {min(zero):.2f} to {max(zero):.2f} "
        f"(means of ten seeds); in layer 2 after training {later[0]:.2f} on clusters and "
        f"{later[1]:.2f} on digits",
    )


def test_dead_units_are_not_updated(ledger, start, trained):
    moved = {}
    for name, data in tasks().items():
        net, theta = start[name]
        killed = kill(net, theta, data[0], 1, units=16)
        end, _ = train(net, killed, data, LOW, 200)
        change = net.unpack(to_numpy(end - killed))["0.weight"]
        moved[name] = abs(change[..., :16]).max()
    share = {
        lr: dead_share(start, {n: trained[n, lr] for n in tasks()}) for lr in (LOW, HIGH, RUINOUS)
    }
    ledger(
        "ACT-22",
        holds=max(moved.values()) == 0
        and max(share[LOW].values()) < 0.1
        and min(share[HIGH].values()) > 0.5
        and min(share[RUINOUS].values()) > 0.95,
        measured="weights of units that are off for all data move by exactly 0; median share of "
        "dead units in layer 2 after 200 updates, clusters and digits: below 0.10 at rate 0.3, "
        "above 0.5 at 3, above 0.95 at 10",
    )


def test_causes_of_dead_units(ledger, start, spiked):
    before = dead_share(start, {n: theta for n, (_, theta) in start.items()})
    spike = dead_share(start, {n: one for n, (one, _) in spiked.items()})
    bad = {}
    for name, data in tasks().items():
        net = Sequential(
            Linear(data[0].shape[1], 64),
            ReLU(),
            Linear(64, 64, init=initializers.normal, mean=-0.2, std=0.2),
        )
        bad[name] = np.median(dead(net, net.init(np.random.default_rng(1), 10), data[0]))
    ledger(
        "ACT-23",
        holds=max(before.values()) < 0.1 and min(spike.values()) > 0.4 and min(bad.values()) > 0.9,
        measured="median share of dead units in layer 2, clusters and digits: "
        f"{before['clusters']:.2f} and {before['digits']:.2f} as drawn, {spike['clusters']:.2f} "
        f"and {spike['digits']:.2f} after one update at a rate of 100; over 0.9 as drawn with "
        "weights of mean $-0.2$",
    )


def test_spike_moves_hyperplanes_off_the_data(ledger, start, spiked):
    silent, nearly = {}, {}
    for name, (x, _) in tasks().items():
        net, theta = start[name]
        for when, t in (("before", theta), ("after", spiked[name][0])):
            active = (hidden(net, t, x, 2) > 0).mean(-2)
            silent[name, when] = (active == 0).mean()
            nearly[name, when] = ((active > 0) & (active < 0.05)).mean()
    ledger(
        "ACT-75",
        holds=all(
            silent[n, "after"] > 0.4 > 0.1 > silent[n, "before"] and nearly[n, "after"] > 0.01
            for n in tasks()
        ),
        measured="one update at a rate of 100, share of units of layer 2 that no sample activates: "
        + ", ".join(
            f"{silent[n, 'before']:.2f} before and {silent[n, 'after']:.2f} after on {n} (and "
            f"{nearly[n, 'after']:.2f} that fewer than 5 % do)"
            for n in tasks()
        ),
    )


def test_remedies(ledger, start, trained):
    share = {lr: dead_share(start, {n: trained[n, lr] for n in tasks()}) for lr in (LOW, HIGH)}
    diverged = 0
    for name, data in tasks().items():
        net = mlp(data[0].shape[1], 2, LeakyReLU, width=64)
        _, history = train(net, start[name][1], data, RUINOUS, 200)
        diverged += (history.diverged >= 0).sum()
    ledger(
        "ACT-76",
        holds=max(share[LOW].values()) < 0.1 < 0.5 < min(share[HIGH].values()) and diverged > 15,
        measured="dead share of layer 2 above 0.5 at rate 3 and below 0.10 at 0.3; with leak 0.01 "
        f"and rate 10, {diverged} of 20 networks diverge to nan (ten on each task)",
    )


def test_no_problem_at_a_good_rate(ledger, start, trained):
    before = dead_share(start, {n: theta for n, (_, theta) in start.items()})
    after = dead_share(start, {n: trained[n, LOW] for n in tasks()})
    right = {
        n: np.median(to_numpy(accuracy(start[n][0], trained[n, LOW], *tasks()[n]))) for n in tasks()
    }
    ledger(
        "ACT-78",
        holds=all(after[n] <= before[n] + 0.01 and right[n] > 0.95 for n in tasks()),
        measured=f"at rate 0.3 the dead share of layer 2 goes from {before['clusters']:.2f} to "
        f"{after['clusters']:.2f} on clusters and from {before['digits']:.2f} to "
        f"{after['digits']:.2f} on digits, with training accuracies of {right['clusters']:.2f} "
        f"and {right['digits']:.2f} (medians of ten seeds)",
    )


def test_mean_of_relu(ledger):
    mean = normal_mean(act.relu)
    ledger(
        "ACT-26",
        holds=abs(mean - 1 / math.sqrt(2 * math.pi)) < 1e-6
        and at(act.relu, [-1.0, 0.0]).max() == 0,
        measured=f"mean output {mean:.4f} under $N(0,1)$; no output below 0",
    )


def test_leaky_relu_keeps_units_alive(ledger):
    x = np.linspace(-3, 3, 61)
    same = [
        np.array_equal(at(act.leaky_relu, x, negative_slope=a), np.maximum(a * x, x))
        for a in (0.01, 0.2, 1.0, 1.5)
    ]
    revived = {}
    for slope in (0.01, 0.2):
        for name, data in tasks().items():
            net = mlp(data[0].shape[1], 2, partial(LeakyReLU, slope))
            theta = kill(net, net.init(np.random.default_rng(1), 10), data[0], 1, units=16)
            end, _ = train(net, theta, data, 0.1, 500)
            revived[slope, name] = (hidden(net, end, data[0], 1)[..., :16] > 0).any(-2).sum(-1)
    ledger(
        "ACT-28",
        holds=same == [True, True, True, False]
        and all(revived[0.2, n].min() > revived[0.01, n].max() for n in tasks()),
        measured=r"$\max(\alpha x,x)$ is the leaky ReLU for $\alpha=0.01$, 0.2 and 1, not for "
        "1.5; of 16 dead units of layer 1, 500 updates revive (means of ten seeds) "
        + ", ".join(
            f"{revived[0.01, n].mean():.1f} with leak 0.01 and {revived[0.2, n].mean():.1f} with "
            f"0.2 on {n}"
            for n in tasks()
        ),
    )


def test_leaks_in_use(ledger):
    default = inspect.signature(act.leaky_relu).parameters["negative_slope"].default
    x = array(np.random.default_rng(0).standard_normal((50, 128)))
    kept = {}
    for slope in (0.01, 0.2, 0.3):
        gain = initializers.calculate_gain("leaky_relu", slope)
        net = mlp(128, 49, partial(LeakyReLU, slope), width=128, n_out=128, gain=gain)
        y = to_numpy(net.forward(net.init(np.random.default_rng(1), 10), x)[0])
        kept[slope] = np.median(np.sqrt((y**2).mean((1, 2)))) / math.sqrt((to_numpy(x) ** 2).mean())
    ledger(
        "ACT-29",
        holds=default == 0.01 and all(0.4 < k < 2.5 for k in kept.values()),
        measured=f"default {default}; through 50 layers with gain $\\sqrt{{2/(1+\\alpha^2)}}$ the "
        "rms of the signal changes by "
        + ", ".join(f"{k:.2f} for {s}" for s, k in kept.items())
        + " (medians of ten seeds)",
    )


def test_leaky_relu_against_relu(ledger):
    sets = {
        "clusters": (tasks()["clusters"], datasets.clusters(rng=np.random.default_rng(1))),
        "digits": datasets.split(tasks()["digits"], np.random.default_rng(0)),
    }
    difference = {}
    for name, (training_set, test_set) in sets.items():
        right = {}
        for slope in (0.0, 0.01, 0.2):
            net = mlp(training_set[0].shape[1], 2, partial(LeakyReLU, slope))
            end, _ = train(net, net.init(np.random.default_rng(1), 20), training_set, 0.2, 200)
            right[slope] = 100 * to_numpy(accuracy(net, end, *test_set))
        difference[name] = [right[slope] - right[0.0] for slope in (0.01, 0.2)]
    ledger(
        "ACT-30",
        measured="test accuracy of leaky ReLU less that of ReLU, in points, mean and 95 % interval "
        "of 20 seeds: "
        + "; ".join(
            f"{n} {interval(small)} with leak 0.01, {interval(large)} with 0.2"
            for n, (small, large) in difference.items()
        ),
    )


def test_prelu_learns_slopes_above_one(ledger):
    x = np.linspace(-2, 2, 41)
    h = 1e-6
    central = (at(act.prelu, x, weight=0.25 + h) - at(act.prelu, x, weight=0.25 - h)) / (2 * h)
    error = abs(at(act.prelu_grad_weight, x, weight=0.25) - central).max()
    data = datasets.curve(lambda x: np.where(x > 0, x, 1.5 * x))
    net = Sequential(PReLU())
    theta, _ = train(
        net, net.init(np.random.default_rng(0)), data, 0.5, 500, losses.mse_loss, batch_size=201
    )
    inputs, targets = map(to_numpy, data)
    slopes = np.linspace(0, 3, 301)
    best = min(np.mean((np.maximum(a * inputs, inputs) - targets) ** 2) for a in slopes)
    learned = float(theta[0])
    ledger(
        "ACT-31",
        holds=error < 1e-9 and abs(learned - 1.5) < 1e-6 and best > 0.01,
        measured=rf"$\partial f/\partial a=\min(0,x)$ to $10^{{-9}}$; on data of slope 1.5 it "
        f"learns $a={learned:.3f}$, while $\\max(\\alpha x,x)$ keeps a squared error of {best:.3f}",
    )


def test_speed_of_prelu(ledger):
    rates = 2.0 ** np.arange(-4, 2)
    ratio = {}
    for name, data in tasks().items():
        n = [race(mlp(data[0].shape[1], 3, f), data, rates, 150, seeds=20) for f in (PReLU, ReLU)]
        ratio[name] = n[0] / n[1]
    ledger(
        "ACT-32",
        measured="updates to 25 % training error over those of ReLU, three hidden layers, each at "
        "its best rate, mean and 95 % interval of 20 seeds: "
        + ", ".join(f"{interval(r)} on {n}" for n, r in ratio.items()),
    )


def test_mean_of_prelu(ledger):
    mean = {a: normal_mean(partial(act.prelu, weight=a)) for a in (0.25, 1.5)}
    relu = normal_mean(act.relu)
    exact = {a: (1 - a) / math.sqrt(2 * math.pi) for a in mean}
    ledger(
        "ACT-33",
        holds=all(abs(mean[a] - exact[a]) < 1e-6 for a in mean) and 0 < mean[0.25] < relu,
        measured=f"under $N(0,1)$ {mean[0.25]:.3f} with $a=0.25$ and ${mean[1.5]:.3f}$ with "
        f"$a=1.5$, against {relu:.3f} for ReLU",
    )


def test_rrelu_slopes_are_uniform(ledger):
    rng = np.random.default_rng(0)
    x = array(np.full(1_000_000, -1.0))
    drawn = {c: to_numpy(act.sample_rrelu(rng, x, convention=c)) for c in ("torch", "paper")}
    fixed = {c: -float(at(act.rrelu, -1.0, convention=c)) for c in drawn}
    z = (drawn["torch"] - drawn["torch"].mean()) / drawn["torch"].std()
    kurtosis = (z**4).mean() - 3
    ledger(
        "ACT-35",
        holds=all(d.min() >= 1 / 8 and d.max() <= 1 / 3 for d in drawn.values())
        and abs(kurtosis + 1.2) < 0.02
        and abs(drawn["torch"].mean() - 11 / 48) < 5e-4
        and abs(drawn["paper"].mean() - math.log(8 / 3) / 5) < 5e-4
        and np.allclose([fixed["torch"], fixed["paper"]], [11 / 48, 1 / 5.5]),
        measured=f"excess kurtosis of $10^6$ slopes ${kurtosis:.2f}$ (uniform $-1.2$, Gaussian 0); "
        f"mean slope in training {drawn['torch'].mean():.3f} and {drawn['paper'].mean():.3f}, at "
        f"test time {fixed['torch']:.3f} and {fixed['paper']:.3f}, by PyTorch's and the paper's "
        "convention",
    )


def test_crelu_loses_nothing(ledger):
    x = np.random.default_rng(0).standard_normal((1000, 8))
    up, down = np.split(at(act.crelu, x), 2, axis=-1)
    norm = np.linalg.norm(np.concatenate([up, down], -1), axis=-1) / np.linalg.norm(x, axis=-1)
    after = Sequential(Linear(8, 8), CReLU(), Linear(16, 8)), Sequential(Linear(8, 8), ReLU())
    assert after[0].layers[2].shapes["weight"] == (16, 8)
    ledger(
        "ACT-48",
        holds=np.array_equal(up - down, x)
        and np.array_equal(up + down, abs(x))
        and abs(norm - 1).max() < 1e-15,
        measured="difference and sum of the halves give $x$ and $|x|$ exactly, and the norm is "
        "kept to $10^{-15}$; 8 inputs become 16 outputs",
    )


def test_mean_of_leaky_relu(ledger):
    mean = {a: normal_mean(partial(act.leaky_relu, negative_slope=a)) for a in (0.01, 0.2)}
    ledger(
        "ACT-77",
        holds=all(abs(m - (1 - a) / math.sqrt(2 * math.pi)) < 1e-6 for a, m in mean.items()),
        measured=f"mean under $N(0,1)$: {mean[0.01]:.3f} with leak 0.01, {mean[0.2]:.3f} with 0.2",
    )
