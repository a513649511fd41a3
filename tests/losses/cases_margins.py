"""Hinge losses, and the triplet loss as a function of its anchor."""

import functools

import mpmath
import numpy as np
import torch.nn.functional as F

from companion.backend import namespace
from companion.losses import (
    hinge_loss,
    multi_margin_loss,
    triplet_margin_loss,
    triplet_margin_loss_grad,
)
from companion.losses.base import pair
from tests.losses.case import Case
from tests.losses.cases_classification import draw_logits


def hard_scores():
    """Logits hardly inside and outside the margin, and far from it."""
    rng = np.random.default_rng(0)
    z = np.concatenate([s * rng.standard_normal((4, 5)) for s in (0.01, 1, 100, 1e4)])
    z = np.concatenate([z, [[0, 1 - 2**-10, 1 + 2**-10, 2**-20, 3]]]).astype(np.float32)
    return np.repeat(z.astype(float), 5, axis=0), np.tile(np.arange(5), len(z))


def exact_multi_margin(z, t, p=1, margin=1):
    missing = [margin - z[t] + v for j, v in enumerate(z) if j != t]
    return mpmath.fsum(m**p for m in missing if m > 0) / len(z)


def draw_signs(rng, lead):
    return 2 * rng.standard_normal((*lead, 7, 4)), rng.choice([-1.0, 1.0], size=(*lead, 7, 4))


def hard_signs():
    s = np.array([-1e4, -3, -1e-6, 1e-6, 0.5, 1 - 2**-20, 1 + 2**-20, 1e4], np.float32)
    return np.tile(s, 2).astype(float), np.repeat([-1.0, 1.0], len(s))


def exact_hinge(z, t, p=1):
    return max(mpmath.mpf(0), 1 - int(t) * z[0]) ** p


def peer_hinge(prediction, target, reduction, p=1):
    missing = F.relu(1 - target * prediction) ** p
    return missing if reduction == "none" else getattr(missing, reduction)()


def stacked(points, target, **options):
    """The triplet loss of anchor, positive and negative in one array, ``(n,3,d)``; no target."""
    return triplet_margin_loss(*(points[..., i, :] for i in range(3)), **options)


def stacked_grad(points, target, **options):
    grads = triplet_margin_loss_grad(*(points[..., i, :] for i in range(3)), **options)
    return namespace(points).stack(grads, axis=-2)


pair(stacked, stacked_grad)


def draw_triplets(rng, lead):
    return rng.standard_normal((*lead, 7, 3, 3)), np.zeros((*lead, 7))


def hard_triplets():
    """Far, near and tiny differences, some within the margin and some not."""
    rng = np.random.default_rng(0)
    a = np.concatenate([s * rng.standard_normal((4, 3)) for s in (1e-20, 1e-3, 1, 30)])
    points = np.stack([a, a + a[::-1] * 1e-3, a * 1.5 + 0.25], axis=1)
    return points.astype(np.float32).astype(float), np.zeros(len(a))


def exact_triplet(z, t, p=2, margin=1):
    a, b, c = z[:3], z[3:6], z[6:]

    def distance(point):
        powers = [abs(v - w) ** p for v, w in zip(a, point, strict=True)]
        return mpmath.fsum(powers) ** (mpmath.mpf(1) / p)

    return max(mpmath.mpf(0), distance(b) - distance(c) + margin)


def peer_triplet(prediction, target, reduction, p=2):
    three = (prediction[..., i, :] for i in range(3))
    return F.triplet_margin_loss(*three, p=p, eps=0.0, reduction=reduction)


CASES = {
    "multi_margin_loss": Case(
        multi_margin_loss, exact_multi_margin, draw_logits, hard_scores, F.multi_margin_loss, core=1
    ),
    "multi_margin_loss, squared": Case(
        functools.partial(multi_margin_loss, p=2, margin=0.5),
        functools.partial(exact_multi_margin, p=2, margin=0.5),
        draw_logits,
        hard_scores,
        functools.partial(F.multi_margin_loss, p=2, margin=0.5),
        core=1,
    ),
    "hinge_loss": Case(hinge_loss, exact_hinge, draw_signs, hard_signs, peer_hinge),
    "hinge_loss, squared": Case(
        functools.partial(hinge_loss, p=2),
        functools.partial(exact_hinge, p=2),
        draw_signs,
        hard_signs,
        functools.partial(peer_hinge, p=2),
    ),
    "triplet_margin_loss": Case(
        stacked, exact_triplet, draw_triplets, hard_triplets, peer_triplet, core=2
    ),
    "triplet_margin_loss, p = 3": Case(
        functools.partial(stacked, p=3),
        functools.partial(exact_triplet, p=3),
        draw_triplets,
        hard_triplets,
        functools.partial(peer_triplet, p=3),
        core=2,
    ),
}
