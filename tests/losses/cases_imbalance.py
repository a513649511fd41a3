"""Focal losses, logit adjustment and Dice."""

from functools import partial

import mpmath
import numpy as np
import torch
import torch.nn.functional as F

from companion.losses import (
    dice_loss,
    logit_adjusted_cross_entropy,
    sigmoid_focal_loss,
    softmax_focal_loss,
)
from tests.losses.case import Case
from tests.losses.cases_classification import exact_cross_entropy, hard_logits

WEIGHTS = (0.5, 2.0, 0.25, 1.0, 3.0)
PRIOR = (-0.25, -2.0, -3.5, -0.125, -1.5)


def some_hard_logits():
    """Every other class of each row of logits."""
    return tuple(a[::2] for a in hard_logits())


def draw_binary(rng, lead):
    return 2 * rng.standard_normal((*lead, 7, 4)), 1.0 * (rng.random((*lead, 7, 4)) < 0.3)


def hard_binary(targets=(0, 1)):
    """Logits from nearly 0 to far beyond saturation, with each target."""
    rng = np.random.default_rng(0)
    x = np.array([1e-12, 1e-6, 1e-3, 0.1, 0.7, 1, 3, 9, 17, 37, 40, 80, 90, 300, 700, 1e3, 1e4])
    x = np.concatenate([x, 10 ** rng.uniform(-3, 3, 13)])
    x = np.concatenate([x, -x]).astype(np.float32).astype(float)
    y = np.asarray(targets, np.float32).astype(float)
    return np.repeat(x, len(y)), np.tile(y, len(x))


def _sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def exact_sigmoid_focal(z, t, alpha=0.25, gamma=2):
    x, y, alpha = z[0], mpmath.mpf(float(t)), mpmath.mpf(alpha)
    entropy = y * mpmath.log1p(mpmath.exp(-x)) + (1 - y) * mpmath.log1p(mpmath.exp(x))
    against = _sigmoid(x) * (1 - y) + _sigmoid(-x) * y
    return (alpha * y + (1 - alpha) * (1 - y)) * against**gamma * entropy


def torchvision_focal(x, y, alpha=0.25, gamma=2, reduction="none"):
    """The formula of ``torchvision.ops.sigmoid_focal_loss``; a negative alpha gives no weights."""
    p = torch.sigmoid(x)
    against = 1 - (p * y + (1 - p) * (1 - y))
    loss = F.binary_cross_entropy_with_logits(x, y, reduction="none") * against**gamma
    if alpha >= 0:
        loss = loss * (alpha * y + (1 - alpha) * (1 - y))
    return loss if reduction == "none" else getattr(loss, reduction)()


def exact_softmax_focal(z, t, gamma=2, weights=WEIGHTS):
    rest = mpmath.fsum(mpmath.exp(v - z[t]) for j, v in enumerate(z) if j != t)
    return weights[t] * (rest / (1 + rest)) ** gamma * mpmath.log1p(rest)


def softmax_focal(z, t, reduction, gamma=2):
    """The formula of the paper, with a weight for each class."""
    p = torch.softmax(z, -1).gather(-1, t[..., None])[..., 0]
    weight = torch.tensor(WEIGHTS, dtype=z.dtype)[t]
    loss = -weight * (1 - p) ** gamma * p.log()
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](loss)


def exact_adjusted(z, t):
    return exact_cross_entropy([v + mpmath.mpf(b) for v, b in zip(z, PRIOR, strict=True)], t)


def adjusted(z, t, reduction):
    return F.cross_entropy(z + torch.tensor(PRIOR, dtype=z.dtype), t, reduction=reduction)


def draw_five(rng, lead):
    return 2 * rng.standard_normal((*lead, 7, 5)), rng.integers(5, size=(*lead, 7))


def hard_masks():
    """Masks that are hardly found, nearly right, wrong everywhere, or empty."""
    rng = np.random.default_rng(0)
    y = 1.0 * (rng.random((9, 6)) < 0.5)
    y[8] = 0
    y[0, 0], y[1, 2] = 0.25, 0.75
    size = np.array([1, 1, 3, 10, 30, 80, 300, 1e4, 30])[:, None]
    side = np.array([1, -1, 1, 1, 1, 1, 1, 1, 1])[:, None]
    x = side * (2 * y - 1) * size * rng.uniform(0.5, 1.5, y.shape)
    x[4:6, :2] *= -1
    return x.astype(np.float32).astype(float), y


def exact_dice(z, t, smooth=1):
    pairs = [(_sigmoid(x), _sigmoid(-x), mpmath.mpf(float(y))) for x, y in zip(z, t, strict=True)]
    missed = mpmath.fsum(p * (1 - y) + q * y for p, q, y in pairs)
    return missed / (mpmath.fsum(p + y for p, _, y in pairs) + smooth)


def dice(x, y, reduction):
    p = torch.sigmoid(x).flatten(1)
    y = y.flatten(1)
    loss = 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](loss)


CASES = {
    "sigmoid_focal_loss": Case(
        sigmoid_focal_loss, exact_sigmoid_focal, draw_binary, hard_binary, torchvision_focal
    ),
    "softmax_focal_loss": Case(
        partial(softmax_focal_loss, alpha=WEIGHTS),
        exact_softmax_focal,
        draw_five,
        some_hard_logits,
        softmax_focal,
        core=1,
    ),
    "logit_adjusted_cross_entropy": Case(
        partial(logit_adjusted_cross_entropy, log_prior=PRIOR),
        exact_adjusted,
        draw_five,
        some_hard_logits,
        adjusted,
        core=1,
    ),
    "dice_loss": Case(dice_loss, exact_dice, draw_binary, hard_masks, dice, core=1, by_axis=True),
}
