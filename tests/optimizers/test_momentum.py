"""Heavy ball and Nesterov's method against their papers, torch, optax and Keras' rule."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import datasets, layers, losses, network, training
from companion.backend import array, to_numpy
from companion.optimizers import SGD, HeavyBall, Nesterov
from tests.optimizers.parity import NET, PROBLEMS, check_parity, optaxs, torchs, written


def falling(t):
    return 0.05 * 0.99**t


def growing(t):
    return t / (t + 3)


# Heavy ball ---------------------------------------------------------------------------------


def check_heavy_ball():
    check_parity(HeavyBall(0.05, 0.9), torchs("SGD", lr=0.05, momentum=0.9))

    def polyak(theta, grad, memory, t):  # (2) of the paper, which has no buffer
        before = memory.get("before", theta)
        memory["before"] = theta
        return theta - 0.05 * grad + 0.9 * (theta - before)

    check_parity(HeavyBall(0.05, 0.9), written(polyak))


def test_heavy_ball_is_polyaks_and_torchs_at_a_constant_rate(created):
    check_heavy_ball()


def check_schedules():
    def sutskever(theta, grad, memory, t):  # their velocity is minus our m
        v = memory.get("v", 0.0)
        memory["v"] = growing(t - 1) * v - falling(t - 1) * grad
        return theta + memory["v"]

    check_parity(HeavyBall(falling, growing), written(sutskever))


def test_a_falling_rate_leaves_old_gradients_as_they_were(created):
    check_schedules()


def test_torchs_form_is_another_where_the_rate_changes(created):
    def dropping(t):
        return 0.1 if t < 5 else 0.01

    paths = []
    for kind in (HeavyBall, SGD):
        opt, theta, path = kind(dropping, momentum=0.9), array([1.0]), []
        state = opt.init(theta)
        for _ in range(10):
            theta, state = opt.update(theta, theta, state)
            path.append(float(theta[0]))
        paths.append(path)
    assert_allclose(paths[0][:5], paths[1][:5], rtol=1e-14)
    assert abs(paths[0][5] - paths[1][5]) > 0.1


# Nesterov -----------------------------------------------------------------------------------


def check_ahead(opt, peer, problems=PROBLEMS, steps=500):
    """Hold the point of the gradient to a peer that keeps it."""
    for name in problems:
        rng = np.random.default_rng(0)
        theirs = rng.standard_normal((3, NET.size))
        step, theta = peer(theirs), array(theirs)
        state = opt.init(theta)
        for t in range(steps):
            message = f"{opt}, step {t} of {name}"
            ahead = to_numpy(opt.lookahead(theta, state))
            assert_allclose(ahead, theirs, rtol=1e-10, atol=1e-12, err_msg=message)
            grad = PROBLEMS[name](theirs, rng)
            theirs = step(grad)
            theta, state = opt.update(theta, array(grad), state)


def check_torchs_point():
    check_ahead(Nesterov(0.05, 0.9), torchs("SGD", lr=0.05, momentum=0.9, nesterov=True))


def test_torch_keeps_the_point_ahead(created):
    check_torchs_point()


def test_optax_keeps_it_too(created):
    import optax

    theirs = optax.sgd(0.05, momentum=0.9, nesterov=True)
    check_ahead(Nesterov(0.05, 0.9), optaxs(theirs), steps=50)


def test_keras_keeps_it_for_every_rate(created):
    def keras(w, grad, memory, t):
        m = 0.9 * memory.get("m", 0.0) - falling(t - 1) * grad
        memory["m"] = m
        return w + 0.9 * m - falling(t - 1) * grad

    check_ahead(Nesterov(falling, 0.9), written(keras))


def check_nesterov():
    """Hold it to the two sequences of 1983: x' = y - lr g(y), y' = x' + beta (x' - x)."""

    def nesterov(y, grad, memory, t):
        x = memory.get("x", y)
        memory["x"] = y - falling(t - 1) * grad
        return memory["x"] + growing(t) * (memory["x"] - x)

    check_ahead(Nesterov(falling, growing), written(nesterov))


def test_nesterov_is_the_paper_of_1983(created):
    check_nesterov()


def run(opt, curvature, steps, start=1.0):
    """Yield the iterates on half the curvature times the square."""
    theta = array(start + np.zeros(np.shape(curvature)))
    state = opt.init(theta)
    for _ in range(steps):
        grad = array(curvature) * opt.lookahead(theta, state)
        theta, state = opt.update(theta, grad, state)
        yield to_numpy(theta)


def test_the_growing_momentum_keeps_nesterovs_bound(created):
    """The loss at step t is at most 2 |theta_0 - theta*|^2 / (lr (t + 1)^2) above the least."""
    spectrum = np.geomspace(1e-6, 1, 40)
    for t, theta in enumerate(run(Nesterov(1.0, growing), spectrum, 300), 1):
        assert spectrum @ theta**2 / 2 <= 2 * 40 / (t + 1) ** 2


def check_limits(beta=0.9):
    """The rates from which the iteration on half the square is unstable."""
    limits = {HeavyBall: 2 * (1 + beta), Nesterov: (2 + 2 * beta) / (1 + 2 * beta)}
    for kind, limit in limits.items():
        for share in (0.99, 1.01):
            *_, last = run(kind(share * limit, beta), np.ones(1), 2000)
            assert bool(abs(last[0]) < 1) == (share < 1), (kind, share)


def test_the_limits_of_stability(created):
    check_limits()


# In training --------------------------------------------------------------------------------


def check_fit():
    """The losses are those of torch's rule, which keeps the point ahead."""
    small = network.Sequential(layers.Linear(2, 4), layers.Tanh(), layers.Linear(4, 2))
    theta = array(np.random.default_rng(1).standard_normal((3, small.size)))
    ours, theirs = (
        training.fit(
            small, theta, datasets.moons(100, rng=np.random.default_rng(0)),
            loss=losses.cross_entropy, optimizer=opt, rng=np.random.default_rng(0),
            steps=40, batch_size=10,
        )[1]
        for opt in (Nesterov(0.1), SGD(0.1, momentum=0.9, nesterov=True))
    )  # fmt: skip
    assert_allclose(ours.loss, theirs.loss, rtol=1e-10)


def test_fit_takes_the_gradient_ahead(created):
    check_fit()


def test_the_message_names_the_layer_at_the_point_ahead(created):
    """There the output overflows; at theta it does not."""
    net = network.Sequential(layers.Linear(1, 2))
    _, history = training.fit(
        net, array(np.zeros((1, 4))), (array([[1.0]]), array(np.array([0]))),
        loss=losses.cross_entropy, optimizer=Nesterov(1.5e308), steps=2,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert "step 1" in history.messages[0]
    assert "the output of layer 0" in history.messages[0]


BOTH = pytest.mark.parametrize("kind", [HeavyBall, Nesterov])


@BOTH
@pytest.mark.parametrize("size", [0.0, 2.0**-1000, 2.0**1000])
def test_gradients_of_every_size(created, kind, size):
    opt, theta, grad = kind(0.5, 0.5), array([0.0]), array([size])
    theta, state = opt.update(theta, grad, opt.init(theta))
    assert_array_equal(to_numpy(theta), [-0.5 * size])
    theta, state = opt.update(theta, grad, state)
    assert_array_equal(to_numpy(theta), [-1.25 * size])


def test_looking_ahead_changes_nothing(created):
    opt, theta = Nesterov(0.1), array([1.0, 2.0])
    theta, state = opt.update(theta, theta, opt.init(theta))
    kept = to_numpy(theta).copy(), to_numpy(state["momentum_buffer"]).copy()
    opt.lookahead(theta, state)
    assert_array_equal(to_numpy(theta), kept[0])
    assert_array_equal(to_numpy(state["momentum_buffer"]), kept[1])
    assert state["step"] == 1


@BOTH
def test_autograd_goes_through_the_steps(kind):
    """x1 = (1 - r) x and x2 = x1 - b r x - r a with r = 0.1, b = 0.5; a is x1 or x1 - b r x."""
    start = torch.ones(1, dtype=torch.float64, requires_grad=True)
    opt, theta = kind(0.1, 0.5), start
    state = opt.init(theta)
    for _ in range(2):
        theta, state = opt.update(theta, opt.lookahead(theta, state), state)
    theta.sum().backward()
    at = 0.9 if kind is HeavyBall else 0.9 - 0.05
    assert_allclose(start.grad, [0.9 - 0.05 - 0.1 * at], rtol=1e-14)


@BOTH
@pytest.mark.parametrize("momentum", [1.0, np.array([0.5, -0.1])])
def test_a_momentum_out_of_range_is_named(kind, momentum):
    with pytest.raises(ValueError, match="momentum must be at least 0 and less than 1; got"):
        kind(0.1, momentum)


# Planted mistakes ---------------------------------------------------------------------------


def wrong_ahead(sign=-1, share=1.0, last=False):
    """The point ahead with one mistake; the notes have the sign of the other convention."""

    def lookahead(self, theta, state):
        step = max(state["step"] - 1, 0) if last else state["step"]
        beta = self.at(step, theta).momentum
        return theta + sign * share * beta * state["momentum_buffer"]

    return lookahead


def wrong_step(rate_outside=False, averaged=False, late=False):
    """The update with one mistake."""

    def step(self, theta, grad, state, t):
        beta, old = self.momentum, state["momentum_buffer"]
        own = (1 - beta) * grad if averaged else grad
        m = beta * old + (own if rate_outside else self.lr * own)
        used = old if late else m
        return theta - (self.lr * used if rate_outside else used), {"momentum_buffer": m}

    return step


WRONG = [
    (Nesterov, "lookahead", wrong_ahead, {"sign": 1}, check_limits),
    (Nesterov, "lookahead", wrong_ahead, {"sign": 1}, check_torchs_point),
    (Nesterov, "lookahead", wrong_ahead, {"sign": 0}, check_limits),
    (Nesterov, "lookahead", wrong_ahead, {"sign": 0}, check_fit),
    (Nesterov, "lookahead", wrong_ahead, {"share": 1 / 0.9}, check_torchs_point),
    (Nesterov, "lookahead", wrong_ahead, {"last": True}, check_nesterov),
    (HeavyBall, "_step", wrong_step, {"rate_outside": True}, check_schedules),
    (HeavyBall, "_step", wrong_step, {"averaged": True}, check_heavy_ball),
    (HeavyBall, "_step", wrong_step, {"late": True}, check_heavy_ball),
]


@pytest.mark.parametrize(("kind", "name", "wrong", "mistake", "check"), WRONG)
def test_a_wrong_update_is_caught(monkeypatch, on_numpy, kind, name, wrong, mistake, check):
    monkeypatch.setattr(kind, name, wrong())
    check()
    monkeypatch.setattr(kind, name, wrong(**mistake))
    with pytest.raises(AssertionError), np.errstate(over="ignore", invalid="ignore"):
        check()
