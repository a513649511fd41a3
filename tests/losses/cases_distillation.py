"""Distillation, with the teacher's logits and the label in one row of the target."""

import functools

import mpmath
import numpy as np
import torch.nn.functional as F

from companion.backend import namespace
from companion.losses import distillation_loss, grad_of, value_and_grad
from companion.losses.base import pair
from tests.losses.case import Case


def _parted(loss):
    def function(prediction, target, **options):
        xp = namespace(target)
        return loss(prediction, target[..., :-1], xp.astype(target[..., -1], xp.int64), **options)

    return function


with_teacher = _parted(distillation_loss)
pair(with_teacher, _parted(grad_of(distillation_loss)), _parted(value_and_grad(distillation_loss)))


def joined(teacher, labels):
    return np.concatenate([teacher, labels[..., None]], axis=-1)


def draw(rng, lead):
    z, v = 2 * rng.standard_normal((2, *lead, 7, 4))
    return z, joined(v, rng.integers(4, size=(*lead, 7)))


def hard():
    """Student and teacher far apart, nearly equal and equal, unsure and saturated."""
    rng = np.random.default_rng(0)
    z, v = [], []
    for size in (1, 10, 60):
        for apart in (1e-6, 1e-3, 1, 10):
            z.append(size * rng.standard_normal((1, 4)))
            v.append(z[-1] + apart * rng.standard_normal((1, 4)))
    z.append(z[0])
    v.append(v[0] + 1000)
    rows = [[40, 0, -3, 2], [1e4, 0, -1e4, 2], [5, 5, 5, 5], [-90, 0, -30, -20]]
    z += [rows, rows, [[700, 0, 0, 0]]]
    v += [rows[1:] + rows[:1], np.add(rows, [0, 2, 0, 1]), [[0, 700, 0, 0]]]
    z, v = (np.concatenate(a).astype(np.float32).astype(float) for a in (z, v))
    return z, joined(v, np.arange(len(z)) % 4)


def exact(z, t, temperature, alpha):
    def logs(x, temperature):
        x = [v / temperature for v in x]
        top = max(x)
        return [v - top - mpmath.log(mpmath.fsum(mpmath.exp(u - top) for u in x)) for v in x]

    *teacher, label = t
    q, p = logs([mpmath.mpf(float(v)) for v in teacher], temperature), logs(z, temperature)
    divergence = mpmath.fsum(mpmath.exp(a) * (a - b) for a, b in zip(q, p, strict=True))
    hard = mpmath.log1p(
        mpmath.fsum(mpmath.exp(v - z[int(label)]) for j, v in enumerate(z) if j != label)
    )
    return alpha * hard + (1 - alpha) * temperature**2 * divergence


def peer(prediction, target, reduction, temperature, alpha):
    logs = [F.log_softmax(x / temperature, -1) for x in (prediction, target[..., :-1])]
    soft = F.kl_div(*logs, log_target=True, reduction="none").sum(-1)
    hard = F.cross_entropy(prediction, target[..., -1].long(), reduction="none")
    both = alpha * hard + (1 - alpha) * temperature**2 * soft
    return both if reduction == "none" else getattr(both, reduction)()


CASES = {
    f"distillation_loss, {name}": Case(
        functools.partial(with_teacher, **options),
        functools.partial(exact, **options),
        draw,
        hard,
        functools.partial(peer, **options),
        core=1,
    )
    for name, options in {
        "teacher alone": {"temperature": 1.0, "alpha": 0.0},
        "warm": {"temperature": 4.0, "alpha": 0.25},
    }.items()
}
