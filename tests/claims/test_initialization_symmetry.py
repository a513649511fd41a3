"""Claims about equal starts and the mean of the weights that are not told in the prose."""

import numpy as np

from companion import datasets, initializers, training
from companion.backend import array, to_numpy
from companion.layers import Sigmoid, Tanh
from tests.claims.experiments import mlp, train


def test_equal_weights_work_as_one_neuron(ledger):
    """A half-plane needs one unit, quadrants need more."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 2))
    half = array(x), array((x @ [1.0, 2.0] > 0.5).astype(np.int64))
    accuracy = {}
    for name, data in {"half": half, "quadrants": datasets.quadrants(300, rng=rng)}.items():
        for f in (Tanh, Sigmoid):
            options = {"init": initializers.constant, "value": 0.3}
            net = mlp(2, 1, f, width=16, n_out=2, **options)
            theta, _ = train(net, net.init(rng), data, 0.5, 300)
            accuracy[name, f] = float(training.accuracy(net, theta, *data))
            w = to_numpy(net.unpack(theta)["0.weight"])
            # torch adds up equal columns in different orders, and the difference grows
            assert np.ptp(w, axis=1).max() < 1e-8
    easy = min(a for (name, _), a in accuracy.items() if name == "half")
    hard = max(a for (name, _), a in accuracy.items() if name == "quadrants")
    ledger(
        "INIT-04",
        holds=easy > 0.95 and hard < 0.85,
        measured="16 equal tanh or sigmoid units: accuracy above 0.95 on a half-plane, which one "
        "unit can tell, and below 0.85 on quadrants",
    )


def test_a_mean_takes_over(ledger):
    """Ten tanh layers of 100 with the same variance and another mean; and starts without chance."""
    ends = {}
    for mean in (0.0, 0.1):
        rng = np.random.default_rng(0)
        a = rng.standard_normal((200, 100))
        for _ in range(10):
            w = initializers.normal((100, 100), rng=rng, mean=mean, std=0.1)
            a = np.tanh(a @ w)
        ends[mean] = abs(a).mean()
    data = datasets.digits()
    accuracy = []
    for init in (initializers.orthogonal, initializers.eye):
        net = mlp(64, 3, Tanh, width=32, init=init)
        theta, _ = train(net, net.init(np.random.default_rng(0)), data, 0.3, 600)
        accuracy.append(float(training.accuracy(net, theta, *data)))
    ledger(
        "INIT-05",
        holds=ends[0.0] < 0.3 and ends[0.1] > 0.99 and min(accuracy) > 0.9,
        measured="mean |h| after ten tanh layers below 0.3 for mean 0 and above 0.99 for mean "
        "0.1; orthogonal and identity starts reach 0.9 on the digits",
    )
