"""Cross-entropy and what belongs to it."""

import functools

import mpmath
import numpy as np
import torch
import torch.nn.functional as F

from companion.losses import binary_cross_entropy_with_logits, cross_entropy, z_loss
from tests.losses.case import Case

# With these no p_j is near the share q_j of a class at p = 1/5: p - q is only as exact as q is
WEIGHT = np.array([0.5, 2.0, 1.25, 0.0, 4.0])
POS_WEIGHT = np.array([0.5, 1.0, 3.0, 20.0])


def hard_logits():
    """Rows of logits from hardly different to saturated, far from 0 too, with each label."""
    rng = np.random.default_rng(0)
    rows = [s * rng.standard_normal((3, 5)) + c for s in (1e-3, 1, 10, 100) for c in (0, 30)]
    rows.append([[0.0, 40, 0, -3, 2], [0, 700, 1, 2, 3], [-16, 0, -40, -30, -20], [5, 5, 5, 5, 5]])
    rows.append([[1e4, 0, -1e4, 2, 3], [-1e4, -1e4, 1e4, 1e4, 0]])
    z = np.concatenate(rows).astype(np.float32).astype(float)
    return np.repeat(z, 5, axis=0), np.tile(np.arange(5), len(z))


def some_hard_logits():
    """Return one label for each of these rows, and another of the last."""
    z, t = hard_logits()
    chosen = np.append(np.arange(0, len(z), 5) + np.arange(len(z) // 5) % 4, len(z) - 1)
    return z[chosen], t[chosen]


def draw_logits(rng, lead):
    return 2 * rng.standard_normal((*lead, 7, 5)), rng.integers(5, size=(*lead, 7))


def draw_probabilities(rng, lead):
    return 2 * rng.standard_normal((*lead, 7, 5)), rng.dirichlet(np.ones(5), size=(*lead, 7))


def hard_probabilities():
    """Rows with a certain class, with none, with impossible ones, and with tiny ones."""
    z = some_hard_logits()[0][::2]
    q = [[0, 1, 0, 0, 0], [0.5, 0, 0.5, 0, 0], [0.2] * 5, [2**-20, 0.5, 0, 0.5 - 2**-20, 0]]
    q.append([0.75, 0.125, 0, 2**-40, 0.125 - 2**-40])
    return z, np.tile(np.float32(q).astype(float), (len(z) // 5 + 1, 1))[: len(z)]


def exact_cross_entropy(z, t, weight=None, label_smoothing=0.0, ignore_index=None):
    k = len(z)
    if np.ndim(t):
        q = [mpmath.mpf(v) for v in t]
    elif t == ignore_index:
        return mpmath.mpf(0)
    else:
        q = [mpmath.mpf(int(c == t)) for c in range(k)]
    e = mpmath.mpf(label_smoothing)
    q = [(1 - e) * v + e / k for v in q]
    w = [1] * k if weight is None else [mpmath.mpf(float(v)) for v in weight]
    # the digits of case.py are enough for a loss of 1e-308
    log_sum = mpmath.log(mpmath.fsum(mpmath.exp(v) for v in z))
    return mpmath.fsum(w[c] * q[c] * (log_sum - z[c]) for c in range(k))


def exact_z_loss(z, t, ignore_index=None):
    if t == ignore_index:
        return mpmath.mpf(0)
    return mpmath.log(mpmath.fsum(mpmath.exp(v) for v in z)) ** 2


def peer_z_loss(z, t, reduction, ignore_index=-100):
    kept = t != ignore_index
    loss = torch.where(kept, torch.logsumexp(z, -1) ** 2, 0.0)
    return {"mean": loss.sum() / kept.sum(), "sum": loss.sum(), "none": loss}[reduction]


def draw_answers(rng, lead):
    return 3 * rng.standard_normal((*lead, 7, 4)), rng.uniform(size=(*lead, 7, 4)).round(1)


def hard_answers():
    rng = np.random.default_rng(0)
    z = [0.3, 16, 17, 40, 100, 700, 1e4, 1e-6, 1e-30, 0.999, 1.001, *(5 * rng.standard_normal(5))]
    z = np.concatenate([z, np.negative(z)]).astype(np.float32).astype(float)
    y = np.array([0, 1, 0.5, 0.25, 1 / 1024])
    return np.repeat(z, len(y)), np.tile(y, len(z))


def exact_bce(z, y, pos_weight=1):
    y = mpmath.mpf(float(y))
    yes, no = (mpmath.log1p(mpmath.exp(v)) for v in (-z[0], z[0]))
    return pos_weight * y * yes + (1 - y) * no


def cross_entropy_case(draw, hard, **options):
    theirs = dict(options)
    if "weight" in options:
        theirs["weight"] = torch.tensor(WEIGHT)
    return Case(
        functools.partial(cross_entropy, **options),
        functools.partial(exact_cross_entropy, **options),
        draw,
        hard,
        functools.partial(F.cross_entropy, **theirs),
        core=1,
        soft=hard is hard_probabilities,
    )


by_labels = functools.partial(cross_entropy_case, draw_logits, some_hard_logits)
by_shares = functools.partial(cross_entropy_case, draw_probabilities, hard_probabilities)
BCE = binary_cross_entropy_with_logits
CASES = {
    "cross_entropy": Case(
        cross_entropy, exact_cross_entropy, draw_logits, hard_logits, F.cross_entropy, core=1
    ),
    "weight": by_labels(weight=WEIGHT),
    "ignore_index": by_labels(ignore_index=1),
    "weight and ignore_index": by_labels(weight=WEIGHT, ignore_index=1),
    "label_smoothing": by_labels(label_smoothing=0.1),
    "all of them": by_labels(weight=WEIGHT, ignore_index=1, label_smoothing=0.25),
    "probabilities": by_shares(),
    "weighted probabilities": by_shares(weight=WEIGHT, label_smoothing=0.1),
    "z_loss": Case(z_loss, exact_z_loss, draw_logits, some_hard_logits, peer_z_loss, core=1),
    "z_loss and ignore_index": Case(
        functools.partial(z_loss, ignore_index=1),
        functools.partial(exact_z_loss, ignore_index=1),
        draw_logits,
        some_hard_logits,
        functools.partial(peer_z_loss, ignore_index=1),
        core=1,
    ),
    "binary_cross_entropy_with_logits": Case(
        BCE, exact_bce, draw_answers, hard_answers, F.binary_cross_entropy_with_logits
    ),
    "pos_weight": Case(
        functools.partial(BCE, pos_weight=3.0),
        functools.partial(exact_bce, pos_weight=3),
        draw_answers,
        hard_answers,
        functools.partial(F.binary_cross_entropy_with_logits, pos_weight=torch.tensor(3.0)),
    ),
}
