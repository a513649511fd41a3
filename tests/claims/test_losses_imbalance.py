"""Claims about losses for classes of unequal size."""

import numpy as np
import torch
import torch.nn.functional as F

from companion.backend import array, to_numpy
from companion.losses import cross_entropy_grad, softmax_focal_loss, softmax_focal_loss_grad


def test_weighted_softmax(ledger):
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal((50, 4)), rng.integers(4, size=50)
    w = np.array([0.5, 2.0, 1.0, 4.0])
    options = {"gamma": 0.0, "alpha": w, "reduction": "sum"}
    grad = to_numpy(softmax_focal_loss_grad(array(z), array(t), **options))
    plain = to_numpy(cross_entropy_grad(array(z), array(t), reduction="sum"))
    value = float(softmax_focal_loss(array(z), array(t), **options))
    theirs = F.cross_entropy(torch.tensor(z), torch.tensor(t), torch.tensor(w)).item()
    scaled = np.allclose(grad, w[t][:, None] * plain, rtol=1e-12)
    ledger(
        "LOSS-16",
        holds=scaled and np.isclose(theirs, value / w[t].sum(), rtol=1e-12),
        measured="a weight $w_c$ multiplies the gradient of every sample of class c; PyTorch's "
        "mean divides by the sum of the samples' weights, not by their number",
    )
