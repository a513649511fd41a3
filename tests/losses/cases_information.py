"""Divergences."""

import functools

import mpmath
import numpy as np
import torch
import torch.nn.functional as F

from companion.losses import kl_div, kl_div_with_logits
from tests.losses.case import Case


def softmaxes(rng, shape, spread=2.0):
    z = spread * rng.standard_normal(shape)
    p = np.exp(z)
    return p / p.sum(-1, keepdims=True)


def draw_distributions(rng, lead):
    return np.log(softmaxes(rng, (*lead, 7, 4))), softmaxes(rng, (*lead, 7, 4))


def draw_logs(rng, lead):
    log_q, p = draw_distributions(rng, lead)
    return log_q, np.log(p)


def draw_two_logits(rng, lead):
    return 2 * rng.standard_normal((*lead, 7, 4)), 2 * rng.standard_normal((*lead, 7, 4))


def hard_distributions():
    """Predictions from nearly right to certain and wrong, targets with zeros."""
    rng = np.random.default_rng(0)
    p = np.concatenate([softmaxes(rng, (6, 5), s) for s in (0.1, 1, 10)])
    q = np.concatenate([softmaxes(rng, (6, 5), s) for s in (0.1, 1, 10)])
    q[:3] = p[:3] * (1 + 1e-3 * rng.standard_normal((3, 5)))
    p[4:8] = [[1, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0], [0, 0, 0, 0, 1], [0.75, 0.25, 0, 0, 0]]
    log_q = np.log(q)
    log_q[7] = [-1e4, -40, -1e-7, -30, -100]
    return log_q.astype(np.float32).astype(float), p.astype(np.float32).astype(float)


def hard_logs():
    log_q, p = hard_distributions()
    with np.errstate(divide="ignore"):
        return log_q, np.log(p).astype(np.float32).astype(float)


def hard_two_logits():
    """Logits that differ in their last bits, in tiny probabilities alone, and by thousands."""
    rng = np.random.default_rng(1)
    t = [s * rng.standard_normal((2, 5)) + c for s in (1e-3, 1, 10, 100) for c in (0, 30)]
    t = np.concatenate([*t, 1e-3 * rng.standard_normal((2, 5))]).astype(np.float32)
    near = 10.0 ** rng.uniform(-7, 0.5, (len(t), 1)) * rng.standard_normal(t.shape)
    z = np.concatenate([t + near, 3 * rng.standard_normal((2, 5)), [t[0], t[1]]])
    t = np.concatenate([t, 3 * rng.standard_normal((2, 5)), [t[0] + 2, t[1]]])
    some = [
        ([0, -80, 1, -60, 0], [0, -70, 1, -60, 0]),
        ([0, -70, 1, -60, 0], [0, -80, 1, -60, 0]),
        ([0, -76, -300, -300, -300], [0, -106, -300, -300, -300]),
        ([0.25, 1e-5, -50, 0, 0], [0.25, 0, -60, 0, 0]),
        ([1e4, 0, -1e4, 0, 3], [-1e4, 0, 1e4, 2, 0]),
        ([40, 0, 0, 0, 0], [0, 40, 0, 0, 0]),
        ([2.5, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
        ([0, 0, 0, 0, 0], [0, 0, -2.5, 0, 0]),
        ([0, 1, 2, 3, 700], [0, 1, 2, 3, 690]),
        ([181, 24, 449, -67, 0], [181.001, 24, 448.999, -67, 0]),  # nearly certain, and equal
        ([40, 0, 0, 0, 1], [40.25, 0, 0, 0, 1]),
        ([355, -33, 346, -445, 0], [0, 0, 0, 0, 0]),
        ([0, 0, 0.5, 0, 0], [43, 0, 85, 69, 0]),
    ]
    z, t = (np.concatenate([a, [row[i] for row in some]]) for i, a in enumerate((z, t)))
    return z.astype(np.float32).astype(float), t.astype(np.float32).astype(float)


def exact_kl_div(z, t):
    p = [mpmath.mpf(float(v)) for v in t]
    return mpmath.fsum(a * (mpmath.log(a) - b) for a, b in zip(p, z, strict=True) if a)


def exact_kl_div_of_logs(z, t):
    logs = [mpmath.mpf(float(v)) for v in t]
    return mpmath.fsum(
        mpmath.exp(a) * (a - b) for a, b in zip(logs, z, strict=True) if mpmath.isfinite(a)
    )


def exact_kl_div_with_logits(z, t):
    def log_softmax(x):
        log_sum = mpmath.log(mpmath.fsum(mpmath.exp(v) for v in x))
        return [v - log_sum for v in x]

    log_p, log_q = log_softmax([mpmath.mpf(float(v)) for v in t]), log_softmax(z)
    return mpmath.fsum(mpmath.exp(a) * (a - b) for a, b in zip(log_p, log_q, strict=True))


def torch_kl_div(z, t, reduction, log_target=False):
    if reduction == "none":
        return F.kl_div(z, t, reduction="none", log_target=log_target).sum(-1)
    reduction = "batchmean" if reduction == "mean" else reduction
    return F.kl_div(z, t, reduction=reduction, log_target=log_target)


def torch_kl_div_with_logits(z, t, reduction):
    return torch_kl_div(torch.log_softmax(z, -1), torch.softmax(t, -1), reduction)


CASES = {
    "kl_div": Case(
        kl_div, exact_kl_div, draw_distributions, hard_distributions, torch_kl_div, core=1
    ),
    "kl_div of logarithms": Case(
        functools.partial(kl_div, log_target=True),
        exact_kl_div_of_logs,
        draw_logs,
        hard_logs,
        functools.partial(torch_kl_div, log_target=True),
        core=1,
    ),
    "kl_div_with_logits": Case(
        kl_div_with_logits,
        exact_kl_div_with_logits,
        draw_two_logits,
        hard_two_logits,
        torch_kl_div_with_logits,
        core=1,
    ),
}
