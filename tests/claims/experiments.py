"""What several claim tests share. Everything runs in the backend in force."""

import math
from functools import cache

import numpy as np

from companion import datasets, losses, training
from companion.backend import array, to_numpy
from companion.layers import Linear
from companion.network import Sequential
from companion.optimizers import SGD


def at(function, x, **options):
    """Evaluate a function of the package; NumPy in, NumPy out."""
    return to_numpy(function(array(np.asarray(x, float)), **options))


def normal_mean(function):
    """Return the mean of function(z) for z ~ N(0, 1), by the trapezoidal rule."""
    z = np.linspace(-12, 12, 24001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return np.trapezoid(at(function, z) * density, z)


def interval(sample):
    """Write the mean of at least ten values with its 95 % t interval."""
    from scipy.stats import t

    half = t.ppf(0.975, len(sample) - 1) * np.std(sample, ddof=1) / math.sqrt(len(sample))
    return rf"${np.mean(sample):.2f}\pm{half:.2f}$"


@cache
def tasks():
    """Return the synthetic and the real task."""
    return {
        "clusters": datasets.clusters(rng=np.random.default_rng(0)),
        "digits": datasets.digits(),
    }


def mlp(n_in, depth, activation, *, width=32, n_out=10, **options):
    """Stack `depth` hidden layers and a linear output layer; the options go to the weights."""
    layers = []
    for n in [n_in, *[width] * (depth - 1)]:
        layers += [Linear(n, width, **options), activation()]
    return Sequential(*layers, Linear(width, n_out, **options))


def hidden(net, theta, x, layer):
    """Return what goes into the activation of a hidden layer, counted from 1."""
    part = Sequential(*net.layers[: 2 * layer - 1])
    with np.errstate(over="ignore", invalid="ignore"):  # after training at a ruinous rate
        return to_numpy(part.forward(theta[..., : part.size], x)[0])


def dead(net, theta, x, layer=2):
    """Fraction of a layer's units that are negative for all samples, for each replica."""
    return (hidden(net, theta, x, layer) <= 0).all(-2).mean(-1)


def train(net, theta, data, lr, steps, loss=losses.cross_entropy, batch_size=50, **options):
    """Train all replicas with plain SGD on the same batches."""
    return training.fit(
        net,
        theta,
        data,
        loss=loss,
        optimizer=SGD(lr=lr),
        rng=np.random.default_rng(0),
        steps=steps,
        batch_size=batch_size,
        **options,
    )


def shuffled(data, count):
    """Give each of `count` replicas the samples in an order of its own."""
    x, y = map(to_numpy, data)
    rng = np.random.default_rng(2)
    order = np.stack([rng.permutation(len(y)) for _ in range(count)])
    return array(x[order]), array(y[order])


def updates_to(level, net, theta, data, optimizer, steps):
    """Count updates until the error on 300 training samples is at most `level`."""
    some = data[0][:, :300], data[1][:, :300]
    error = training.evaluate(5, error=lambda t: 1 - training.accuracy(net, t, *some))
    _, history = training.fit(
        net,
        theta,
        data,
        loss=losses.cross_entropy,
        optimizer=optimizer,
        rng=np.random.default_rng(0),
        steps=steps,
        batch_size=50,
        callbacks=[error],
    )
    return training.steps_to(history, level)


def race(net, data, rates, steps, *, seeds=10, level=0.25, **options):
    """Choose the learning rate on five seeds, then count updates on others.

    A seed has its own initial weights and its own batches.
    """
    theta = net.init(np.random.default_rng(1), 5 + seeds)
    x, y = shuffled(data, 5 + seeds)
    lr = array(np.asarray(rates, float))[:, None, None]
    optimizer = SGD(lr=lr, **options)
    pilot = updates_to(level, net, theta[:5] + 0 * lr, (x[:5], y[:5]), optimizer, steps)
    best = np.median(pilot, axis=1).argmin()
    assert 0 < best < len(rates) - 1, f"the best rate is at the edge of {rates}"
    optimizer = SGD(lr=float(rates[best]), **options)
    return updates_to(level, net, theta[5:], (x[5:], y[5:]), optimizer, steps)


def kill(net, theta, x, layer, units, depth=0.05):
    """Lower biases until a layer's first units are `depth` below 0 for all data."""
    z = hidden(net, theta, x, layer)[..., :units]
    theta = np.array(to_numpy(theta))
    net.unpack(theta)[f"{2 * layer - 2}.bias"][..., :units] -= z.max(-2) + depth
    return array(theta)
