"""Overlaps of every box of one set with every box of another."""

from __future__ import annotations

import math
from typing import Any

from companion.backend import check_shape, inspectable, namespace, reshape, total, vectorwise
from companion.boxes.coordinates import apart, ordered, shaped
from companion.boxes.formula import ROWS, evaluate


@vectorwise("boxes1", "boxes2")
def box_iou(boxes1: Any, boxes2: Any) -> Any:
    r"""Intersection over union, :math:`|A\cap B|/|A\cup B|`, of all pairs; from 0 to 1.

    Core signature ``(n,4),(m,4)->(n,m)``; leading axes are replicas and broadcast.

    Parameters
    ----------
    boxes1 : array, shape (..., n, 4)
        Corners x1, y1, x2, y2.
    boxes2 : array, shape (..., m, 4)

    Returns
    -------
    array, shape (..., n, m)
        0 where the union has no area; there torchvision divides 0 by 0.

    Raises
    ------
    ValueError
        If the last axis is not 4 long, or a box has x2 < x1 or y2 < y1. The values are looked at
        on the CPU only, and not inside a compiled graph.

    References
    ----------
    Jaccard (1901), "Étude comparative de la distribution florale dans une portion des Alpes et du
    Jura"; Everingham et al. (2010), "The Pascal visual object classes (VOC) challenge".

    Examples
    --------
    >>> box_iou([[0, 0, 2, 2]], [[1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 6, 6]]).round(3)
    array([[0.333, 1.   , 0.   ]])
    """
    return _overlap("iou", boxes1, boxes2)


@vectorwise("dy", "boxes1", "boxes2")
def box_iou_vjp(dy: Any, boxes1: Any, boxes2: Any) -> tuple[Any, Any]:
    """Pull a gradient ``(n,m)`` back through :func:`box_iou` to both sets of boxes.

    Examples
    --------
    >>> d1, d2 = box_iou_vjp([[1.0]], [[0.0, 0.0, 2.0, 2.0]], [[1.0, 0.0, 3.0, 2.0]])
    >>> d1.round(3), d2.round(3)
    (array([[0.111, 0.   , 0.333, 0.   ]]), array([[-0.333,  0.   , -0.111,  0.   ]]))
    """
    return _overlap_vjp("iou", dy, boxes1, boxes2)


@vectorwise("boxes1", "boxes2")
def generalized_box_iou(boxes1: Any, boxes2: Any) -> Any:
    r"""GIoU, :math:`\mathrm{IoU}-|C\setminus(A\cup B)|/|C|`, of all pairs; from -1 to 1.

    Core signature ``(n,4),(m,4)->(n,m)``. C is the smallest box that encloses both. Parameters,
    returns and errors as in :func:`box_iou`.

    References
    ----------
    Rezatofighi et al. (2019), "Generalized intersection over union".

    Examples
    --------
    >>> generalized_box_iou([[0, 0, 2, 2]], [[3, 0, 5, 2], [30, 0, 32, 2]]).round(3)
    array([[-0.2  , -0.875]])
    """
    return _overlap("giou", boxes1, boxes2)


@vectorwise("dy", "boxes1", "boxes2")
def generalized_box_iou_vjp(dy: Any, boxes1: Any, boxes2: Any) -> tuple[Any, Any]:
    """Pull a gradient ``(n,m)`` back through :func:`generalized_box_iou` to both sets of boxes.

    Examples
    --------
    >>> d1, _ = generalized_box_iou_vjp([[1.0]], [[0, 0, 2, 2]], [[3, 1, 5, 3]])
    >>> d1.round(3)
    array([[-0.027,  0.044,  0.133,  0.133]])
    """
    return _overlap_vjp("giou", dy, boxes1, boxes2)


@vectorwise("boxes1", "boxes2")
def distance_box_iou(boxes1: Any, boxes2: Any) -> Any:
    r"""DIoU, :math:`\mathrm{IoU}-\rho^2/c^2`, of all pairs; from -1 to 1.

    Core signature ``(n,4),(m,4)->(n,m)``. Here :math:`\rho` is the distance of the centres and
    :math:`c` the diagonal of the smallest box that encloses both. Parameters, returns and errors as
    in :func:`box_iou`.

    References
    ----------
    Zheng et al. (2020), "Distance-IoU loss: faster and better learning for bounding box
    regression".

    Examples
    --------
    >>> distance_box_iou([[0, 0, 10, 10]], [[20, 0, 30, 10]])
    array([[-0.4]])
    """
    return _overlap("diou", boxes1, boxes2)


@vectorwise("dy", "boxes1", "boxes2")
def distance_box_iou_vjp(dy: Any, boxes1: Any, boxes2: Any) -> tuple[Any, Any]:
    """Pull a gradient ``(n,m)`` back through :func:`distance_box_iou` to both sets of boxes.

    Examples
    --------
    >>> distance_box_iou_vjp([[1.0]], [[0, 0, 10, 10]], [[20, 0, 30, 10]])[0].round(3)
    array([[-0.004, -0.004,  0.02 ,  0.004]])
    """
    return _overlap_vjp("diou", dy, boxes1, boxes2)


@vectorwise("boxes1", "boxes2")
def complete_box_iou(boxes1: Any, boxes2: Any) -> Any:
    r"""CIoU, :math:`\mathrm{IoU}-\rho^2/c^2-\alpha v`, of all pairs.

    Core signature ``(n,4),(m,4)->(n,m)``. DIoU with what
    :func:`~companion.boxes.complete_box_iou_loss` subtracts for a different aspect ratio; its
    derivative holds α constant. Parameters, returns and errors as in :func:`box_iou`.

    References
    ----------
    Zheng et al. (2020), "Distance-IoU loss: faster and better learning for bounding box
    regression".

    Examples
    --------
    >>> complete_box_iou([[1, 4, 9, 6]], [[0, 0, 10, 10]]).round(4)
    array([[0.1454]])
    """
    return _overlap("ciou", boxes1, boxes2)


@vectorwise("dy", "boxes1", "boxes2")
def complete_box_iou_vjp(dy: Any, boxes1: Any, boxes2: Any) -> tuple[Any, Any]:
    """Pull a gradient ``(n,m)`` back through :func:`complete_box_iou`, to both sets of boxes.

    Examples
    --------
    >>> complete_box_iou_vjp([[1.0]], [[1, 4, 9, 6]], [[0, 0, 10, 10]])[0].round(4)
    array([[-0.0184, -0.0864,  0.0184,  0.0864]])
    """
    return _overlap_vjp("ciou", dy, boxes1, boxes2)


def _overlap(kind: str, boxes1: Any, boxes2: Any) -> Any:
    xp = namespace(boxes1)
    a, b = _all_pairs(boxes1, boxes2)
    found = []
    for at in _blocks(a, b):
        value = evaluate(kind, a[..., at, :], b)
        found.append(value.iou if value.penalty is None else value.iou - value.penalty)
    return xp.concat(found, axis=-2)


def _overlap_vjp(kind: str, dy: Any, boxes1: Any, boxes2: Any) -> tuple[Any, Any]:
    """An overlap is symmetric, so both gradients are those of a first box."""
    xp = namespace(boxes1)
    a, b = _all_pairs(boxes1, boxes2)
    check_shape(dy, xp.broadcast_arrays(a[0, ...], b[0, ...])[0].shape, "dy")
    turned = [xp.matrix_transpose(v) for v in (b, a, dy)]
    found = []
    for first, second, dz, boxes in ((a, b, dy, boxes1), (*turned, boxes2)):
        summed = []
        for at in _blocks(first, second):
            value = evaluate(kind, first[..., at, :], second, slopes=True)
            summed.append(total(xp.concat((value.low, value.high)) * -dz[..., at, :]))
        d = xp.moveaxis(xp.concat(summed, axis=-1), 0, -1)
        new = d.ndim - boxes.ndim  # replicas that share their boxes
        shared = [new + i for i, n in enumerate(boxes.shape) if n == 1 != d.shape[new + i]]
        axes = (*range(new), *shared)
        found.append(reshape(total(d, axes), boxes.shape) if axes else d)
    return found[0], found[1]


def _blocks(first: Any, second: Any) -> list[slice]:
    """Cut the rows of the first boxes, so that their pairs stay in the cache and in memory."""
    n = first.shape[-2]
    others = math.prod(first.shape[1:-2]) * second.shape[-1]
    step = max(ROWS // max(others, 1), 1) if inspectable(first) else max(n, 1)
    return [slice(i, min(i + step, n)) for i in range(0, max(n, 1), step)]


def _all_pairs(boxes1: Any, boxes2: Any) -> tuple[Any, Any]:
    """Return the coordinates in front, with axes for the n of the first and m of the second."""
    a = ordered(apart(shaped(boxes1, "boxes1")), "boxes1")[..., :, None]
    b = ordered(apart(shaped(boxes2, "boxes2")), "boxes2")[..., None, :]
    while a.ndim < b.ndim:
        a = a[:, None, ...]
    while b.ndim < a.ndim:
        b = b[:, None, ...]
    return a, b
