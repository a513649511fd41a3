"""Claims about AdaGrad and RMSProp that are not told in the prose."""

import inspect

import numpy as np
import torch

from companion.backend import array, to_numpy
from companion.optimizers import Adagrad, RMSprop


def walk(rule, slope, theta, steps):
    """Return the points that a rule visits, and the state it ends with."""
    theta = array(theta)
    state, path = rule.init(theta), [to_numpy(theta)]
    for t in range(1, steps + 1):
        theta, state = rule.update(theta, slope(theta, t), state)
        path.append(to_numpy(theta))
    return np.array(path), state


def test_adagrads_epsilon_beside_and_inside_the_root(ledger):
    """Keras has its epsilon in the sum from the start: it is a part of the sum's first value."""
    g = array([1e-6])
    beside, _ = walk(Adagrad(1.0, eps=1e-7), lambda x, t: g, [0.0], 1)
    inside = Adagrad(1.0, eps=0.0, initial_accumulator_value=1e-7)
    inside, _ = walk(inside, lambda x, t: g, [0.0], 1)
    beside, inside = -beside[1, 0], -inside[1, 0]
    ledger(
        "OPT-12",
        holds=abs(beside * 1.1 - 1) < 1e-9 and abs(inside / 1e-12**0.5 * 1e-7**0.5 - 1) < 1e-4,
        measured="at a gradient of $10^{-6}$ and $\\epsilon=10^{-7}$ the first step is "
        f"${beside:.2f}\\,\\eta$ with $\\epsilon$ beside the root and ${inside:.4f}\\,\\eta$ "
        "with it inside",
    )


def test_what_epsilon_guards(ledger):
    """A parameter that has no gradient; and how small the number is that libraries take."""
    silent = {}
    for eps in (0.0, 1e-10):
        with np.errstate(invalid="ignore"):
            path, _ = walk(Adagrad(0.1, eps=eps), lambda x, t: 0 * x, [1.0], 1)
        silent[eps] = float(path[1, 0])
    theirs = {
        kind: inspect.signature(getattr(torch.optim, kind)).parameters["eps"].default
        for kind in ("Adagrad", "RMSprop", "Adadelta", "Adam")
    }
    assert np.isnan(silent[0.0])
    assert silent[1e-10] == 1
    assert theirs == {"Adagrad": 1e-10, "RMSprop": 1e-8, "Adadelta": 1e-6, "Adam": 1e-8}
    ledger("OPT-15")


def test_adagrad_does_not_see_the_scale_of_a_coordinate(ledger):
    noise = array(np.random.default_rng(0).standard_normal((500, 7)))
    scale = array(10.0 ** np.array([-9, -6, -3, 0, 3, 6, 9]))
    rule, start = Adagrad(0.1, eps=0.0), np.ones(7)
    plain, _ = walk(rule, lambda x, t: x + noise[t - 1], start, 500)
    scaled, _ = walk(rule, lambda x, t: scale * (x + noise[t - 1]), start, 500)
    ledger(
        "OPT-13",
        holds=abs(plain - scaled).max() < 1e-9 and abs(plain[-1] - start).max() > 0.5,
        measured="with coordinates of the gradient multiplied by $10^{-9}$ to $10^9$, 500 steps "
        "are the same to $10^{-9}$",
    )


def test_adagrad_sums_squares(ledger):
    signs = [array([float((-1) ** t)]) for t in range(100)]
    sums, (theta, rule) = [], (array([0.0]), Adagrad(1.0))
    state = rule.init(theta)
    for g in signs:
        theta, state = rule.update(theta, g, state)
        sums.append(float(state["sum"][0]))
    gradients = np.cumsum([float(g[0]) for g in signs])
    ledger(
        "OPT-14",
        holds=sums == list(range(1, 101)) and set(gradients) == {0.0, 1.0},
        measured="under gradients 1, −1, 1, … the sum of the gradients is 1 or 0, and $s_t=t$",
    )


def test_adagrads_way_has_no_bound(ledger):
    one = array([1.0])
    way = -walk(Adagrad(1.0, eps=0.0), lambda x, t: one, [0.0], 10_000)[0][:, 0]
    steps = np.diff(way)
    hundred, all_of_it = way[100], way[10_000]
    ledger(
        "OPT-16",
        holds=(np.diff(steps) < 0).all()
        # 2 sqrt(T) + zeta(1/2) + 1/(2 sqrt(T)), by Euler and Maclaurin
        and all(abs(way[T] - (2 * T**0.5 - 1.4603545 + 0.5 * T**-0.5)) < 1e-3 for T in (100, 9999)),
        measured=f"under a constant gradient each step is shorter, and the way is "
        f"${hundred:.2f}\\,\\eta$ after 100 and ${all_of_it:.2f}\\,\\eta$ after 10,000 steps",
    )


def test_the_rate_falls_and_not_the_gradient(ledger):
    path, state = walk(Adagrad(0.1), lambda x, t: x, [100.0], 1000)
    gradient, step = path[-1, 0], path[-2, 0] - path[-1, 0]
    rate = 0.1 / float(state["sum"][0]) ** 0.5
    ledger(
        "OPT-18",
        holds=gradient > 90 and step < 0.004 and rate < 1e-4,
        measured="on $x^2/2$ from 100 with $\\eta=0.1$, after 1,000 steps: gradient "
        f"{gradient:.1f}, step {step:.4f}",
    )


def test_rmsprops_epsilon_matters_below_its_root(ledger):
    def inside(sizes, eps):
        """Keras's form, from the definition, under constant gradients."""
        s = theta = np.zeros_like(sizes)
        for _ in range(200):
            s = 0.9 * s + 0.1 * sizes**2
            theta = theta - 0.01 * sizes / np.sqrt(s + eps)
        return theta

    sizes = 10.0 ** np.arange(-9, 3)
    g = array(sizes)
    rule = RMSprop(0.01, alpha=0.9, eps=1e-8)
    beside = walk(rule, lambda x, t: g, 0 * sizes, 200)[0][-1]
    ratio = inside(sizes, 1e-8) / beside
    large, small = ratio[sizes > 9e-3], ratio[sizes < 2e-5]
    ledger(
        "OPT-20",
        holds=(abs(large - 1) < 1e-3).all() and (small < 0.15).all(),
        measured="with $\\epsilon=10^{-8}$ in either place 200 steps agree within 0.1 % for "
        "gradients from $10^{-2}$ on; for gradients up to $10^{-5}$ the form with $\\epsilon$ "
        "inside the root makes less than a sixth of the way",
    )


def test_old_gradients_fade_by_the_decay_rate(ledger):
    rule = RMSprop(alpha=0.9)
    theta, found = array([0.0]), []
    state = rule.init(theta)
    for t in range(60):
        theta, state = rule.update(theta, array([float(t == 0)]), state)
        found.append(float(state["square_avg"][0]))
    error = abs(np.array(found) - 0.1 * 0.9 ** np.arange(60)).max()
    ledger(
        "OPT-21",
        holds=error < 1e-15,
        measured="the response to a single gradient is $(1-\\beta)\\beta^k$ to $10^{-15}$",
    )
