"""fit: batches, history, replicas that diverge."""

import functools
import inspect
import io
import math
import sys

import array_api_strict
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import backend, datasets, layers, losses, training
from companion.backend import array, namespace, to_numpy
from companion.layers import Linear
from companion.layers.dropout import Dropout
from companion.layers.norms import BatchNorm
from companion.network import Sequential
from companion.optimizers import SGD, Adam
from companion.training import fit, loop

NET = Sequential(Linear(20, 16), layers.Tanh(), Linear(16, 10))


def rng(seed=0):
    return np.random.default_rng(seed)


def task(n=250):
    return datasets.clusters(n, rng=rng(1))


def train(data, theta, *, net=NET, **options):
    settings = {"loss": losses.cross_entropy, "optimizer": SGD(lr=0.1), "rng": rng(2)}
    return fit(net, theta, data, **(settings | {"batch_size": 40, "steps": 30} | options))


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
    found = loop._batches(array(x), array(y), axis, 40, rng())
    return [tuple(map(to_numpy, next(found)[1:])) for _ in range(14)]


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
    assert seen == [0, *range(30)]  # the first time for its shape


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


@pytest.mark.parametrize("wrong", ["sgd", SGD, 0.1])
@pytest.mark.parametrize("schedule", [None, lambda t: 0.1])
def test_what_is_no_optimizer_is_named(wrong, schedule):
    x, y = (to_numpy(a) for a in task())
    with pytest.raises(TypeError, match=r"optimizer must be one of companion\.optimizers; got"):
        train((x, y), np.zeros(NET.size), optimizer=wrong, schedule=schedule)


def test_bad_data_are_named():
    x, y = (to_numpy(a) for a in task())
    with pytest.raises(ValueError, match=r"as many y as x; got shapes \(250, 20\) and \(249,\)"):
        train((x, y[1:]), np.zeros(NET.size))
    with pytest.raises(ValueError, match=r"metric must be one that was recorded \(none\)"):
        training.steps_to(training.History(None, None), 0.1)


# Statistics, noise, and inputs with more axes ------------------------------------------------

NORMED = Sequential(Linear(20, 16), BatchNorm(16), layers.Tanh(), Linear(16, 10))
NOISY = Sequential(Dropout(0.3), Linear(20, 16), layers.Tanh(), Dropout(0.5), Linear(16, 10))


def torch_twin(net, theta, *modules):
    """Return torch's modules with a network's parameters."""
    model = torch.nn.Sequential(*modules).double()
    with torch.no_grad():
        for name, value in net.unpack(theta).items():
            value = torch.tensor(to_numpy(value))
            model.get_parameter(name).copy_(value.mT if value.ndim == 2 else value)
    return model


def torch_losses(model, x, y, steps, lr=0.1, size=40):
    """Train torch's modules on the batches of `train`."""
    shuffle, found = rng(2), []
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    while True:
        for rows in torch.tensor(shuffle.permutation(len(x))).split(size):
            logits = model(x[rows])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), y[rows].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
            if len(found) == steps:
                return found


def check_running_statistics():
    """Running statistics, their effect on accuracy and on the losses, as in torch."""
    x, y = task(240)  # six full batches
    theta = NORMED.init(rng())
    model = torch_twin(
        NORMED,
        theta,
        torch.nn.Linear(20, 16),
        torch.nn.BatchNorm1d(16),
        torch.nn.Tanh(),
        torch.nn.Linear(16, 10),
    )
    tx, ty = (torch.tensor(to_numpy(a)) for a in (x, y))
    want = torch_losses(model, tx, ty, 12)
    after, history = train((x, y), theta, net=NORMED, steps=12)
    assert_allclose(history.loss, want, rtol=1e-9)
    state = to_numpy(history.state)
    assert_allclose(state[:16], model[1].running_mean.numpy(), rtol=1e-9, atol=1e-12)
    assert_allclose(state[16:32], model[1].running_var.numpy(), rtol=1e-9)
    model.eval()
    expected = (model(tx).argmax(-1) == ty).double().mean().item()
    found = training.accuracy(NORMED, after, x, y, state=history.state)
    assert float(found) == pytest.approx(expected)


def test_running_statistics_advance_as_in_torch(created):
    check_running_statistics()


def test_replicas_have_their_own_statistics(created):
    theta = NORMED.init(rng(), replicas=3)
    together, history = train(task(), theta, net=NORMED)
    for i in range(3):
        alone, single = train(task(), theta[i], net=NORMED)
        assert_allclose(to_numpy(together[i]), to_numpy(alone), rtol=1e-8, atol=1e-11)
        assert_allclose(to_numpy(history.state[i]), to_numpy(single.state), rtol=1e-9, atol=1e-12)


def test_callbacks_see_the_statistics(created):
    theta, data, seen = NORMED.init(rng(), replicas=2), task(), []

    def error(theta, state):
        seen.append(state)
        return 1 - training.accuracy(NORMED, theta, *data, state=state)

    watch = training.evaluate(15, error=error)
    after, history = train(data, theta, net=NORMED, callbacks=[watch])
    assert_array_equal(to_numpy(seen[0]), to_numpy(NORMED.init_state(2)))
    assert_allclose(history.metrics["error"][:, -1], to_numpy(error(after, history.state)))
    further, _ = train(data, after, net=NORMED, state=history.state, steps=1)
    assert further.shape == after.shape


def check_noise():
    """Hold a training with dropout to the loop written out, each replica with its own masks."""
    x, y = task(40)
    theta = NOISY.init(rng(), replicas=2)
    together, history = train((x, y), theta, net=NOISY, steps=3)
    shuffle = rng(2)
    seed = int(shuffle.integers(2**63))
    masks = []
    for t in range(3):
        order = namespace(x).asarray(shuffle.permutation(40), device=x.device)
        generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, t]))
        noise = NOISY.sample_noise(generator, x, 2)
        masks.append(to_numpy(noise[0]))
        logits, cache = NOISY.forward(theta, x[order], training=True, noise=noise)
        loss = losses.cross_entropy(logits, y[order])
        assert_allclose(history.loss[:, t], to_numpy(loss), rtol=1e-12)
        _, grad = NOISY.backward(cache, losses.cross_entropy_grad(logits, y[order]))
        theta = theta - 0.1 * grad
    assert_allclose(to_numpy(together), to_numpy(theta), rtol=1e-10, atol=1e-13)
    assert (masks[0][0] != masks[0][1]).any()
    assert (masks[0] != masks[1]).any()


def test_replicas_have_their_own_noise(created):
    check_noise()


def test_noise_is_the_same_on_both_libraries(device):
    found = []
    old = backend.current()
    for library in ("numpy", "torch"):
        backend.use(library, device=device if library == "torch" else "cpu", dtype="float64")
        found.append(train(task(), NOISY.init(rng()), net=NOISY)[1].loss)
    backend.use(old.library, device=old.device, dtype=old.dtype)
    assert_allclose(found[0], found[1], rtol=1e-9)


class Flat(layers.Layer):
    """Images as features."""

    input_ndim = 4

    def forward(self, params, x):
        return namespace(x).reshape(x, (*x.shape[:-3], -1)), x.shape

    def backward(self, cache, dy, *, input_grad=True):
        return namespace(dy).reshape(dy, cache), ()


class OneHot(layers.Layer):
    """Indices (n, t) as sequences (n, t, 5)."""

    input_ndim, takes_integers = 2, True

    def forward(self, params, x):
        xp = namespace(x)
        return xp.astype(x[..., None] == xp.arange(5, device=x.device), xp.float64), None

    def backward(self, cache, dy, *, input_grad=True):
        return None, ()


def check_images():
    """Images give what the same numbers give as features."""
    x, y = task()
    theta = NET.init(rng(), replicas=2)
    net = Sequential(Flat(), *NET.layers)
    images = namespace(x).reshape(x, (250, 5, 2, 2))
    want, history = train((x, y), theta)
    got, found = train((images, y), theta, net=net)
    assert_allclose(to_numpy(got), to_numpy(want), rtol=1e-12)
    assert_allclose(found.loss, history.loss, rtol=1e-12)
    found = training.accuracy(net, got, images, y)
    assert_allclose(to_numpy(found), to_numpy(training.accuracy(NET, want, x, y)))
    both = (namespace(x).stack([a, a]) for a in (images, y))
    own, _ = train(tuple(both), theta, net=net)
    assert_allclose(to_numpy(own), to_numpy(want), rtol=1e-12)


def test_images(created):
    check_images()


def check_sequences():
    """Sequences of indices, with a label at each time, as in torch."""
    net = Sequential(OneHot(), Linear(5, 6), layers.Tanh(), Linear(6, 4))
    draw = rng(4)
    x, y = array(draw.integers(5, size=(60, 7))), array(draw.integers(4, size=(60, 7)))
    theta = net.init(rng(), replicas=2)
    after, history = train((x, y), theta, net=net)
    tx, ty = (torch.tensor(to_numpy(a)) for a in (x, y))
    hot = torch.nn.functional.one_hot(tx, 5).double()
    for i in range(2):
        parts = (torch.nn.Identity(), torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 4))
        model = torch_twin(net, theta[i], *parts)
        assert_allclose(history.loss[i], torch_losses(model, hot, ty, 30), rtol=1e-9)
        expected = (model(hot).argmax(-1) == ty).double().mean().item()
        assert float(training.accuracy(net, after[i], x, y)) == pytest.approx(expected)
    assert training.accuracy(net, after, x, y).shape == (2,)
    own, _ = train(tuple(namespace(a).stack([a, a]) for a in (x, y)), theta, net=net)
    assert_allclose(to_numpy(own), to_numpy(after), rtol=1e-12)


def test_sequences_of_indices(created):
    check_sequences()


def test_a_target_for_each_time(created):
    net = Sequential(Linear(3, 2), input_ndim=3)
    draw = rng(5)
    x, y = array(draw.standard_normal((8, 4, 3))), array(draw.standard_normal((8, 4, 2)))
    theta = net.init(rng(), replicas=3)
    _, history = train((x, y), theta, net=net, loss=losses.mse_loss, batch_size=8, steps=1)
    prediction, _ = net.forward(theta, x)
    want = ((to_numpy(prediction) - to_numpy(y)) ** 2).mean(axis=(1, 2, 3))
    assert_allclose(history.loss[:, 0], want, rtol=1e-12)


# Clipping, parts of a batch, averages, an early end -------------------------------------------


def test_the_step_is_clipped(created):
    theta = NET.init(rng(), replicas=2)
    after, _ = train(task(), theta, steps=1, clip=1e-3)
    step = to_numpy(after) - to_numpy(theta)
    assert_allclose(np.linalg.norm(step, axis=-1), 0.1 * 1e-3, rtol=1e-4)
    loose, _ = train(task(), theta, clip=1e9)
    assert_allclose(to_numpy(loose), to_numpy(train(task(), theta)[0]), rtol=1e-12)


def check_accumulation(**options):
    """Parts of a batch, of unequal sizes, give the step of the whole."""
    theta = NET.init(rng(), replicas=2)
    whole, history = train(task(), theta, batch_size=50, **options)
    for count in (2, 3, 50):
        parts, found = train(task(), theta, batch_size=50, accumulate=count, **options)
        assert_allclose(to_numpy(parts), to_numpy(whole), rtol=1e-9, atol=1e-12)
        assert_allclose(found.loss, history.loss, rtol=1e-10)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_parts_of_a_batch_give_the_step_of_the_whole(created, reduction):
    loss = functools.partial(losses.cross_entropy, reduction=reduction)
    check_accumulation(loss=loss, optimizer=SGD(lr=0.1 if reduction == "mean" else 0.002))


TOKENS = Sequential(layers.Embedding(9, 6), layers.Tanh(), Linear(6, 4))
ROWS = Sequential(Linear(3, 6), layers.Tanh(), Linear(6, 4))
MASKED = functools.partial(losses.cross_entropy, ignore_index=-100)


def masked_task(net=TOKENS, replicas=()):
    """Sequences or rows with labels of which about half are to be ignored, -100."""
    if net is TOKENS:
        x = y = rng(1).integers(9, size=(*replicas, 23, 5))
    else:
        x = rng(1).standard_normal((*replicas, 23, 3))
        y = (x[..., 0] > 0) + 2 * (x[..., 1] > 0)
    y = np.where(rng(2).uniform(size=y.shape) < 0.5, -100, y % 4)
    y[..., :3] = -100
    return array(x), array(y)


def check_shares(loss=MASKED, net=TOKENS, replicas=()):
    """Parts with more and with fewer labels that count give the step of the whole."""
    data = masked_task(net, replicas)
    theta = net.init(rng(), replicas=replicas or 2)
    options = {"net": net, "loss": loss, "steps": 12, "batch_size": 10}
    whole, history = train(data, theta, **options)
    assert np.isfinite(history.loss).all()
    for count in (2, 3):
        parts, found = train(data, theta, accumulate=count, **options)
        assert_allclose(to_numpy(parts), to_numpy(whole), rtol=1e-12, atol=1e-14)
        assert_allclose(found.loss, history.loss, rtol=1e-12)


@pytest.mark.parametrize("replicas", [(), (3,)])
@pytest.mark.parametrize("net", [TOKENS, ROWS])
@pytest.mark.parametrize(
    "options", [{}, {"weight": [1.0, 0.0, 3.0, 0.5]}, {"label_smoothing": 0.1}]
)
def test_parts_have_the_share_of_the_labels_that_count(created, options, net, replicas):
    check_shares(functools.partial(MASKED, **options), net, replicas)


def test_parts_have_the_share_of_their_weights(created):
    x, y = task()
    loss = functools.partial(losses.cross_entropy, weight=np.arange(10.0))
    theta = NET.init(rng(), replicas=2)
    whole, history = train((x, y), theta, loss=loss)
    parts, found = train((x, y), theta, loss=loss, accumulate=3)
    assert_allclose(to_numpy(parts), to_numpy(whole), rtol=1e-12, atol=1e-14)
    assert_allclose(found.loss, history.loss, rtol=1e-12)


def test_a_batch_without_labels_that_count_changes_nothing(created):
    x, y = masked_task()
    theta = TOKENS.init(rng())
    options = {"net": TOKENS, "loss": MASKED, "steps": 1, "batch_size": 10, "accumulate": 3}
    after, history = train((x, 0 * y - 100), theta, **options)
    assert_array_equal(to_numpy(after), to_numpy(theta))
    assert history.loss.tolist() == [0]
    assert history.diverged == -1


def test_probabilities_for_every_token(created):
    x, y = masked_task()
    y = array(np.where(to_numpy(y) < 0, 0, to_numpy(y)))
    theta = TOKENS.init(rng(), replicas=2)
    soft = losses.smooth_labels(y, 4, 0.1)
    smoothed = functools.partial(losses.cross_entropy, label_smoothing=0.1)
    want, _ = train((x, y), theta, net=TOKENS, loss=smoothed, batch_size=10, steps=5)
    got, _ = train((x, soft), theta, net=TOKENS, batch_size=10, steps=5, accumulate=3)
    assert_allclose(to_numpy(got), to_numpy(want), rtol=1e-12, atol=1e-14)


def test_each_part_has_its_own_noise_and_advances_the_statistics(created):
    net = Sequential(Linear(20, 16), BatchNorm(16), Dropout(0.5), Linear(16, 10))
    theta = net.init(rng())
    _, history = train(task(), theta, net=net, steps=2, accumulate=2)
    state, shuffle = net.init_state(), rng(2)
    shuffle.integers(2**63)
    x, _ = task()
    rows = to_numpy(x)[shuffle.permutation(250)[:40]]
    after, _ = train(task(), theta, net=net, steps=1, accumulate=2)
    assert after.shape == theta.shape
    for part in (rows[:20], rows[20:]):
        noise = net.sample_noise(rng(), array(part))
        _, cache = net.forward(theta, array(part), training=True, noise=noise)
        state = net.advance(state, cache)
    _, first = train(task(), theta, net=net, steps=1, accumulate=2)
    assert_allclose(to_numpy(first.state), to_numpy(state), rtol=1e-10)
    assert history.state.shape == state.shape


def check_average():
    """The moving average is that of torch.optim.swa_utils: the first is the vector itself."""
    theta, seen = NET.init(rng(), replicas=2), []
    after, history = train(
        task(), theta, ema=0.9, callbacks=[lambda t, theta: seen.append(to_numpy(theta))]
    )
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    want = [torch.tensor(seen[1])]
    for value in seen[2:]:
        average(want, [torch.tensor(value)], None)
    assert_allclose(to_numpy(history.average), want[0].numpy(), rtol=1e-10, atol=1e-13)
    assert_array_equal(to_numpy(after), to_numpy(train(task(), theta)[0]))


def test_the_moving_average_is_that_of_torch(created):
    check_average()


def test_early_stopping_waits_for_the_last_replica(created):
    values = np.array([[5.0, 5.0], [4.0, 4.0], [4.5, 3.0], [4.4, 3.5], [3.9, 3.1], [0.0, 3.2]])
    theta, seen = NET.init(rng(), replicas=2), []
    calls = iter(values)
    stopping = training.EarlyStopping(lambda theta: array(next(calls)), every=3, patience=2)
    after, history = train(
        task(), theta, callbacks=[stopping, lambda t, theta: seen.append(to_numpy(theta))]
    )
    # the first replica ends at 9, whatever comes later; the second fell at 6 and ends at 12
    assert history.loss.shape == (2, 12)
    assert_array_equal(history.steps["stopping"], [0, 3, 6, 9, 12])
    assert_array_equal(history.metrics["stopping"], values[:5].T)
    assert_array_equal(stopping.step, [3, 6])
    assert_array_equal(stopping.best, [4.0, 3.0])
    assert_array_equal(to_numpy(stopping.theta), np.stack([seen[3][0], seen[6][1]]))
    assert_array_equal(to_numpy(after), seen[12])


def test_early_stopping_with_statistics_and_nan(created):
    calls = iter([2.0, 1.0, np.nan, 1.0])
    stopping = training.EarlyStopping(lambda theta, state: next(calls), patience=2, min_delta=0.1)
    _, history = train(task(), NORMED.init(rng()), net=NORMED, callbacks=[stopping])
    assert history.loss.shape == (3,)
    assert stopping.step == 1
    _, one = train(task(), NORMED.init(rng()), net=NORMED, steps=1)
    assert_array_equal(to_numpy(stopping.state), to_numpy(one.state))
    with pytest.raises(ValueError, match="patience must be at least 1; got 0"):
        training.EarlyStopping(abs, patience=0)


def check_messages():
    """The message says step, replica and layer, and what comes before the layer is finite."""
    theta = to_numpy(NET.init(rng(), replicas=(3,)))
    theta[1, 25] = np.nan
    rates = np.array([[0.1], [0.1], [1e308]])
    _, history = train(task(), array(theta), optimizer=SGD(lr=rates), progress=False)
    where, late = history.messages
    assert where.startswith("step 0, replica (1,): not finite, first the output of layer 0, Linear")
    assert late.startswith(
        f"step {history.diverged[2]}, replica (2,): not finite, first the loss, inf"
    )
    x, y = task()
    bad = to_numpy(x).copy()
    bad[7, 3] = np.nan
    _, alone = train((array(bad), y), NET.init(rng()), progress=False)
    assert 0 <= alone.diverged < 7
    assert f"step {alone.diverged}: not finite, first the input" in alone.messages[0]


def test_the_message_says_step_layer_and_replica(created):
    check_messages()


def test_other_networks_say_their_layer_too(created):
    for net in (NORMED, NOISY):
        theta = to_numpy(net.init(rng()))
        theta[-1] = np.nan
        _, history = train(task(), array(theta), net=net, steps=2, accumulate=2, progress=False)
        k = len(net.layers) - 1
        assert f"step 0: not finite, first the output of layer {k}, Linear" in history.messages[0]
        assert history.loss.shape == (2,)


# Compiled ------------------------------------------------------------------------------------


def check_compiled(net, **options):
    theta = net.init(rng(), replicas=2)
    settings = {
        "net": net,
        "optimizer": SGD(lr=0.1, momentum=0.9),
        "clip": 1.0,
        "ema": 0.9,
        "steps": 9,
        "schedule": lambda t: 0.1 / (1 + t),
        **options,
    }
    want, history = train(task(), theta, **settings)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    got, found = train(task(), theta, compile=True, **settings)
    assert not torch._dynamo.utils.counters["graph_break"]
    assert_allclose(to_numpy(got), to_numpy(want), rtol=1e-9, atol=1e-12)
    assert_allclose(found.loss, history.loss, rtol=1e-9)
    assert_allclose(to_numpy(found.average), to_numpy(history.average), rtol=1e-9, atol=1e-12)
    if net.state_size:
        assert_allclose(to_numpy(found.state), to_numpy(history.state), rtol=1e-9, atol=1e-12)
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("net", [NET, NORMED, NOISY])
def test_the_step_compiles_as_one_graph(on_torch, net):
    graphs = check_compiled(net)
    # with no average yet, in the steps after, and for the smaller last batch
    assert graphs <= 5


def test_a_step_of_adam_compiles_once_for_all_steps(on_torch):
    assert check_compiled(NET, optimizer=Adam(lr=0.1, weight_decay=0.1)) <= 5


def test_shares_of_labels_are_in_the_graph(on_torch):
    loss = functools.partial(losses.cross_entropy, ignore_index=3, label_smoothing=0.1)
    assert check_compiled(NET, accumulate=2, loss=loss) <= 5


def test_a_compiled_training_leaves_a_replica_that_diverged(on_torch):
    theta = NET.init(rng(), replicas=2)
    theta = array(to_numpy(theta) * np.array([[1.0], [np.nan]]))
    after, history = train(task(), theta, compile=True, steps=3, progress=False)
    assert_array_equal(history.diverged, [-1, 0])
    assert "step 0, replica (1,): not finite, first the output of layer 0" in history.messages[0]
    alone, _ = train(task(), theta[0], steps=3)
    assert_allclose(to_numpy(after[0]), to_numpy(alone), rtol=1e-9, atol=1e-12)


def test_compile_with_the_compiler(compiler, device):
    old = backend.current()
    backend.use("torch", device=device, dtype="float64")
    check_compiled(NET, accumulate=2)
    backend.use(old.library, device=old.device, dtype=old.dtype)


def test_numpy_does_not_compile():
    with pytest.raises(ValueError, match="compile needs torch tensors; got theta of ndarray"):
        train(tuple(map(to_numpy, task())), np.zeros(NET.size), compile=True)


# Planted mistakes ---------------------------------------------------------------------------


MISTAKES = {
    "parts that count alike": (
        "_parts",
        "(stop - start) / n",
        "1 / count",
        check_accumulation,
    ),
    "labels that count alike": ("_parts", "like(share,", "like(1 / count,", check_shares),
    "ignored labels that count": (
        "_parts",
        "own = weigh and weigh(y)",
        "own = None",
        check_shares,
    ),
    "statistics at rest": (
        "_step_of",
        "state = net.advance(state, cache)",
        "pass",
        check_running_statistics,
    ),
    "no training mode": ("_step_of", "training=True", "training=False", check_running_statistics),
    "noise that does not change": ("_noise_rng", "part, t]", "part, 0]", check_noise),
    "noise for all": ("fit", "part[0], replicas)", "part[0])", check_noise),
    "an average from 0": (
        "_step_of",
        "new if average is None else ema * average",
        "ema * (0 if average is None else average)",
        check_average,
    ),
    "labels in another order": (
        "_over_samples",
        "labels = xp.reshape(target,",
        "labels = xp.reshape(target.mT,",
        check_sequences,
    ),
    "the last layer for the first": (
        "_messages",
        "range(len(net.layers), 0, -1)",
        "range(1, len(net.layers) + 1)",
        check_messages,
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_loop_is_caught(monkeypatch, mistake):
    name, right, wrong, check = MISTAKES[mistake]
    text = inspect.getsource(getattr(loop, name))
    assert right in text
    scope = dict(vars(loop))
    exec(text.replace(right, wrong), scope)
    check()
    for module in (loop, training, sys.modules[__name__]):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, scope[name])
    with pytest.raises((AssertionError, ValueError)):
        check()


def batches_with(torn=False, short=False, same=False):
    def wrong(x, y, axis, size, rng, order=None, done=0):
        n = x.shape[axis]
        order = rng.permutation(n)
        while True:
            xs, ys = x[order], y[np.roll(order, 1) if torn else order]
            for i in range(0, n - size + 1 if short else n, size):
                yield order, xs[i : i + size], ys[i : i + size]
            order = order if same else rng.permutation(n)

    return wrong


@pytest.mark.parametrize("mistake", ["torn", "short", "same"])
def test_wrong_batches_are_caught(monkeypatch, mistake):
    monkeypatch.setattr(loop, "_batches", batches_with())
    check_epochs(batches())
    monkeypatch.setattr(loop, "_batches", batches_with(**{mistake: True}))
    with pytest.raises(AssertionError):
        check_epochs(batches())


def test_a_loss_over_all_replicas_is_caught(monkeypatch):
    """Averaging over the replicas too divides every gradient by their number."""

    def shared(loss):
        def both(logits, target, **options):
            value, grad = losses.value_and_grad(loss)(logits, target, **options)
            return value, grad / math.prod(logits.shape[:-2])

        return both

    monkeypatch.setattr(loop, "value_and_grad", shared)
    with pytest.raises(AssertionError):
        check_replicas()


def test_a_replica_that_is_not_stopped_is_caught(monkeypatch):
    source = inspect.getsource(loop._step_of)
    wrong = source.replace("new = xp.where(running[..., None], new, theta)", "pass")
    assert wrong != source
    planted = dict(vars(loop))
    exec(wrong, planted)
    monkeypatch.setattr(loop, "_step_of", planted["_step_of"])
    with pytest.raises(AssertionError):
        check_divergence()
