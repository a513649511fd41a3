"""Cross-entropy and what belongs to it."""

import mpmath
import numpy as np
import torch.nn.functional as F

from companion.losses import cross_entropy
from tests.losses.case import Case


def hard_logits():
    """Rows of logits from hardly different to saturated, far from 0 too, with each label."""
    rng = np.random.default_rng(0)
    rows = [s * rng.standard_normal((3, 5)) + c for s in (1e-3, 1, 10, 100) for c in (0, 30)]
    rows.append([[0.0, 40, 0, -3, 2], [0, 700, 1, 2, 3], [-16, 0, -40, -30, -20], [5, 5, 5, 5, 5]])
    rows.append([[1e4, 0, -1e4, 2, 3], [-1e4, -1e4, 1e4, 1e4, 0]])
    z = np.concatenate(rows).astype(np.float32).astype(float)
    return np.repeat(z, 5, axis=0), np.tile(np.arange(5), len(z))


def draw_logits(rng, lead):
    return 2 * rng.standard_normal((*lead, 7, 4)), rng.integers(4, size=(*lead, 7))


def exact_cross_entropy(z, t):
    return mpmath.log1p(mpmath.fsum(mpmath.exp(v - z[t]) for j, v in enumerate(z) if j != t))


CASES = {
    "cross_entropy": Case(
        cross_entropy,
        exact_cross_entropy,
        draw_logits,
        hard_logits,
        F.cross_entropy,
        core=1,
    ),
}
