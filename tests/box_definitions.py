"""What the overlaps of boxes are exactly, boxes on which they are hard to compute, and torchvision.

Used by the tests of `companion.boxes`, and by the measurements in `benchmarks`.
"""

import mpmath
import numpy as np
import torch

DIGITS = 160
KINDS = ("iou", "giou", "diou", "ciou")


def exact(kind, z, t, alpha=None):
    """Return a loss of one box by definition; `alpha` of CIoU is computed unless it is given."""
    (a, b, c, d), (e, f, g, h) = z, t
    wide, high = max(min(c, g) - max(a, e), 0), max(min(d, h) - max(b, f), 0)
    union = (c - a) * (d - b) + (g - e) * (h - f) - wide * high
    loss = 1 - wide * high / union
    w, h_ = max(c, g) - min(a, e), max(d, h) - min(b, f)
    if kind == "giou":
        loss += (w * h_ - union) / (w * h_)
    if kind in ("diou", "ciou"):
        rest = loss
        loss += ((a + c - e - g) ** 2 + (b + d - f - h) ** 2) / 4 / (w**2 + h_**2)
    if kind == "ciou":
        v = _aspect(z, t)
        if alpha is None:
            alpha = v / (rest + v) if v else 0
        loss += alpha * v
    return loss


def _aspect(z, t):
    """Return the v of CIoU."""
    (a, b, c, d), (e, f, g, h) = z, t
    turned = mpmath.atan((g - e) / (h - f)) - mpmath.atan((c - a) / (d - b))
    return 4 / mpmath.pi**2 * turned**2


def exact_alpha(z, t):
    """Return the α of CIoU."""
    v = _aspect(z, t)
    return v / (exact("iou", z, t) + v) if v else mpmath.mpf(0)


def exact_with_gradient(kind, box, target, alpha_gradient=False):
    """Return loss and gradient of one box; at a kink the mean of the slopes of both sides."""
    with mpmath.workdps(DIGITS):
        z, t = ([mpmath.mpf(float(v)) for v in row] for row in (box, target))
        held = exact_alpha(z, t) if kind == "ciou" and not alpha_gradient else None
        h = min(z[2] - z[0], z[3] - z[1]) * mpmath.mpf(10) ** -40
        gradient = []
        for j in range(4):
            up, down = list(z), list(z)
            up[j] += h
            down[j] -= h
            change = exact(kind, up, t, held) - exact(kind, down, t, held)
            gradient.append(change / (2 * h))
        return exact(kind, z, t), gradient


def _around(centre, sides):
    return np.concatenate([centre - sides / 2, centre + sides / 2], -1)


def families(n, dtype, rng):
    """Return ten families of n predicted boxes and their targets."""
    draw, sign = rng.uniform, lambda *shape: rng.choice([-1.0, 1.0], shape)

    def some(low=0.1):
        return _around(draw(0, 1, (n, 2)), draw(low, 1, (n, 2)))

    p, t = some(), some()
    outer = some(0.5)
    sides = outer[:, 2:] - outer[:, :2]
    at = [outer[:, :2] + draw(*limits, (n, 2)) * sides for limits in ((0, 0.5), (0.5, 1))]
    inner = np.concatenate(at, -1)
    first = sign(n, 1) > 0
    exactly = p.astype("float32").astype(float)  # so that edges meet in both dtypes
    beside = _around(np.zeros((n, 2)), draw(0.1, 1, (n, 2)))
    beside[:, [0, 2]] += exactly[:, 2:3] - beside[:, :1]
    beside[:, [1, 3]] += exactly[:, 1:2] + draw(-0.3, 0.3, (n, 1))
    beside[:, 0] = exactly[:, 2]
    share = t.copy()
    share[:, 0] = exactly[:, 0]
    share[:, 2] = np.maximum(share[:, 2], share[:, 0] + 0.1)
    share[::2, 3], share[::2, 1] = exactly[::2, 3], exactly[::2, 3] - 0.2
    away = np.tile(10 ** draw(0.5, 3, (n, 1)) * sign(n, 2), 2)
    stretch = 10 ** draw(-6, 6, (n, 2))
    stretch = np.tile(stretch / stretch.max(-1, keepdims=True), 2)
    small, centre = 10 ** draw(-4, -2, (n, 2)), draw(0, 1, (n, 2))
    near_small = centre + small * draw(-0.6, 0.6, (n, 2))
    found = {
        "random": (p, t),
        "nearly identical": (p, p + 10 ** draw(-7, -5, (n, 1)) * draw(-1, 1, (n, 4))),
        "nested": (np.where(first, inner, outer), np.where(first, outer, inner)),
        "touching": (exactly, beside),
        "disjoint": (p, p + away),
        "tiny": (1e-30 * p, 1e-30 * t),
        "huge": (1e19 * p, 1e19 * t),
        "shared edges": (exactly, share),
        "elongated": (p * stretch, t * stretch),
        "small normalised": (
            _around(centre, small),
            _around(near_small, small * 10 ** draw(-0.5, 0.5, (n, 2))),
        ),
    }
    return {name: tuple(a.astype(dtype) for a in pair) for name, pair in found.items()}


def torchvision_loss(kind, prediction, target, reduction="mean", eps=1e-7, alpha_gradient=False):
    """The formulas of torchvision 0.20, one coordinate at a time; with `eps` 0 a textbook's."""
    (a, b, c, d), (e, f, g, h) = prediction.unbind(-1), target.unbind(-1)
    wide, high = torch.min(c, g) - torch.max(a, e), torch.min(d, h) - torch.max(b, f)
    meet = (wide > 0) & (high > 0)  # other boxes get no gradient
    shared = torch.zeros_like(a)
    shared[meet] = wide[meet] * high[meet]
    union = (c - a) * (d - b) + (g - e) * (h - f) - shared
    loss = rest = 1 - shared / (union + eps)
    w, h_ = torch.max(c, g) - torch.min(a, e), torch.max(d, h) - torch.min(b, f)
    if kind == "giou":
        hull = w * h_
        loss = rest + (hull - union) / (hull + eps)
    elif kind != "iou":
        apart = ((a + c) / 2 - (e + g) / 2) ** 2 + ((b + d) / 2 - (f + h) / 2) ** 2
        loss = rest + apart / (w**2 + h_**2 + eps)
    if kind == "ciou":
        turned = torch.atan((g - e) / (h - f)) - torch.atan((c - a) / (d - b))
        v = (4 / torch.pi**2) * turned**2
        with torch.set_grad_enabled(alpha_gradient):
            alpha = v / (rest + v + eps)
        loss = loss + alpha * v
    return loss if reduction == "none" else getattr(loss, reduction)()
