"""Claims about back-propagation that are not told in the prose."""

from itertools import pairwise

import numpy as np

from companion.backend import array, to_numpy
from companion.layers import Linear, Sigmoid, Softplus, Tanh
from companion.losses import cross_entropy, cross_entropy_grad
from companion.network import Sequential
from tests.claims.experiments import at

FUNCTIONS = (Sigmoid, Tanh, Softplus)
SIZES = (4, 3, 5, 3)


def central_differences(function, x, h=1e-6):
    """Derivative of a NumPy array's function in each entry, in shape (*x.shape, *value.shape)."""
    rows = [
        (np.asarray(function(x + d)) - function(x - d)) / (2 * h)
        for d in (h * np.eye(x.size)).reshape(x.size, *x.shape)
    ]
    return np.reshape(rows, (*x.shape, *rows[0].shape))


def three_layers(function, samples):
    """Return a network of three affine layers, its parameters, samples and their labels."""
    rng = np.random.default_rng(0)
    pairs = [(Linear(n_in, n_out), function()) for n_in, n_out in pairwise(SIZES)]
    net = Sequential(*[layer for pair in pairs for layer in pair])
    theta = to_numpy(net.init(rng))
    theta = theta + 0.1 * rng.standard_normal(theta.shape)  # biases that are not 0
    return net, theta, rng.standard_normal((samples, SIZES[0])), np.arange(samples) % SIZES[-1]


def loss_of(net, y):
    """Return the loss as a function of theta and of the network's input."""

    def loss(theta, x):
        return float(cross_entropy(net.forward(array(theta), array(x))[0], array(y)))

    return loss


def gradients(net, theta, x, y):
    """Return the package's gradient in theta, by name."""
    out, cache = net.forward(array(theta), array(x))
    _, grad = net.backward(cache, cross_entropy_grad(out, array(y)))
    return to_numpy(grad)


def layer_by_layer(function, samples):
    """Yield, for each affine layer, its input, what comes after it, and the derivatives.

    The derivatives are of the loss: in all parameters of the layer by moving them, and in the
    pre-activation, by moving that.
    """
    net, theta, x, y = three_layers(function, samples)
    loss = loss_of(net, y)
    moved = central_differences(lambda t: loss(t, x), theta)
    for i in (0, 2, 4):
        head, tail = Sequential(*net.layers[: i + 1]), Sequential(*net.layers[i + 1 :])
        before = Sequential(*net.layers[:i]) if i else None
        a = to_numpy(before.forward(array(theta[: before.size]), array(x))[0]) if i else x
        z = to_numpy(head.forward(array(theta[: head.size]), array(x))[0])
        rest = loss_of(tail, y)
        later = theta[head.size :]
        delta = central_differences(lambda z, f=rest, t=later: f(t, z), z)
        names = net.unpack(moved)
        yield a, delta, names[f"{i}.weight"], names[f"{i}.bias"]


def relative(a, b):
    return float(abs(a - b).max() / abs(b).max())


def test_chain_rule_for_a_weight(ledger):
    worst, by_package, count = 0.0, 0.0, 0
    for function in FUNCTIONS:
        for a, delta, dw, _ in layer_by_layer(function, samples=1):
            n_in, n_out = dw.shape
            w = np.random.default_rng(1).standard_normal(dw.shape)
            dz_dw = central_differences(lambda w, a=a: (a @ w)[0], w)  # (n_in, n_out, n_out)
            assert dz_dw.shape == (n_in, n_out, n_out)
            worst = max(worst, relative(dz_dw @ delta[0], dw))
            count += dw.size
        net, theta, x, y = three_layers(function, samples=1)
        loss = loss_of(net, y)
        moved = central_differences(lambda t, loss=loss, x=x: loss(t, x), theta)
        by_package = max(by_package, relative(gradients(net, theta, x, y), moved))
    ledger(
        "BP-02",
        holds=worst < 1e-6 and by_package < 1e-6,
        measured=f"all {count // len(FUNCTIONS)} weights of a network 4-3-5-3 with sigmoid, tanh "
        "and softplus: the product agrees with central differences of the loss to a relative "
        "$10^{-6}$",
    )


def test_chain_rule_for_a_bias(ledger):
    identity = central_differences(lambda b: at(lambda b: 3.0 + b, b), np.array([0.5, -1.0, 2.0]))
    one = batch = 0.0
    for function in FUNCTIONS:
        for _, delta, _, db in layer_by_layer(function, samples=1):
            one = max(one, relative(delta[0], db))
        for _, delta, _, db in layer_by_layer(function, samples=5):
            batch = max(batch, relative(delta.sum(0), db))
    ledger(
        "BP-03",
        holds=abs(identity - np.eye(3)).max() < 1e-8 and one < 1e-6 and batch < 1e-6,
        measured="$\\partial z/\\partial b$ is the identity; for three layers and three "
        "activations the gradient of the bias is $\\delta$, for a batch of 5 the sum of its rows, "
        "to a relative $10^{-6}$",
    )


def test_jacobian_in_the_weights(ledger):
    rng = np.random.default_rng(0)
    a, w, delta = (rng.standard_normal(s) for s in [(4,), (3, 4), (3,)])
    jacobian = central_differences(lambda w: w @ a, w)  # as in the notes: columns, z = Wa
    stated = np.zeros((3, 4, 3))
    for i in range(3):
        for j in range(4):
            stated[i, j, i] = a[j]
    layer = Linear(4, 3)
    _, (dw, _) = layer.backward((array(a[None]), array(w.T)), array(delta[None]))
    error = max(
        abs(jacobian - stated).max(),
        abs(jacobian @ delta - np.outer(delta, a)).max(),
        abs(to_numpy(dw).T - np.outer(delta, a)).max(),
    )
    ledger(
        "BP-04",
        holds=error < 1e-8,
        measured="the Jacobian of a layer of 4 inputs and 3 outputs in its 12 weights, by moving "
        "each, has $a_j$ in position $i$ and 0 elsewhere; times $\\delta$ it is $\\delta a^T$, to "
        "$10^{-8}$",
    )


def test_the_book_is_only_named(ledger):
    ledger("BP-01")
