"""Claims about schedules and steps that are not told in the section."""

import numpy as np

from companion import datasets, layers, losses, training
from companion.backend import to_numpy
from companion.gradients import update_ratio
from companion.optimizers import SGD
from companion.schedules import linear_warmup
from companion.teaching.race import mlp


def test_gradual_warmup(ledger, on_numpy):
    rates = linear_warmup(0.8, 5)(np.arange(8))
    rise = np.diff(np.concatenate([[0.0], rates]))
    ledger(
        "TRICK-16",
        holds=bool(np.allclose(rise[:5], 0.16) and (rates[4:] == 0.8).all()),
        measured="5 steps of warm-up to 0.8 rise by 0.16 each, to 0.8 in the fifth, and stay there",
    )


def test_update_to_weight_ratio(ledger, on_numpy):
    """Median ratio of the weights over a training, for rates that learn and that do not."""
    data = datasets.digits()
    net = mlp(64, 2, layers.ReLU, width=64)
    theta = net.init(np.random.default_rng(0), replicas=3)
    rates = 10.0 ** np.arange(-3, 1)[:, None, None]
    theta, ratios = theta + 0 * rates, []
    before = [theta]

    def look(t, theta):
        if t and t % 25 == 0:
            found = update_ratio(net, before[0], theta)
            ratios.append([v for name, v in found.items() if name.endswith("weight")])
        before[0] = theta

    theta, _ = training.fit(
        net,
        theta,
        data,
        loss=losses.cross_entropy,
        optimizer=SGD(rates),
        rng=np.random.default_rng(1),
        steps=300,
        batch_size=50,
        callbacks=[look],
    )
    right = np.median(to_numpy(training.accuracy(net, theta, *data)), axis=1)
    ratio = np.median(ratios, axis=(0, 1, 3))
    # from 0.001 to 1 by tens
    ledger(
        "TRICK-09",
        holds=bool(
            (right[[0, 1, 3]] < 0.9).all()
            and right[2] > 0.9
            and ratio[0] < ratio[1] < 1e-3 < ratio[2] < 1e-2 < ratio[3]
        ),
        measured="two hidden ReLU layers on digits, 300 steps of SGD: the rate 0.1, the only one "
        "of four to get above 90 %, has a median ratio between $10^{-3}$ and $10^{-2}$; 0.01 and "
        "0.001 stay below $10^{-3}$, and 1, which fails, is above $10^{-2}$",
    )
