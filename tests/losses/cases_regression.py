"""Losses of real-valued predictions."""

import numpy as np
import torch.nn.functional as F

from companion.losses import mse_loss
from tests.losses.case import Case


def draw_errors(rng, lead):
    return 2 * rng.standard_normal((*lead, 7, 4)), rng.standard_normal((*lead, 7, 4))


def hard_errors():
    """Predictions far and near, and a few bits from their targets."""
    rng = np.random.default_rng(0)
    target = (10.0 ** rng.uniform(-3, 3, 60) * rng.choice([-1, 1], 60)).astype(np.float32)
    near = np.concatenate([[1e-6, 1e-3, 0.3, 1, 30], 10.0 ** rng.uniform(-6, 3, 55)])
    return (target * (1 + near)).astype(np.float32).astype(float), target.astype(float)


CASES = {
    "mse_loss": Case(
        mse_loss, lambda z, t: (z[0] - float(t)) ** 2, draw_errors, hard_errors, F.mse_loss
    ),
}
