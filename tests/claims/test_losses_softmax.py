"""Claims about the softmax loss that are not told in the prose."""

import mpmath
import numpy as np

from companion.backend import array, to_numpy
from companion.losses import cross_entropy, cross_entropy_grad


def test_the_log_loss_is_a_sum(created, ledger):
    rng = np.random.default_rng(0)
    z, t = array(rng.standard_normal((40, 5))), array(rng.integers(5, size=40))
    one_hot = np.eye(5)[to_numpy(t)]
    p = np.exp(to_numpy(z)) / np.exp(to_numpy(z)).sum(-1, keepdims=True)
    total = -(one_hot * np.log(p)).sum()
    value = [float(cross_entropy(z, t, reduction=r)) for r in ("sum", "mean")]
    grad = [to_numpy(cross_entropy_grad(z, t, reduction=r)) for r in ("sum", "mean")]
    ledger(
        "LOSS-12",
        holds=abs(value[0] - total) < 1e-10
        and abs(value[0] - 40 * value[1]) < 1e-10
        and np.allclose(grad[0], 40 * grad[1], rtol=1e-12),
        measured="of 40 samples, the double sum is 40 times the mean that libraries take, and so "
        "is its gradient",
    )


def test_softmax_loss_is_the_cross_entropy_of_a_softmax(created, ledger):
    z = np.array([[0.5, -1.0, 2.0], [1e4, 0.0, -1e4], [-1e4, 1e4, 0.0], [40.0, 0.0, 0.0]])
    t = np.array([0, 1, 0, 0])
    found = to_numpy(cross_entropy(array(z), array(t), reduction="none"))
    with mpmath.workdps(60):
        p = [[mpmath.exp(v) for v in row] for row in z]
        exact = [float(-mpmath.log(row[c] / mpmath.fsum(row))) for row, c in zip(p, t, strict=True)]
    ledger(
        "LOSS-15",
        holds=np.allclose(found, exact, rtol=1e-14, atol=0),
        measured="minus the logarithm of softmax's probability to 14 digits, at logits of ±10⁴ and "
        "where the loss is 8.5·10⁻¹⁸",
    )
