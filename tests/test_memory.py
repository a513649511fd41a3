"""What a training step allocates, beside vectors of the parameters' size."""

import tracemalloc

import numpy as np
import pytest

from companion import layers as L
from companion.losses import cross_entropy, cross_entropy_grad
from companion.network import Sequential

BLOCK = [L.Linear(64, 64), L.BatchNorm(64), L.ReLU(), L.Dropout(0.3)]
NETWORKS = {
    "mlp": (Sequential(L.Linear(784, 256), L.ReLU(), L.Linear(256, 10)), (512, 784)),
    "deep": (Sequential(*[L.Linear(64, 64), L.GELU()] * 12, L.Linear(64, 10)), (2048, 64)),
    "normalised": (Sequential(*BLOCK * 6, L.Linear(64, 10)), (2048, 64)),
    "convolutional": (
        Sequential(
            *(L.Conv2d(1, 16, 3, padding=1), L.ReLU(), L.MaxPool2d(2)),
            *(L.Conv2d(16, 32, 3, padding=1), L.ReLU(), L.MaxPool2d(2)),
            *(L.Flatten(), L.Linear(32 * 49, 10)),
        ),
        (64, 1, 28, 28),
    ),
    "recurrent": (Sequential(L.LSTM(8, 64), L.Linear(64, 10)), (64, 40, 8)),
    "attentive": (
        Sequential(
            *(L.Embedding(10, 64), L.Position(64, 64)),
            L.Residual(L.LayerNorm(64), L.Attention(64, 4, causal=True)),
            L.Residual(L.LayerNorm(64), L.Linear(64, 128), L.GELU(), L.Linear(128, 64)),
            L.Linear(64, 10),
        ),
        (32, 64),
    ),
}


def kept(cache, *others):
    """Bytes that a cache holds, each buffer once, without those of `others`."""
    buffers, todo = {}, [cache]
    while todo:
        item = todo.pop()
        if isinstance(item, (list, tuple)):
            todo += item
        elif isinstance(item, np.ndarray):
            while isinstance(item.base, np.ndarray):
                item = item.base
            buffers[id(item)] = item.nbytes
    return sum(size for key, size in buffers.items() if key not in map(id, others))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_takes_three_times_what_it_keeps(on_numpy, name):
    net, shape = NETWORKS[name]
    rng = np.random.default_rng(0)
    theta = net.init(rng)
    x = rng.integers(0, 10, shape) if net.row.takes_integers else rng.random(shape)
    noise = net.sample_noise(rng, x)

    def forward():
        return net.forward(theta, x, training=True, noise=noise)

    def step():
        logits, cache = forward()
        flat = logits.reshape(-1, 10)
        cross_entropy(flat, labels)
        dy = cross_entropy_grad(flat, labels).reshape(logits.shape)
        return net.backward(cache, dy, input_grad=False)[1]

    logits, cache = forward()
    labels = rng.integers(0, 10, logits.size // 10)
    step()  # what is made once and for all
    must_keep = kept(cache, theta, x) + logits.nbytes
    del logits, cache
    tracemalloc.start()
    step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - 2 * theta.nbytes <= 3 * must_keep  # the gradient, in parts and as one vector
