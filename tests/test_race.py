"""The races of the book's figures."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from companion import datasets, training
from companion.layers import Tanh
from companion.losses import cross_entropy
from companion.optimizers import SGD
from companion.teaching.race import mlp, race

RATES = np.array([0.03125, 0.125, 0.5, 2.0])


def test_a_race_is_what_full_trainings_count():
    x, y = data = datasets.digits()
    net = mlp(64, 1, Tanh)
    theta = net.init(np.random.default_rng(1), replicas=13)

    def count(theta, lr):
        error = training.evaluate(
            5, error=lambda t: 1 - training.accuracy(net, t, x[:300], y[:300])
        )
        options = {"loss": cross_entropy, "optimizer": SGD(lr), "batch_size": 50, "steps": 60}
        rng = np.random.default_rng(0)
        history = training.fit(net, theta, data, rng=rng, callbacks=[error], **options)[1]
        return training.steps_to(history, 0.25)

    pilot = [np.median(count(theta[:3], lr)) for lr in RATES]
    rate, updates = race(net, data, RATES, 60)
    assert rate == RATES[np.argmin(pilot)]
    assert_array_equal(updates, count(theta[3:], rate))
    assert np.isfinite(updates).all()


def test_a_best_rate_at_the_edge_is_refused():
    with pytest.raises(ValueError, match="rates must reach beyond the best one"):
        race(mlp(64, 1, Tanh), datasets.digits(), RATES[:2], 60)
