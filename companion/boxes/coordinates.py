"""The coordinates of boxes: three formats, and what they must satisfy."""

from __future__ import annotations

from typing import Any

import numpy as np

from companion.backend import inspectable, namespace, to_numpy, vectorwise

#: (from, to) -> both halves of the new format from both halves of the old: sides are handed on
#: where there are any, since a difference of corners has lost the digits of a small one
_CONVERSIONS = {
    ("xyxy", "xywh"): lambda low, high: (low, high - low),
    ("xyxy", "cxcywh"): lambda low, high: (0.5 * low + 0.5 * high, high - low),
    ("xywh", "xyxy"): lambda low, sides: (low, low + sides),
    ("xywh", "cxcywh"): lambda low, sides: (low + 0.5 * sides, sides),
    ("cxcywh", "xyxy"): lambda centre, sides: (centre - 0.5 * sides, centre + 0.5 * sides),
    ("cxcywh", "xywh"): lambda centre, sides: (centre - 0.5 * sides, sides),
}
_FORMATS = ("xyxy", "xywh", "cxcywh")


def shaped(boxes: Any, name: str) -> Any:
    """Return boxes, once their shape is right."""
    shape = tuple(boxes.shape)
    if len(shape) < 2 or shape[-1] != 4:
        raise ValueError(f"{name} must have shape (..., n, 4); got {shape}")
    return boxes


def ordered(coordinates: Any, name: str) -> Any:
    """Return coordinates ``(4, ...)``, once the corners are right where they can be looked at."""
    if inspectable(coordinates):
        wrong = coordinates[2:, ...] < coordinates[:2, ...]
        if bool(namespace(wrong).any(wrong)):
            at = np.asarray(to_numpy(wrong)).any(0)
            first = np.asarray(to_numpy(coordinates))[:, at][:, 0]
            raise ValueError(f"{name} must have x1 <= x2 and y1 <= y2; got {first.tolist()}")
    return coordinates


def apart(boxes: Any) -> Any:
    """Return the coordinates of boxes in front, ``(..., 4) -> (4, ...)``, each in one piece."""
    return namespace(boxes).stack([boxes[..., i] for i in range(4)])


@vectorwise("boxes")
def box_area(boxes: Any) -> Any:
    r"""Area of boxes, :math:`(x_2-x_1)(y_2-y_1)`.

    Core signature ``(n,4)->(n)``. Some older code, after the rules of Pascal VOC, adds 1 to both
    sides, counting pixels; this does not, nor does torchvision.

    Parameters
    ----------
    boxes : array, shape (..., n, 4)
        Corners x1, y1, x2, y2.

    Returns
    -------
    array, shape (..., n)

    Raises
    ------
    ValueError
        If the last axis is not 4 long, or a box has x2 < x1 or y2 < y1. The values are looked at
        on the CPU only, and not inside a compiled graph.

    Examples
    --------
    >>> box_area([[0, 0, 2, 3]])
    array([6.])
    """
    coordinates = ordered(apart(shaped(boxes, "boxes")), "boxes")
    a, b, c, d = (coordinates[i, ...] for i in range(4))
    return (c - a) * (d - b)


@vectorwise("boxes")
def box_convert(boxes: Any, in_fmt: str, out_fmt: str) -> Any:
    """Write boxes in another format, ``(n,4)->(n,4)``.

    ``"xyxy"`` are the corners; ``"xywh"``, as in COCO, the upper left corner and the sides;
    ``"cxcywh"``, as in YOLO and DETR, the centre and the sides.

    Parameters
    ----------
    boxes : array, shape (..., n, 4)
    in_fmt, out_fmt : {"xyxy", "xywh", "cxcywh"}

    Raises
    ------
    ValueError
        For another format, or if the last axis is not 4 long.

    Examples
    --------
    >>> box_convert([[0, 0, 2, 6]], "xyxy", "cxcywh")
    array([[1., 3., 2., 6.]])
    """
    for fmt, name in ((in_fmt, "in_fmt"), (out_fmt, "out_fmt")):
        if fmt not in _FORMATS:
            raise ValueError(f"{name} must be 'xyxy', 'xywh' or 'cxcywh'; got {fmt!r}")
    shaped(boxes, "boxes")
    if in_fmt == out_fmt:
        return boxes
    halves = _CONVERSIONS[in_fmt, out_fmt](boxes[..., :2], boxes[..., 2:])
    return namespace(boxes).concat(halves, axis=-1)
