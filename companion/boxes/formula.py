"""The one formula behind the overlaps of boxes, their losses and their derivatives.

Coordinates come in front here, ``(4, ...)``. What has an x and a y part is one array ``(2, ...)``,
so that a step is one call for both.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from companion.backend import BLOCK, clip, constant, namespace, negative_part, positive_part

#: Pairs that go through the formula at a time: its arrays then stay in the cache.
ROWS = BLOCK // 2


class Pair(NamedTuple):
    """Two boxes, with no length the difference of rounded numbers.

    The unit of length is about the longer side of the box that encloses both, so that no product
    overflows, nor underflows before its box is a point beside that side.
    """

    own: Any  # sides of the first box, (2, ...)
    other: Any  # sides of the second
    shared: Any  # sides of the intersection
    own_only: Any  # what of `own` the second does not cover
    other_only: Any  # and the reverse
    gap: Any  # between the two, 0 where they overlap; for GIoU alone
    hull: Any  # sides of the enclosing box
    moved: Any  # twice the way from the centre of the second to that of the first


class Value(NamedTuple):
    """An overlap, without its penalty and with its complement, and the derivative of the loss."""

    iou: Any
    rest: Any  # 1 - IoU
    penalty: Any  # None for IoU itself
    low: Any = None  # in x1 and y1 of the first box, (2, ...); None unless asked for
    high: Any = None  # in x2 and y2

    @property
    def loss(self) -> Any:
        """1 - IoU + penalty, without the detour over the overlap."""
        return self.rest if self.penalty is None else self.rest + self.penalty


def evaluate(
    kind: str, boxes: Any, others: Any, *, slopes: bool = False, alpha_gradient: bool = False
) -> Value:
    """Return IoU, 1 - IoU and the penalty, with the derivative of their sum if `slopes`.

    At a kink, which is where edges meet, each minimum and maximum gives half of its slope to
    either side, as torch's do.
    """
    xp = namespace(boxes)
    d = boxes - others
    (low, high), (low2, high2), (d_low, d_high) = (_halves(a) for a in (boxes, others, d))
    own, other = high - low, high2 - low2
    meets = xp.minimum(high, high2) - xp.maximum(low, low2)
    above = positive_part(d)
    (more_low, more_high), (less_low, less_high) = _halves(above), _halves(above - d)
    beyond, within = less_low + more_high, more_low + less_high
    hull = other + beyond
    unit = constant(_unit(xp.maximum(*xy(hull))))
    p = Pair(
        own * unit,
        other * unit,
        positive_part(meets) * unit,
        xp.minimum(beyond, own) * unit,
        xp.minimum(within, other) * unit,
        -negative_part(meets) * unit if kind == "giou" else None,
        hull * unit,
        (d_low + d_high) * unit,
    )
    meeting = _step(meets) if slopes else None
    iou, rest, inside, outside = _iou(p, meeting)
    penalty = centre = side = None
    if kind == "giou":
        penalty, more_inside, more_outside = _corners(p, meeting)
        if slopes:
            inside, outside = inside + more_inside, outside + more_outside
    elif kind != "iou":
        penalty, more_outside, centre = _distance(p, slopes)
        if kind == "ciou":
            aspect, side, kept = _aspect(p, rest, slopes, alpha_gradient)
            penalty = penalty + aspect
            if slopes and alpha_gradient:
                inside, outside = inside * kept, outside * kept
        if slopes:
            outside = outside + more_outside
    if not slopes:
        return Value(iou, rest, penalty)
    above = _step(d)
    (within_low, beyond_high), (beyond_low, within_high) = _halves(above), _halves(1 - above)
    low = within_low * inside + beyond_low * outside
    high = -(within_high * inside + beyond_high * outside)
    if centre is not None:
        low, high = low + centre, high + centre
    if side is not None:
        low, high = low - side, high + side
    return Value(iou, rest, penalty, low * unit, high * unit)


def _iou(p: Pair, meeting: Any) -> tuple[Any, Any, Any, Any]:
    """Return IoU, 1 - IoU, and its slopes in an edge within and in one beyond the other box.

    With sides w, h and w', h', an intersection of i by j and an area of I, what only one of them
    covers is (w - i)h + i(h - j) and the same of the other. Moved inwards, a vertical edge within
    the other box costs j(U - i(h - j))/U² = j(w'h' + (w - i)h)/U², one beyond it -hI/U².
    """
    xp = namespace(p.own)
    (w2, h2), (i, j) = xy(p.other), xy(p.shared)
    area = w2 * h2
    strip = p.own_only * xp.flip(p.own, axis=0)
    other_x, other_y = xy(p.other_only)
    only = xy(strip)[0] + i * xy(p.own_only)[1] + (other_x * h2 + i * other_y)
    union = i * j + only
    empty = xp.astype(union == 0, union.dtype)  # counts as not overlapping
    union = union + empty
    iou, rest = i * j / union, (only + empty) / union
    if meeting is None:
        return iou, rest, None, None
    inside = xp.flip(p.shared, axis=0) / union * ((area + strip) / union) * meeting
    return iou, rest, inside, xp.flip(p.own, axis=0) / union * -iou


def _corners(p: Pair, meeting: Any) -> tuple[Any, Any, Any]:
    """Return what of the enclosing box neither covers, as its part, and the two slopes.

    Where the boxes overlap these are the corners, what only one reaches along x times what only
    the other reaches along y. With a gap there are its strips too.
    """
    xp = namespace(p.own)
    crossed = p.other_only * xp.flip(p.own_only, axis=0)
    (a, b), (width, height), (gap_x, gap_y) = xy(crossed), xy(p.hull), xy(p.gap)
    area = _divisor(width * height)
    bare = a + b + gap_x * height + gap_y * (width - gap_x)
    if meeting is None:
        return bare / area, None, None
    inside = xp.flip(p.own_only, axis=0) + (1 - meeting) * xp.flip(p.shared, axis=0)
    outside = (
        crossed - p.other * xp.flip(p.other_only, axis=0) + xp.flip(p.own, axis=0) * p.gap
    ) / _divisor(p.hull)
    return bare / area, inside / area, outside / area


def _distance(p: Pair, slopes: bool) -> tuple[Any, Any, Any]:
    """Return ρ²/c², its slope in an edge beyond the other box, and half that in the centre."""
    (a, b), (dx, dy) = xy(p.hull * p.hull), xy(p.moved * p.moved)
    c2 = _divisor(a + b)
    penalty = 0.25 * (dx + dy) / c2
    if not slopes:
        return penalty, None, None
    return penalty, p.hull * (2 * penalty / c2), p.moved * (0.5 / c2)


def _aspect(p: Pair, rest: Any, slopes: bool, alpha_gradient: bool) -> tuple[Any, Any, Any]:
    """Return αv, its slope in the sides, and what of the slope of 1 - IoU it leaves.

    v = 4/π² (atan w'/h' - atan w/h)², with one arc tangent, and α = v/(1 - IoU + v).
    """
    xp = namespace(p.own)
    (w, h), (w2, h2) = xy(p.own), xy(p.other)
    # a right angle where this is 0, unless a box is a point; autograd squares the quotient
    small = 8 * xp.finfo(w.dtype).smallest_normal ** 0.5
    angle = xp.atan((w2 * h - w * h2) / _divisor(w * w2 + h * h2, small))
    v = (4 / math.pi**2) * angle * angle
    alpha = v / _divisor(rest + v)
    penalty = (alpha if alpha_gradient else constant(alpha)) * v
    if not slopes:
        return penalty, None, None
    turn = (8 / math.pi**2) * angle * alpha / _divisor(w * w + h * h)
    kept = None
    if alpha_gradient:
        turn, kept = turn * (2 - alpha), 1 - alpha * alpha
    return penalty, xp.stack((-turn * h, turn * w)), kept


def _halves(x: Any) -> tuple[Any, Any]:
    """Return the upper left and the lower right corner."""
    return x[:2, ...], x[2:, ...]


def xy(x: Any) -> tuple[Any, Any]:
    """Return the two parts of what has an x and a y part."""
    return x[0, ...], x[1, ...]


def _unit(x: Any) -> Any:
    """Return a power of two, with which x is 1 to 2; after Rump (2009), "Ultimately fast accurate
    summation". Where a compiler fuses the last two steps it is another number of that size, which
    will do.
    """
    eps = namespace(x).finfo(x.dtype).eps
    above = x * (1 + eps)
    return eps / _divisor(above - above * (1 - eps / 2))


def _divisor(x: Any, instead: float = 1.0) -> Any:
    """Return x with another number for 0."""
    xp = namespace(x)
    return x + instead * xp.astype(x == 0, x.dtype)


def _step(x: Any) -> Any:
    """Return 0, ½ or 1 for negative, 0 and positive x."""
    # sign takes three times as long; a product that is too large is infinite, which does
    return 0.5 + clip(x * (1 / namespace(x).finfo(x.dtype).smallest_normal), -0.5, 0.5)
