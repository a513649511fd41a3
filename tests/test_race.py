"""The races of the book's figures."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from companion import datasets, training
from companion.backend import to_numpy
from companion.layers import Tanh
from companion.losses import cross_entropy
from companion.optimizers import SGD
from companion.teaching.race import Task, mlp, race

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


def test_rates_of_which_none_gets_there_are_refused():
    with pytest.raises(ValueError, match=r"none of the rates .* reached 0.01 in 5 updates"):
        race(mlp(64, 1, Tanh), datasets.digits(), RATES, 5, level=0.01)


def small(**options):
    train, rest = datasets.split(datasets.digits(), np.random.default_rng(0))
    ends = [tuple(part[i : i + 100] for part in rest) for i in (0, 100)]
    return Task(mlp(64, 1, Tanh, width=8), train, *ends, steps=20, batch_size=16, **options)


def test_pilots_choose_and_other_seeds_report():
    task = small(pilots=2, seeds=3)
    half, whole = task.search(SGD, RATES, budgets=(10, 20))
    assert half.shape == whole.shape == (4, 2)
    assert (whole < half)[:3].all()
    assert_array_equal(task.search(SGD, RATES)[0], whole)
    assert_array_equal(task.search(SGD, RATES[1:2], pilots=1)[0], whole[1:2, :1])
    report = task.report(SGD, RATES[:2])
    assert report.shape == (2, 3)
    # the same task with the first seeds as pilots, which see the other samples
    others = small(pilots=5, seeds=0)
    swapped = replace(others, validation=task.test, test=task.validation)
    assert_array_equal(swapped.search(SGD, RATES[:2])[0][:, 2:], report)


def test_each_budget_has_its_answer_in_the_order_given():
    task = small(pilots=2, seeds=1)
    first, half, whole = task.search(SGD, RATES, budgets=(0, 10, 20))
    assert_array_equal(
        task.search(SGD, RATES, budgets=(20, 0, 10, 20)), [whole, first, half, whole]
    )
    for budgets in ((10, 21), (-1,), (2.5,)):
        with pytest.raises(ValueError, match="budgets must be from 0 to 20; got"):
            task.search(SGD, RATES, budgets=budgets)


def test_seeds_have_their_own_weights_and_samples():
    theta, x, y = small(pilots=2, seeds=2)._starts
    assert tuple(x.shape) == (4, 320, 64)
    assert tuple(y.shape) == (4, 320)
    for part in (theta, x, y):
        assert len(np.unique(to_numpy(part).reshape(4, -1), axis=0)) == 4


def test_a_training_that_diverges_has_an_infinite_or_large_loss():
    (loss,) = small(pilots=2, seeds=1).search(SGD, [1e-9, 1e300])
    assert abs(loss[0] - np.log(10)).max() < 0.5
    assert (loss[1] > 10).all()
    assert not np.isnan(loss).any()
