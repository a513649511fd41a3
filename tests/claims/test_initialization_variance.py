"""Claims about the size of initial weights that are not told in the prose."""

import math
from itertools import pairwise

import numpy as np

from companion import initializers, losses
from companion.activations import leaky_relu, leaky_relu_grad, relu, relu_grad, tanh, tanh_grad
from companion.backend import array, to_numpy
from companion.layers import Tanh
from tests.claims.experiments import mlp, tasks, train

SEEDS = 10


def linear(z):
    return z


def one(z):
    return 1 + 0 * z


def run(f, f_grad, std, widths, samples=8):
    """Root mean squares by layer: of z, of f(z), and of the gradients in both, the median seed."""
    rng = np.random.default_rng(0)
    a = array(rng.standard_normal((SEEDS, samples, widths[0])))
    weights, zs, found = [], [], {"z": [], "a": [], "dz": [], "da": []}

    def note(name, v):
        found[name].append(float(np.median(np.sqrt((to_numpy(v) ** 2).mean((-2, -1))))))

    for i, (n, m) in enumerate(pairwise(widths)):
        scale = std(n, m) if callable(std) else std
        weights.append(array(scale * rng.standard_normal((SEEDS, n, m))))
        zs.append(a @ weights[i])
        a = f(zs[i])
        note("z", zs[i])
        note("a", a)
    d = array(rng.standard_normal(tuple(a.shape)))
    for w, z in zip(reversed(weights), reversed(zs), strict=True):
        note("da", d)
        d = d * f_grad(z)
        note("dz", d)
        d = d @ w.mT
    note("da", d)
    return {k: np.array(v if k in "za" else v[::-1]) for k, v in found.items()}


def test_it_is_the_product_that_counts(ledger):
    """The factor of a gradient per layer is sqrt(chi), small slopes or not."""
    rows = []
    for sigma in (0.5, 1.0, 3.0, 20.0):
        r = run(tanh, tanh_grad, sigma / math.sqrt(200), [200] * 21)
        q = r["z"][-1] ** 2  # the size has settled
        z = np.linspace(-1, 1, 200_001) * 12 * math.sqrt(q)
        density = np.exp(-(z**2) / (2 * q)) / math.sqrt(2 * math.pi * q)
        chi = sigma**2 * np.trapezoid(density / np.cosh(np.minimum(abs(z), 99)) ** 4, z)
        growth = (r["dz"][5] / r["dz"][15]) ** 0.1
        rows.append((sigma, math.sqrt(chi), growth))
    holds = all(abs(growth / chi - 1) < 0.08 for _, chi, growth in rows)
    holds &= rows[0][2] < 0.6 and rows[3][2] > 2.5
    text = ", ".join(rf"$\sigma_w={s:g}$: {g:.1f} ($\sqrt\chi={c:.1f}$)" for s, c, g in rows)
    ledger("INIT-01", holds=holds, measured=f"gradient's factor per tanh layer, {text}")


def test_the_variance_goes_with_one_over_the_width(ledger):
    def ratio(scale, n):
        r = run(relu, relu_grad, scale, [n] * 31)
        return r["dz"][0] / r["dz"][-1]

    fixed = [ratio(0.1, n) for n in (50, 200, 400)]
    scaled = [ratio(math.sqrt(2 / n), n) for n in (50, 200, 400)]
    ledger(
        "INIT-06",
        holds=fixed[0] < 1e-3 and fixed[2] > 100 and all(0.1 < r < 3 for r in scaled),
        measured="30 ReLU layers, gradient at the bottom over the top: standard deviation 0.1 "
        "below 0.001 for 50 units and above 100 for 400; with $2/n$ within 0.1 to 3 for "
        "50, 200 and 400",
    )


def test_both_passes_want_their_scale(ledger):
    """Eight tanh layers, the best of four rates after 150 updates; two tasks."""
    holds, worst, best = True, math.inf, 0.0
    rates = array(np.array([0.01, 0.03, 0.1, 0.3])[:, None, None])
    for data in tasks().values():
        n_in, ends = data[0].shape[1], {}
        for name, options in {
            "small": {"init": initializers.normal, "std": 0.01},
            "right": {"init": initializers.lecun_normal},
            "large": {"init": initializers.normal},
        }.items():
            net = mlp(n_in, 8, Tanh, **options)
            theta = net.init(np.random.default_rng(0), replicas=5)
            theta, _ = train(net, theta + 0 * rates, data, rates, 150)
            loss = losses.cross_entropy(net.forward(theta, data[0])[0], data[1], reduction="none")
            ends[name] = float(np.nanmin(np.median(to_numpy(loss).mean(-1), axis=1)))
        holds &= ends["right"] < 0.75 * min(ends["small"], ends["large"])
        worst, best = min(worst, ends["small"], ends["large"]), max(best, ends["right"])
    ledger(
        "INIT-08",
        holds=holds and best < 0.5 and worst > 2,
        measured="loss of 8 tanh layers at the best of 4 rates, digits and clusters: below 0.5 "
        "for $1/\\sqrt n$, above 2 for standard deviations of 0.01 and of 1",
    )


def test_a_small_scale_shrinks_by_the_root_of_the_width(ledger):
    factors = {}
    for n in (100, 400, 1600):
        a = run(tanh, tanh_grad, 0.01, [n] * 6, samples=4)["a"]
        factors[n] = (a[-1] / a[1]) ** (1 / 3)
    # the widest: at 10⁴ units nothing shrinks but what tanh takes
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2, 10_000)) * 0.1 @ (0.01 * rng.standard_normal((10_000, 500)))
    factor = z.std() / 0.1
    ledger(
        "INIT-09",
        holds=all(abs(f / (0.01 * math.sqrt(n)) - 1) < 0.1 for n, f in factors.items())
        and abs(factor - 1) < 0.1,
        measured="factor per layer for 100, 400 and 1600 units: "
        + ", ".join(f"{f:.2f}" for f in factors.values())
        + f"; for 10,000: {factor:.1f}",
    )


def test_small_signals_come_with_small_gradients(ledger):
    r = run(tanh, tanh_grad, 0.01, [500] * 11)
    per_layer = (r["da"][0] / r["da"][-1]) ** 0.1
    inputs = np.array([1.0, *r["a"][:-1]])
    weights = inputs * r["dz"]  # the size of a weight's gradient, up to the same factor
    even = weights.max() / weights.min()
    ledger(
        "INIT-10",
        holds=abs(per_layer - 0.224) < 0.02 and weights.max() < 1e-5 and even < 2,
        measured=f"gradients of activations: factor {per_layer:.2f} per layer; those of the "
        "weights equally tiny in all ten layers, within a factor of 2",
    )


def test_xavier_keeps_both_in_a_linear_network(ledger):
    r = run(linear, one, lambda n, m: math.sqrt(2 / (n + m)), [256] * 21)
    forward, backward = r["a"][-1] / r["a"][0], r["dz"][0] / r["dz"][-1]
    w = initializers.xavier_uniform((300, 500), rng=np.random.default_rng(0))
    ledger(
        "INIT-14",
        holds=0.7 < forward < 1.3
        and 0.7 < backward < 1.3
        and abs(w.var() * 400 - 1) < 0.02
        and abs(w).max() <= math.sqrt(6 / 800),
        measured="20 linear layers of 256: activations and gradients of pre-activations within "
        "0.7 to 1.3 of their start",
    )


def test_xavier_is_a_compromise(ledger):
    found = {}
    for n, m in ((1000, 100), (100, 1000), (300, 300)):
        r = run(linear, one, math.sqrt(2 / (n + m)), [n, m], samples=100)
        found[n, m] = r["a"][0] ** 2, (r["da"][0] / r["dz"][0]) ** 2
    exact = {key: (2 * key[0] / sum(key), 2 * key[1] / sum(key)) for key in found}
    ledger(
        "INIT-15",
        holds=all(np.allclose(found[key], exact[key], rtol=0.05) for key in found),
        measured="mean square forward and backward: "
        + ", ".join(f"{n} to {m} {f:.1f} and {b:.1f}" for (n, m), (f, b) in found.items()),
    )


def test_he_keeps_pre_activations_and_gradients_of_activations(ledger):
    r = run(relu, relu_grad, lambda n, m: math.sqrt(2 / n), [256] * 51)
    forward, backward = r["z"][-1] / r["z"][0], r["da"][0] / r["da"][-1]
    # either fan is enough, also where widths change: here they grow and shrink
    widths = [100, 300] * 10 + [100]
    either = []
    for std in (lambda n, m: math.sqrt(2 / n), lambda n, m: math.sqrt(2 / m)):
        r2 = run(relu, relu_grad, std, widths)
        either += [r2["z"][-1] / r2["z"][1], r2["da"][0] / r2["da"][-1]]
    ledger(
        "INIT-16",
        holds=0.3 < forward < 1.5 and 0.3 < backward < 1.5 and all(0.2 < e < 3 for e in either),
        measured="50 ReLU layers of 256: pre-activations and gradients of activations within 0.3 "
        "to 1.5 of their start; over 20 layers of 100 and 300 units by turns, either fan "
        "within 0.2 to 3",
    )


def test_leaky_slopes_have_their_scale(ledger):
    ratios, xavier = [], []
    for slope in (0.01, 0.2, 0.3):

        def f(z, slope=slope):
            return leaky_relu(z, slope)

        def df(z, slope=slope):
            return leaky_relu_grad(z, slope)

        for factor, into in ((2 / (1 + slope**2), ratios), (1.0, xavier)):
            a = run(f, df, math.sqrt(factor / 256), [256] * 51)["a"]
            into.append(a[-1] / a[0])
    ledger(
        "INIT-17",
        holds=all(0.3 < r < 2 for r in ratios) and max(xavier) < 1e-5,
        measured="size after 50 leaky layers, slopes 0.01, 0.2, 0.3: within 0.3 to 2 of the start "
        "with $2/((1+a^2)n)$, below 0.00001 with Xavier's rule",
    )
