"""The Brier score."""

import mpmath
import numpy as np
import torch
import torch.nn.functional as F

from companion.losses import brier_score
from tests.losses.case import Case
from tests.losses.cases_information import softmaxes


def draw_forecasts(rng, lead):
    return softmaxes(rng, (*lead, 7, 4)), rng.integers(4, size=(*lead, 7))


def hard_forecasts():
    """Nearly certain forecasts, right and wrong, and even ones."""
    rng = np.random.default_rng(0)
    p = np.concatenate([softmaxes(rng, (4, 5), s) for s in (0.1, 3, 30, 60)])
    p = np.concatenate([p, np.eye(5)[:2], [[1 - 2**-20, 2**-20, 0, 0, 0], 5 * [0.2]]])
    p = p.astype(np.float32).astype(float)
    return np.repeat(p, 5, axis=0), np.tile(np.arange(5), len(p))


def exact_brier_score(z, t):
    return mpmath.fsum((v - (j == t)) ** 2 for j, v in enumerate(z))


def torch_brier_score(p, t, reduction):
    loss = ((p - F.one_hot(t, p.shape[-1])) ** 2).sum(-1)
    return {"mean": torch.mean, "sum": torch.sum, "none": torch.clone}[reduction](loss)


CASES = {
    "brier_score": Case(
        brier_score,
        exact_brier_score,
        draw_forecasts,
        hard_forecasts,
        torch_brier_score,
        core=1,
    ),
}
