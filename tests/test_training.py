"""fit: batches, history, replicas that diverge."""

import inspect
import io
import math
import sys

import array_api_strict
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import datasets, layers, losses, training
from companion.backend import array, namespace, to_numpy
from companion.layers import Linear
from companion.network import Sequential
from companion.optimizers import SGD
from companion.training import fit

NET = Sequential(Linear(20, 16), layers.Tanh(), Linear(16, 10))


def rng(seed=0):
    return np.random.default_rng(seed)


def task(n=250):
    return datasets.clusters(n, rng=rng(1))


def train(data, theta, **options):
    settings = {"loss": losses.cross_entropy, "optimizer": SGD(lr=0.1), "rng": rng(2)}
    return fit(NET, theta, data, **(settings | {"batch_size": 40, "steps": 30} | options))


def check_against_a_torch_loop(**options):
    """Hold a whole training to the same training written with torch.nn and torch.optim."""
    x, y = (torch.tensor(to_numpy(a)) for a in task())
    start = NET.init(rng())
    model = torch.nn.Sequential(
        torch.nn.Linear(20, 16, dtype=torch.float64),
        torch.nn.Tanh(),
        torch.nn.Linear(16, 10, dtype=torch.float64),
    )
    with torch.no_grad():
        for name, value in NET.unpack(start).items():
            value = torch.tensor(to_numpy(value))
            model.get_parameter(name).copy_(value.mT if value.ndim == 2 else value)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    shuffle, want = rng(2), []
    for _ in range(5):
        order = torch.tensor(shuffle.permutation(250))
        for rows in order.split(40):
            loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            want.append(loss.item())
    theta, history = train(
        task(), start, optimizer=SGD(lr=0.1, momentum=0.9), steps=None, epochs=5, **options
    )
    assert_allclose(history.loss, want, rtol=1e-10)
    for name, value in NET.unpack(theta).items():
        expected = model.get_parameter(name).detach()
        expected = expected.mT if expected.ndim == 2 else expected
        assert_allclose(to_numpy(value), expected.numpy(), rtol=1e-9, atol=1e-12)


def test_training_equals_a_torch_loop(created):
    check_against_a_torch_loop()


def check_replicas():
    """Hold replicas with different rates to trainings one by one."""
    rates = np.array([[0.01], [0.1], [0.5]])
    theta = NET.init(rng(), replicas=3)
    together, history = train(task(), theta, optimizer=SGD(lr=rates))
    assert history.loss.shape == (3, 30)
    for i in range(3):
        alone, single = train(task(), theta[i], optimizer=SGD(lr=rates[i, 0]))
        assert_allclose(to_numpy(together[i]), to_numpy(alone), rtol=1e-9, atol=1e-12)
        assert_allclose(history.loss[i], single.loss, rtol=1e-10)


def test_replicas_equal_trainings_one_by_one(created):
    check_replicas()


def test_replicas_may_have_their_own_data(created):
    sets = [datasets.clusters(100, rng=rng(i)) for i in range(3)]
    x, y = (array(np.stack([to_numpy(s[j]) for s in sets])) for j in (0, 1))
    theta = NET.init(rng(), replicas=3)
    together, _ = train((x, y), theta)
    for i in range(3):
        alone, _ = train(sets[i], theta[i])
        assert_allclose(to_numpy(together[i]), to_numpy(alone), rtol=1e-9, atol=1e-12)


def check_divergence():
    """A replica that diverges stops where it is; the others do not notice."""
    theta = NET.init(rng(), replicas=3)
    theta = array(to_numpy(theta) * np.array([[1.0], [np.nan], [1.0]]))
    rates = np.array([[0.1], [0.1], [1e308]])
    after, history = train(task(), theta, optimizer=SGD(lr=rates), progress=False)
    alone, single = train(task(), theta[0], optimizer=SGD(lr=0.1))
    assert_array_equal(history.diverged[:2], [-1, 0])
    assert 0 < history.diverged[2] < 30
    assert_array_equal(to_numpy(after[1]), to_numpy(theta[1]))
    assert_allclose(to_numpy(after[0]), to_numpy(alone), rtol=1e-9, atol=1e-12)
    assert_allclose(history.loss[0], single.loss, rtol=1e-10)
    stopped, _ = train(
        task(), theta, optimizer=SGD(lr=rates), steps=int(history.diverged[2]), progress=False
    )
    assert_array_equal(to_numpy(after[2]), to_numpy(stopped[2]))
    assert np.isfinite(history.loss[2, : history.diverged[2]]).all()
    assert not np.isfinite(history.loss[2, history.diverged[2]])


@pytest.mark.filterwarnings("error")
def test_a_replica_that_diverges_stops_alone(created):
    check_divergence()


def test_regression_reduces_all_but_the_replicas(created):
    net = Sequential(Linear(1, 8), layers.ReLU(), Linear(8, 1))
    data = datasets.curve(np.abs)
    theta, history = fit(
        net,
        net.init(rng(), replicas=(2, 3)),
        data,
        loss=losses.mse_loss,
        optimizer=SGD(lr=0.1),
        rng=rng(),
        steps=200,
    )
    assert history.loss.shape == (2, 3, 200)
    assert (history.loss[..., -1] < 0.1 * history.loss[..., 0]).all()
    prediction, _ = net.forward(theta, data[0])
    error = ((to_numpy(prediction) - to_numpy(data[1])) ** 2).mean(axis=(-2, -1))
    assert_allclose(error, history.loss[..., -1], rtol=0.2)


def check_epochs(seen):
    """Every epoch shows every sample once, in a new order, each with its own label."""
    for epoch in (seen[:7], seen[7:14]):
        x, y = (np.concatenate(part) for part in zip(*epoch, strict=True))
        assert [len(batch[1]) for batch in epoch] == [40] * 6 + [10]
        assert_array_equal(np.sort(y), np.arange(250))
        assert_array_equal(x[:, 0], y)
    assert not np.array_equal(seen[0][1], seen[7][1])
    assert not np.array_equal(np.sort(seen[0][1]), np.arange(40))


def batches(axis=0):
    x, y = np.arange(250.0)[:, None] * np.ones(3), np.arange(250)
    found = training._batches(array(x), array(y), axis, 40, rng())
    return [tuple(map(to_numpy, next(found))) for _ in range(14)]


def test_every_epoch_shows_every_sample_once(created):
    check_epochs(batches())


def test_full_batch_is_the_default(created):
    theta = NET.init(rng())
    data = task()
    _, history = train(data, theta, batch_size=None, steps=1)
    logits, _ = NET.forward(theta, data[0])
    assert history.loss[0] == pytest.approx(float(losses.cross_entropy(logits, data[1])), rel=1e-12)


def test_a_schedule_sets_the_rate(created):
    theta = NET.init(rng())
    seen = []

    def schedule(t):
        seen.append(t)
        return 0.1 if t < 10 else 0.0

    ten, _ = train(task(), theta, steps=10)
    scheduled, _ = train(task(), theta, optimizer=SGD(lr=9.0), schedule=schedule)
    assert_array_equal(to_numpy(scheduled), to_numpy(ten))
    assert seen == list(range(30))


def test_callbacks_fill_the_history(created):
    data = task()
    theta = NET.init(rng(), replicas=2)

    def error(theta):
        return 1 - training.accuracy(NET, theta, *data)

    seen = []
    after, history = train(
        data,
        theta,
        callbacks=[training.evaluate(10, error=error), lambda t, theta: seen.append(t)],
    )
    assert seen == list(range(31))
    assert_array_equal(history.steps["error"], [0, 10, 20, 30])
    assert history.metrics["error"].shape == (2, 4)
    assert_allclose(history.metrics["error"][:, 0], to_numpy(error(theta)))
    assert_allclose(history.metrics["error"][:, -1], to_numpy(error(after)))


@pytest.mark.parametrize("last", [0, 7])
def test_a_callback_that_has_seen_enough_ends_the_training(created, last):
    data = task()
    theta = NET.init(rng(), replicas=2)

    def enough(t, theta):
        if t == last:
            raise StopIteration

    norm = training.evaluate(1, norm=lambda theta: (theta**2).sum(-1))
    after, history = train(data, theta, callbacks=[enough, norm])
    assert history.loss.shape == (2, last)
    assert_array_equal(history.steps["norm"], range(last + 1))
    expected = train(data, theta, steps=last)[0] if last else theta
    assert_array_equal(to_numpy(after), to_numpy(expected))


def test_accuracy_is_counted_over_all_samples(created):
    x, y = task(600)  # more than one piece
    theta = NET.init(rng(), replicas=2)
    logits, _ = NET.forward(theta, x)
    expected = (to_numpy(logits).argmax(axis=-1) == to_numpy(y)).mean(axis=-1)
    assert_allclose(to_numpy(training.accuracy(NET, theta, x, y)), expected, rtol=1e-14)
    own = namespace(x).stack([x, x])
    labels = namespace(x).stack([y, y])
    assert_allclose(to_numpy(training.accuracy(NET, theta, own, labels)), expected, rtol=1e-14)


def check_steps_to():
    error = np.array([[[0.9, 0.3, 0.2, 0.3], [0.9, 0.9, 0.9, 0.9], [0.1, 0.9, 0.9, np.nan]]])
    history = training.History(None, None, {"error": error}, {"error": np.array([0, 5, 10, 15])})
    assert_array_equal(training.steps_to(history, 0.3), [[5, np.inf, 0]])


def test_steps_to():
    check_steps_to()


STEP_NET = Sequential(
    Linear(20, 6),
    layers.Tanh(),
    layers.Maxout(6, 4),
    layers.PReLU(),
    layers.Swish(4),
    layers.CReLU(),
    layers.SwiGLU(),
    Linear(4, 10),
)
STEP_SGD = SGD(lr=0.1, momentum=0.9, weight_decay=0.01)


def step(theta, x, y):
    """One training step, from the vector to the vector."""
    prediction, cache = STEP_NET.forward(theta, x, training=True)
    grad = losses.cross_entropy_grad(prediction, y)
    _, dtheta = STEP_NET.backward(cache, grad, input_grad=False)
    return STEP_SGD.update(theta, dtheta, STEP_SGD.init(theta))[0]


def test_a_step_on_the_bare_standard():
    x, y = (to_numpy(a) for a in task())
    theta = to_numpy(STEP_NET.init(rng(), replicas=3))
    strict = step(*(array_api_strict.asarray(a) for a in (theta, x, y)))
    assert_allclose(np.asarray(strict), step(theta, x, y), rtol=1e-13)


def test_a_step_is_one_graph():
    x, y = (torch.tensor(to_numpy(a)) for a in task())
    theta = torch.tensor(to_numpy(STEP_NET.init(rng(), replicas=3)))
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert_allclose(compiled(theta, x, y), step(theta, x, y), rtol=1e-12)


def test_a_network_learns_the_digits(created):
    net = Sequential(Linear(64, 32), layers.ReLU(), Linear(32, 10))
    train_set, test_set = datasets.split(datasets.digits(), rng())
    theta, history = fit(
        net,
        net.init(rng(), replicas=5),
        train_set,
        loss=losses.cross_entropy,
        optimizer=SGD(lr=0.3),
        rng=rng(),
        epochs=10,
        batch_size=50,
    )
    assert (to_numpy(training.accuracy(net, theta, *test_set)) > 0.93).all()
    assert (history.diverged == -1).all()


@pytest.mark.parametrize("terminal", [False, True])
def test_the_bar_is_for_terminals(monkeypatch, terminal):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    x, y = (to_numpy(a) for a in task())
    train((x, y), np.zeros(NET.size))
    text = stream.getvalue()
    if terminal:
        assert "30/30" in text
        assert "loss 2." in text
        assert text.endswith("\n")
    else:
        assert text == ""
    stream.truncate(0)
    train((x, y), np.zeros(NET.size), progress=False)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": None}, "give epochs or steps, one of the two; got None and None"),
        ({"epochs": 2}, "give epochs or steps, one of the two; got 2 and 30"),
        ({"steps": 0}, "epochs and steps must be positive; got None and 0"),
        ({"batch_size": 251}, "batch_size must be 1 to the number of samples, 250; got 251"),
        ({"loss": max}, "loss must be one of"),
    ],
)
def test_bad_options_are_named(options, message):
    x, y = (to_numpy(a) for a in task())
    with pytest.raises(ValueError, match=message):
        train((x, y), np.zeros(NET.size), **options)


def test_bad_data_are_named():
    x, y = (to_numpy(a) for a in task())
    with pytest.raises(ValueError, match=r"as many y as x; got shapes \(250, 20\) and \(249,\)"):
        train((x, y[1:]), np.zeros(NET.size))
    with pytest.raises(ValueError, match=r"metric must be one that was recorded \(none\)"):
        training.steps_to(training.History(None, None), 0.1)


# Planted mistakes ---------------------------------------------------------------------------


def batches_with(torn=False, short=False, same=False):
    def wrong(x, y, axis, size, rng):
        n = x.shape[axis]
        order = rng.permutation(n)
        while True:
            xs, ys = x[order], y[np.roll(order, 1) if torn else order]
            for i in range(0, n - size + 1 if short else n, size):
                yield xs[i : i + size], ys[i : i + size]
            order = order if same else rng.permutation(n)

    return wrong


@pytest.mark.parametrize("mistake", ["torn", "short", "same"])
def test_wrong_batches_are_caught(monkeypatch, mistake):
    monkeypatch.setattr(training, "_batches", batches_with())
    check_epochs(batches())
    monkeypatch.setattr(training, "_batches", batches_with(**{mistake: True}))
    with pytest.raises(AssertionError):
        check_epochs(batches())


def test_a_loss_over_all_replicas_is_caught(monkeypatch):
    """Averaging over the replicas too divides every gradient by their number."""
    grad = losses.cross_entropy_grad

    def shared(logits, target, **options):
        return grad(logits, target, **options) / math.prod(logits.shape[:-2])

    monkeypatch.setitem(losses._GRADS, losses.cross_entropy, shared)
    with pytest.raises(AssertionError):
        check_replicas()


def test_a_replica_that_is_not_stopped_is_caught(monkeypatch):
    source = inspect.getsource(training.fit)
    wrong = source.replace(
        "new if all_running else xp.where((diverged < 0)[..., None], new, theta)", "new"
    )
    assert wrong != source
    planted = dict(vars(training))
    exec(wrong, planted)
    monkeypatch.setattr("tests.test_training.fit", planted["fit"])
    with pytest.raises(AssertionError):
        check_divergence()
