"""The natural gradient: Fisher matrices from their definition, and invariance."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose

from companion import activations, layers, losses, network
from companion.backend import array, to_numpy
from companion.optimizers import SGD, NaturalGradient, natural, softmax_fisher

NET = network.Sequential(layers.Linear(2, 3), layers.Tanh(), layers.Linear(3, 3))


def problem():
    rng = np.random.default_rng(0)
    x = array(rng.standard_normal((7, 2)))
    return NET.init(rng, replicas=2), x, rng.integers(0, 3, 7)


def by_definition(theta, x):
    """The mean over samples, and over labels as the model expects them, of ∇log p ∇log pᵀ."""
    found = np.zeros((theta.size, theta.size))
    for sample in x:
        logits, cache = NET.forward(theta, sample[None])
        for label, p in enumerate(activations.softmax(logits)[0]):
            dy = losses.cross_entropy_grad(logits, np.array([label]))
            grad = NET.backward(cache, dy)[1]
            found += p * np.outer(grad, grad) / len(x)
    return found


def check_fisher():
    theta, x, _ = problem()
    found = to_numpy(natural.softmax_fisher(NET, theta, x))
    for row, matrix in zip(to_numpy(theta), found, strict=True):
        assert_allclose(matrix, by_definition(row, to_numpy(x)), rtol=1e-10, atol=1e-14)
        assert np.linalg.eigvalsh(matrix).min() > -1e-15


def test_fisher_is_its_definition(created):
    check_fisher()


def test_fisher_is_the_curvature_of_the_divergence(on_numpy):
    theta, x, _ = problem()
    theta, rng = theta[0], np.random.default_rng(1)
    step = 1e-3 * rng.standard_normal(theta.shape)
    before = activations.log_softmax(NET.forward(theta, x)[0])
    sides = []
    for way in (step, -step):  # the third order has the other sign
        after = activations.log_softmax(NET.forward(theta + way, x)[0])
        sides.append((np.exp(before) * (before - after)).sum(-1).mean())
    quadratic = step @ softmax_fisher(NET, theta, x) @ step / 2
    assert_allclose(np.mean(sides), quadratic, rtol=1e-4)


def run(change=None, damping=1e-9, steps=5, rule=NaturalGradient):
    """Train logits x @ W, in parameters φ with θ = A φ; return θ, in the rows of replicas."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)), rng.integers(0, 2, 40)
    matrix = np.eye(3) if change is None else change

    def p_of(phi):
        return 1 / (1 + np.exp(-x @ (matrix @ phi[0])))

    def fisher(phi):
        p, inputs = p_of(phi), x @ matrix
        return ((inputs * (p * (1 - p))[:, None]).T @ inputs / 40 + damping * np.eye(3))[None]

    phi = np.linalg.solve(matrix, np.array([0.3, -0.2, 0.1]))[None]
    opt = rule(0.7) if rule is SGD else rule(0.7, fisher)
    state = opt.init(phi)
    for _ in range(steps):
        grad = (x @ matrix).T @ (p_of(phi) - y) / 40
        phi, state = opt.update(phi, grad[None], state)
    return matrix @ phi[0]


CHANGE = np.array([[10.0, 3.0, 0.0], [0.0, 0.1, 1.0], [0.0, 0.0, 2.0]])


def check_invariance(rule=NaturalGradient):
    assert_allclose(run(CHANGE, 0.0, rule=rule), run(damping=0.0, rule=rule), rtol=1e-9)


def test_other_parameters_make_no_difference():
    check_invariance()


def test_they_do_for_the_gradient_and_with_damping():
    assert abs(run(CHANGE, rule=SGD) - run(rule=SGD)).max() > 0.1
    assert abs(run(CHANGE, damping=0.1) - run(damping=0.1)).max() > 0.01


def check_quadratic(rule=NaturalGradient):
    matrix = array([[2.0, 1.0], [1.0, 3.0]])
    theta = array([[1.0, 2.0], [3.0, -4.0]])
    opt = rule(array([[1.0], [0.5]]), lambda theta: matrix + 0 * theta[..., None])
    moved, state = opt.update(theta, (matrix @ theta[..., None])[..., 0], opt.init(theta))
    assert_allclose(to_numpy(moved), [[0, 0], [1.5, -2]], atol=1e-12)
    assert state == {"step": 1}


def test_one_step_solves_a_quadratic(created):
    check_quadratic()


def check_damping(rule=NaturalGradient):
    theta, x, labels = problem()
    logits, cache = NET.forward(theta, x)
    grad = NET.backward(cache, losses.cross_entropy_grad(logits, array(labels)))[1]
    opt = rule(1e8, lambda theta: softmax_fisher(NET, theta, x), damping=1e8)
    moved, _ = opt.update(theta, grad, opt.init(theta))
    assert_allclose(to_numpy(moved), to_numpy(theta - grad), rtol=1e-6, atol=1e-8)


def test_damping_leads_to_the_gradient(created):
    check_damping()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "lr must not be negative"),
        ({"damping": -1}, "damping must not be negative"),
        ({"fisher": 3}, "fisher must be a function of theta; got 3"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        NaturalGradient(**{"lr": 0.1, "fisher": np.diag} | options)


def test_a_matrix_that_does_not_fit_is_named():
    opt = NaturalGradient(0.1, lambda theta: np.eye(2))
    with pytest.raises(ValueError, match=r"fisher must return shape \(3, 3\); got \(2, 2\)"):
        opt.update(np.zeros(3), np.zeros(3), opt.init(np.zeros(3)))


# Planted mistakes ---------------------------------------------------------------------------


def planted(right, wrong):
    """Return what natural.py defines with a mistake in it."""
    text = inspect.getsource(natural)
    assert text.count(right) == 1
    names = {"__name__": natural.__name__}
    exec(text.replace(right, wrong), names)
    return names


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("p[..., c] ** 0.5 * slope", "slope"),
        ("p[..., c] ** 0.5 * slope", "p[..., c] * slope"),
        ("p[..., c] ** 0.5 * slope", "(c == 0) * slope"),
        ("@ rows / n", "@ rows"),
        ("rows = xp.concat(roots, axis=-2)", "rows = sum(roots)"),
        ("range(p.shape[-1])]", "range(p.shape[-1] - 1)]"),
        ("p - eye[c]", "p"),
        ("p = softmax(logits)", "p = softmax(0 * logits)"),
    ],
    ids=[
        "no weights",
        "weights not rooted",
        "labels of the data",
        "a sum",
        "the expectation inside",
        "a label forgotten",
        "the gradient of the normaliser",
        "labels drawn evenly",
    ],
)
def test_a_wrong_fisher_is_caught(on_numpy, monkeypatch, right, wrong):
    check_fisher()
    monkeypatch.setattr(natural, "softmax_fisher", planted(right, wrong)["softmax_fisher"])
    with pytest.raises(AssertionError):
        check_fisher()


@pytest.mark.parametrize(
    ("right", "wrong", "check"),
    [
        ("xp.linalg.solve(matrix, grad[..., None])", "(matrix @ grad[..., None])", check_quadratic),
        ("- self.lr * xp", "- xp", check_quadratic),
        ("matrix + (self.damping", "matrix + 0 * (self.damping", check_damping),
        ("xp.linalg.solve(matrix", "xp.linalg.solve(matrix * eye", check_invariance),
    ],
    ids=["not inverted", "no rate", "no damping", "the diagonal"],
)
def test_a_wrong_step_is_caught(on_numpy, right, wrong, check):
    check()
    rule = planted(right, wrong)["NaturalGradient"]
    with pytest.raises(AssertionError):
        check(rule)
