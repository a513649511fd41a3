"""Heavy ball and Nesterov's method against their papers, torch, optax and Keras' rule."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import datasets, layers, losses, network, training
from companion.backend import array, to_numpy
from companion.optimizers import SGD, HeavyBall, Nesterov

RNG = np.random.default_rng(0)
ROWS, LABELS = RNG.standard_normal((30, 4)), np.sign(RNG.standard_normal(30))
SPECTRUM = np.array([0.01, 0.3, 1.0, 10.0])
NET = network.Sequential(layers.Linear(2, 4), layers.Tanh(), layers.Linear(4, 2))
POINTS = RNG.standard_normal((20, 2)), RNG.integers(0, 2, 20)
MOONS = datasets.moons(rng=RNG)


def of_the_quadratic(theta):
    return SPECTRUM * (theta - 1)


def of_rosenbrock(theta):
    x, y = theta[..., :2], theta[..., 2:]
    slope = y - x**2
    return np.concatenate([2 * (x - 1) - 400 * x * slope, 200 * slope], -1)


def of_logistic_regression(theta):
    margin = LABELS * (theta @ ROWS.T)
    return (-LABELS / (1 + np.exp(margin))) @ ROWS / 30 + 0.01 * theta


def of_a_network(theta):
    logits, cache = NET.forward(theta, POINTS[0])
    return NET.backward(cache, losses.cross_entropy_grad(logits, POINTS[1]))[1]


TASKS = {
    "quadratic": (of_the_quadratic, 4, 0.05),
    "rosenbrock": (of_rosenbrock, 4, 1e-4),
    "logistic regression": (of_logistic_regression, 4, 0.3),
    "network": (of_a_network, NET.size, 0.3),
}
EACH_TASK = pytest.mark.parametrize("task", TASKS)
FALLING = lambda t: 0.02 * 0.99**t  # noqa: E731
GROWING = lambda t: t / (t + 3)  # noqa: E731


def iterates(opt, gradient, theta, steps=500):
    """Yield where each gradient was taken, and theta after its step."""
    theta = array(theta)
    state = opt.init(theta)
    for _ in range(steps):
        ahead = opt.lookahead(theta, state)
        theta, state = opt.update(theta, array(gradient(to_numpy(ahead))), state)
        yield to_numpy(ahead), to_numpy(theta)


def check(expected, got):
    for step, (e, g) in enumerate(zip(expected, got, strict=True)):
        assert_allclose(g, e, rtol=1e-10, atol=1e-13, err_msg=f"step {step}")


def by_torch(gradient, theta, steps=500, **options):
    """Yield the parameter before each step of torch.optim.SGD, and after the last."""
    parameter = torch.tensor(theta, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], **options)
    for _ in range(steps):
        yield parameter.detach().numpy().copy()
        parameter.grad = torch.tensor(gradient(parameter.detach().numpy()))
        optimizer.step()
    yield parameter.detach().numpy().copy()


def start_of(task):
    return 0.5 * np.random.default_rng(1).standard_normal((3, TASKS[task][1]))


# Heavy ball ---------------------------------------------------------------------------------


def check_heavy_ball(task, beta=0.9):
    gradient, _, lr = TASKS[task]
    start = start_of(task)
    ours = [theta for _, theta in iterates(HeavyBall(lr, beta), gradient, start)]

    def polyak(now):  # (2) of the paper, which has no buffer
        before = now
        for _ in range(500):
            now, before = now - lr * gradient(now) + beta * (now - before), now
            yield now

    check(polyak(start), ours)
    check(list(by_torch(gradient, start, lr=lr, momentum=beta))[1:], ours)


@EACH_TASK
def test_heavy_ball_is_polyaks(created, task):
    check_heavy_ball(task)


def check_falling_rate():
    opt = HeavyBall(FALLING, lambda t: min(0.5 + t / 100, 0.95))
    start = start_of("quadratic")

    def sutskever(theta):  # their velocity is minus our m
        v = 0 * theta
        for t in range(500):
            v = min(0.5 + t / 100, 0.95) * v - FALLING(t) * of_the_quadratic(theta)
            theta = theta + v
            yield theta

    check(sutskever(start), [theta for _, theta in iterates(opt, of_the_quadratic, start)])


def test_a_falling_rate_leaves_old_gradients_as_they_were(created):
    check_falling_rate()


def test_torchs_form_is_another_where_the_rate_changes(created):
    start, halved = array([1.0]), lambda t: 0.1 if t < 5 else 0.01
    ours, theirs = (
        [theta for _, theta in iterates(kind(halved, momentum=0.9), np.copy, start, 10)]
        for kind in (HeavyBall, SGD)
    )
    assert_allclose(ours[:5], theirs[:5], rtol=1e-14)
    assert abs(ours[5] - theirs[5]) > 0.1


# Nesterov -----------------------------------------------------------------------------------


def check_nesterov(task, lr=None, beta=0.9):
    """Hold it to the two sequences of 1983: x' = y - lr g(y), y' = x' + beta (x' - x)."""
    gradient, _, own = TASKS[task]
    rate = lr or (lambda t: own)
    share = beta if callable(beta) else lambda t: beta
    x = y = start_of(task)
    found = iterates(Nesterov(lr or own, beta), gradient, x)
    for t, (ahead, theta) in enumerate(found):
        assert_allclose(ahead, y, rtol=1e-10, atol=1e-13, err_msg=f"step {t}")
        x, before = y - rate(t) * gradient(y), x
        y = x + share(t + 1) * (x - before)
        assert_allclose(theta, x, rtol=1e-10, atol=1e-13, err_msg=f"step {t}")


@EACH_TASK
def test_nesterov_is_the_paper_of_1983(created, task):
    check_nesterov(task)


def test_nesterov_with_schedules(created):
    check_nesterov("quadratic", lr=FALLING, beta=GROWING)


def check_torchs_point(task="network", beta=0.9):
    gradient, _, lr = TASKS[task]
    start = start_of(task)
    ahead = [a for a, _ in iterates(Nesterov(lr, beta), gradient, start, 501)]
    check(by_torch(gradient, start, lr=lr, momentum=beta, nesterov=True), ahead)


@EACH_TASK
def test_torch_keeps_the_point_ahead(created, task):
    check_torchs_point(task)


@pytest.mark.parametrize("nesterov", [False, True])
def test_optax_keeps_what_torch_keeps(created, nesterov):
    import jax
    import optax

    kind = Nesterov if nesterov else HeavyBall
    start = start_of("quadratic")
    with jax.enable_x64(True):
        rule = optax.sgd(0.05, momentum=0.9, nesterov=nesterov)
        theirs = jax.numpy.asarray(start)
        state = rule.init(theirs)
        for ahead, _ in iterates(kind(0.05, 0.9), of_the_quadratic, start, 100):
            assert_allclose(ahead, np.asarray(theirs), rtol=1e-10, atol=1e-13)
            change, state = rule.update(of_the_quadratic(theirs), state)
            theirs = optax.apply_updates(theirs, change)


def test_keras_keeps_the_point_ahead_for_every_rate(created):
    """Keras writes m = beta m - lr g and w = w + beta m - lr g."""
    w = start_of("quadratic")
    m = 0 * w
    for t, (ahead, _) in enumerate(iterates(Nesterov(FALLING, 0.9), of_the_quadratic, w)):
        assert_allclose(ahead, w, rtol=1e-10, atol=1e-13)
        g = of_the_quadratic(w)
        m = 0.9 * m - FALLING(t) * g
        w = w + 0.9 * m - FALLING(t) * g


def check_bound():
    """Nesterov's theorem: J(theta_t) - J* is at most 2 |theta_0 - theta*|^2 / (lr (t + 1)^2)."""
    spectrum = np.geomspace(1e-6, 1, 40)
    start = np.random.default_rng(2).standard_normal(40)
    opt = Nesterov(1.0, GROWING)
    for t, (_, theta) in enumerate(iterates(opt, lambda x: spectrum * x, start, 300), 1):
        assert spectrum @ theta**2 / 2 <= 2 * (start @ start) / (t + 1) ** 2


def test_the_growing_momentum_keeps_nesterovs_bound(created):
    check_bound()


def bounded(opt, curvature):
    *_, (_, last) = iterates(opt(curvature), lambda x: x, np.array([1.0]), 3000)
    return bool(np.abs(last) < 1)


def check_limits(beta=0.9):
    """The steps at which the iteration on x^2/2 stops being stable."""
    for kind, limit in (
        (HeavyBall, 2 * (1 + beta)),
        (Nesterov, (2 + 2 * beta) / (1 + 2 * beta)),
    ):
        assert bounded(lambda lr, kind=kind: kind(lr, beta), 0.99 * limit)
        with np.errstate(over="ignore", invalid="ignore"):
            assert not bounded(lambda lr, kind=kind: kind(lr, beta), 1.01 * limit)


def test_the_limits_of_stability(created):
    check_limits()


# In training --------------------------------------------------------------------------------


def trained(opt, **options):
    theta = array(np.random.default_rng(1).standard_normal((3, NET.size)))
    return training.fit(
        NET,
        theta,
        tuple(map(array, MOONS)),
        loss=losses.cross_entropy,
        optimizer=opt,
        rng=np.random.default_rng(0),
        progress=False,
        **{"steps": 40, "batch_size": 10} | options,
    )


def check_fit():
    """The losses are those of torch's rule, which keeps the point ahead."""
    (_, ours), (_, theirs) = map(trained, (Nesterov(0.1), SGD(0.1, momentum=0.9, nesterov=True)))
    assert_allclose(ours.loss, theirs.loss, rtol=1e-10)


def test_fit_takes_the_gradient_ahead(created):
    check_fit()


def test_a_training_goes_on_from_its_checkpoint(created, tmp_path):
    opt = Nesterov(lambda t: 0.1 / (1 + t), GROWING)
    kept = training.Checkpoint(tmp_path / "it.npz")
    trained(opt, steps=17, checkpoint=kept)
    resumed, _ = trained(opt, checkpoint=kept)
    assert_array_equal(to_numpy(resumed), to_numpy(trained(opt)[0]))


def test_the_message_names_the_layer_at_the_point_ahead(created):
    """There the output overflows; at theta it does not."""
    net = network.Sequential(layers.Linear(1, 2))
    data = array([[1.0]]), array(np.array([0]))
    start, opt = array(np.zeros((1, 4))), Nesterov(1.5e308)
    _, history = training.fit(
        net, start, data, loss=losses.cross_entropy, optimizer=opt, steps=2,
        rng=np.random.default_rng(0), progress=False,
    )  # fmt: skip
    assert "step 1" in history.messages[0]
    assert "the output of layer 0" in history.messages[0]


BOTH = pytest.mark.parametrize("kind", [HeavyBall, Nesterov])


@BOTH
def test_a_value_for_each_replica_and_parameter(created, kind):
    rates, betas = np.array([[0.1], [0.01], [1.0]]), np.array([0.0, 0.5, 0.9, 0.99])
    start = start_of("logistic regression")
    both = list(iterates(kind(rates, betas), of_logistic_regression, start, 5))
    for i in range(3):
        alone = iterates(kind(rates[i, 0], betas), of_logistic_regression, start[i], 5)
        for (_, one), (_, all_of_them) in zip(alone, both, strict=True):
            assert_allclose(one, all_of_them[i], rtol=1e-14)


@BOTH
@pytest.mark.parametrize("size", [0.0, 2.0**-1000, 2.0**1000])
def test_gradients_of_every_size(created, kind, size):
    (_, first), (_, second) = iterates(kind(0.5, 0.5), lambda x: 0 * x + size, np.zeros(2), 2)
    assert_array_equal(first, [-0.5 * size] * 2)
    assert_array_equal(second, [-1.25 * size] * 2)


@BOTH
def test_nothing_is_changed_in_place(created, kind):
    opt, theta, grad = kind(0.1), array([1.0, 2.0]), array([0.5, -1.0])
    _, state = opt.update(theta, grad, opt.init(theta))
    m = to_numpy(state["momentum"]).copy()
    opt.lookahead(theta, state)
    opt.update(theta, grad, state)
    assert_array_equal(to_numpy(theta), [1, 2])
    assert_array_equal(to_numpy(grad), [0.5, -1])
    assert_array_equal(to_numpy(state["momentum"]), m)
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
def test_a_step_compiles(compiler, kind):
    start = torch.ones((3, NET.size), dtype=torch.float32) / 7
    x, y = map(torch.as_tensor, MOONS)
    data = x.float(), y
    opt = kind(lambda t: 0.1 / (t + 1), GROWING)
    plain, fast = (
        training.fit(
            NET, start, data, loss=losses.cross_entropy, optimizer=opt, steps=5,
            rng=np.random.default_rng(0), compile=c, progress=False,
        )[0]
        for c in (False, True)
    )  # fmt: skip
    assert_allclose(fast, plain, rtol=2e-5, atol=2e-6)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "lr must not be negative; got -1"),
        ({"lr": float("nan")}, "lr must not be negative; got nan"),
        ({"lr": 1, "momentum": 1.0}, "momentum must be at least 0 and less than 1; got 1.0"),
        ({"lr": 1, "momentum": np.array([0.5, -0.1])}, "momentum must be at least 0"),
    ],
)
def test_bad_options_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


@BOTH
def test_a_momentum_that_does_not_fit_is_named(created, kind):
    with pytest.raises(ValueError, match="momentum must broadcast against theta"):
        kind(0.1, np.ones(3) / 2).init(array(np.zeros((3, 5))))


# Planted mistakes ---------------------------------------------------------------------------


def wrong_ahead(sign=-1, share=1.0, last=False):
    """The point ahead with one mistake; the notes have the sign of the other convention."""

    def lookahead(self, theta, state):
        step = max(state["step"] - 1, 0) if last else state["step"]
        beta = self.at(step, theta).momentum
        return theta + sign * share * beta * state["momentum"]

    return lookahead


def wrong_step(rate_outside=False, averaged=False, in_place=False):
    def step(self, theta, grad, state, t):
        beta, old = self.momentum, state["momentum"]
        own = (1 - beta) * grad if averaged else grad
        m = beta * old + (own if rate_outside else self.lr * own)
        if in_place:
            old[...] = m
        return theta - (self.lr * m if rate_outside else m), {"momentum": m}

    return step


WRONG = [
    (Nesterov, "lookahead", wrong_ahead, {"sign": 1}, check_limits),
    (Nesterov, "lookahead", wrong_ahead, {"sign": 1}, check_torchs_point),
    (Nesterov, "lookahead", wrong_ahead, {"sign": 0}, check_fit),
    (Nesterov, "lookahead", wrong_ahead, {"sign": 0}, check_limits),
    (Nesterov, "lookahead", wrong_ahead, {"share": 1 / 0.9}, check_torchs_point),
    (Nesterov, "lookahead", wrong_ahead, {"last": True}, test_nesterov_with_schedules),
    (HeavyBall, "_step", wrong_step, {"rate_outside": True}, check_falling_rate),
    (HeavyBall, "_step", wrong_step, {"averaged": True}, check_limits),
    (HeavyBall, "_step", wrong_step, {"in_place": True}, test_nothing_is_changed_in_place),
]


@pytest.mark.parametrize(("kind", "name", "wrong", "mistake", "test"), WRONG)
def test_a_wrong_update_is_caught(monkeypatch, on_numpy, kind, name, wrong, mistake, test):
    arguments = {
        test_nesterov_with_schedules: [None],
        test_nothing_is_changed_in_place: [None, HeavyBall],
    }.get(test, [])
    monkeypatch.setattr(kind, name, wrong())
    test(*arguments)
    monkeypatch.setattr(kind, name, wrong(**mistake))
    with pytest.raises(AssertionError), np.errstate(over="ignore", invalid="ignore"):
        test(*arguments)
