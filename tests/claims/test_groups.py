"""Claims about maxout and softmax."""

import math

import numpy as np

from companion import activations as act
from companion.backend import array, to_numpy
from companion.layers import Linear, Maxout
from companion.losses import cross_entropy, cross_entropy_grad
from companion.network import Sequential
from tests.claims.experiments import at


def central_difference(function, x, h=1e-6):
    """Gradient of a scalar function of a NumPy vector."""
    return np.array([(function(x + d) - function(x - d)) / (2 * h) for d in h * np.eye(len(x))])


def test_maxout_formula(ledger):
    rng = np.random.default_rng(0)
    net = Sequential(Maxout(4, 3, num_pieces=5))
    theta = net.init(rng)
    x, dy = rng.standard_normal((1, 4)), rng.standard_normal((1, 3))
    y, cache = net.forward(theta, array(x))
    parts = {name.split(".")[1]: to_numpy(v) for name, v in net.unpack(theta).items()}
    direct = (x @ parts["weight"] + parts["bias"]).reshape(3, 5).max(-1)
    _, grad = net.backward(cache, array(dy))

    def inner_product(theta):
        return float((to_numpy(net.forward(array(theta), array(x))[0]) * dy).sum())

    error = abs(to_numpy(grad) - central_difference(inner_product, to_numpy(theta))).max()
    tie = to_numpy(act.maxout_vjp(array([1.0]), array([2.0, 3.0, 3.0]), 3)).tolist()
    ledger(
        "ACT-50",
        holds=np.array_equal(to_numpy(y)[0], direct) and error < 1e-8 and tie == [0, 1, 0],
        measured="equal to the maximum of 5 affine maps; the gradient agrees with central "
        "differences to $10^{-8}$; at a tie the first piece takes it",
    )


def test_maxout_is_not_sparse(ledger):
    x = array(np.random.default_rng(0).standard_normal((1000, 50)))
    layer = Maxout(50, 100)
    net = Sequential(layer)
    y = to_numpy(net.forward(net.init(np.random.default_rng(1)), x)[0])
    plain = Sequential(Linear(50, 100))
    rectified = at(act.relu, to_numpy(plain.forward(plain.init(np.random.default_rng(1)), x)[0]))
    zeros, relu_zeros = (y == 0).mean(), (rectified == 0).mean()
    products = math.prod(layer.shapes["weight"]) / math.prod(plain.layers[0].shapes["weight"])
    ledger(
        "ACT-52",
        holds=zeros == 0 and 0.45 < relu_zeros < 0.55 and products == 2,
        measured=f"share of outputs that are 0: {zeros:.2f} with maxout, {relu_zeros:.2f} with "
        f"ReLU; with two pieces {products:.0f} times the multiplications",
    )


def test_maxout_pieces_can_be_dead(ledger):
    rng = np.random.default_rng(0)
    net = Sequential(Maxout(2, 1, num_pieces=5))
    theta = to_numpy(net.init(rng, 10))
    net.unpack(theta)["0.bias"][...] = 5 * rng.standard_normal((10, 5))
    x = rng.standard_normal((10000, 2))
    parts = net.unpack(theta)
    pieces = x @ parts["0.weight"] + parts["0.bias"][:, None]
    dy = np.ones((*pieces.shape[:-1], 1))
    taken = to_numpy(act.maxout_vjp(array(dy), array(pieces), 5))
    dead = (taken == 0).all(1).sum()
    ledger(
        "ACT-53",
        holds=(taken.sum(-1) == 1).all() and (taken.max(-1) == 1).all() and dead > 5,
        measured="for each of 10,000 samples one piece takes the whole gradient; of ten units of 5 "
        f"pieces with biases from $N(0,25)$, {dead} of the 50 pieces get none from any sample",
    )


def test_maxout_generalises_relu(ledger):
    z = np.random.default_rng(0).standard_normal(10000)
    same = {}
    for slope in (0.0, 0.01, 0.3):
        pieces = np.stack([slope * z, z], axis=-1)
        same[slope] = np.array_equal(
            at(act.maxout, pieces, num_pieces=2)[:, 0],
            at(act.leaky_relu, z, negative_slope=slope),
        )
    ledger(
        "ACT-54",
        holds=all(same.values()),
        measured="with first pieces 0, $0.01z$ and $0.3z$ and second piece $z$ it equals ReLU and "
        "leaky ReLU on 10,000 inputs, exactly",
    )


def test_maxout_parameters(ledger):
    sizes = {k: Sequential(Maxout(20, 30, num_pieces=k)).size for k in (2, 3, 5)}
    plain = Sequential(Linear(20, 30)).size
    ledger(
        "ACT-55",
        holds=all(size == k * plain for k, size in sizes.items()),
        measured=f"20 inputs and 30 outputs: {plain} parameters in a linear layer, "
        + ", ".join(f"{size} with {k} pieces" for k, size in sizes.items()),
    )


def test_softmax_formula(ledger):
    x = np.array([1000.0, 1001.0, 1002.0])
    with np.errstate(over="ignore", invalid="ignore"):
        naive = np.exp(x) / np.exp(x).sum()
    p = at(act.softmax, x)
    jacobian = np.stack([at(lambda e: act.softmax_vjp(e, array(x)), e) for e in np.eye(3)])
    rank = np.linalg.matrix_rank(jacobian, tol=1e-12)
    ledger(
        "ACT-64",
        holds=np.isnan(naive).all()
        and np.allclose(p, at(act.softmax, x - 1000))
        and np.allclose(jacobian, np.diag(p) - np.outer(p, p), atol=1e-15)
        and rank == 2,
        measured="at (1000, 1001, 1002) the formula as written gives nan, the package "
        f"({', '.join(f'{v:.4f}' for v in p)}), as at (0, 1, 2); the Jacobian has rank {rank}",
    )


def test_gradient_through_softmax(ledger):
    rng = np.random.default_rng(0)
    z, target = rng.standard_normal(5), array([2])

    def loss(z):
        return float(cross_entropy(array(z[None]), target))

    simple = at(act.softmax, z) - np.eye(5)[2]
    ours = to_numpy(cross_entropy_grad(array(z[None]), target))[0]
    error = max(abs(g - central_difference(loss, z)).max() for g in (simple, ours))
    jacobian = np.stack([at(lambda e: act.softmax_vjp(e, array(z)), e) for e in np.eye(5)])
    alone = float(at(act.softmax, [3.0])[0])
    ledger(
        "ACT-65",
        holds=error < 1e-8 and (abs(jacobian) > 0).all() and alone == 1,
        measured="with cross-entropy the gradient $p-y$ agrees with central differences to "
        "$10^{-8}$; no entry of softmax's own Jacobian is 0; with one class the output is 1",
    )
