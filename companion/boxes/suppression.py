"""Which of many detections to keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from companion.backend import as_float, namespace, to_numpy
from companion.boxes.coordinates import apart, ordered, shaped
from companion.boxes.overlaps import box_iou, distance_box_iou


def nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Non-maximum suppression: drop a box that overlaps a better one by more than a threshold.

    From the best score down, each box that is still there is kept, and all after it whose IoU with
    it exceeds the threshold are dropped.

    Parameters
    ----------
    boxes : array, shape (n, 4)
        Corners x1, y1, x2, y2, of one class.
    scores : array, shape (n,)
        At equal scores the box that comes first goes first.
    iou_threshold : float

    Returns
    -------
    integer array, shape (kept,)
        The indices of the boxes kept, by descending score, as from ``torchvision.ops.nms``.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a box has x2 < x1 or y2 < y1.

    Examples
    --------
    >>> nms([[0, 0, 4, 4], [1, 0, 5, 4], [6, 0, 9, 4]], [0.8, 0.9, 0.7], 0.5)
    array([1, 2])
    """
    return _suppressed(box_iou, boxes, scores, iou_threshold)


def distance_nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    r"""DIoU-NMS: :func:`nms` in which :math:`\mathrm{IoU}-\rho^2/c^2` must exceed the threshold.

    Of two boxes that overlap, the one whose centre lies farther off is likelier to be of another
    object, so more of them are kept. Parameters and returns as in :func:`nms`.

    References
    ----------
    Zheng et al. (2020), "Distance-IoU loss: faster and better learning for bounding box
    regression".

    Examples
    --------
    >>> boxes, scores = [[0, 0, 4, 4], [1, 0, 5, 4]], [0.8, 0.9]
    >>> nms(boxes, scores, 0.59), distance_nms(boxes, scores, 0.59)
    (array([1]), array([1, 0]))
    """
    return _suppressed(distance_box_iou, boxes, scores, iou_threshold)


def _suppressed(overlap: Callable[..., Any], boxes: Any, scores: Any, iou_threshold: float) -> Any:
    given = as_float(boxes, "boxes")[0]
    rows = np.asarray(to_numpy(given))
    rank = np.asarray(to_numpy(as_float(scores, "scores")[0]))
    if rows.ndim != 2 or rank.shape != rows.shape[:1]:
        raise ValueError(
            f"boxes must have shape (n, 4) and scores (n,); got {rows.shape} and {rank.shape}"
        )
    ordered(apart(shaped(rows, "boxes")), "boxes")
    left, kept = np.argsort(-rank, stable=True), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[~(overlap(rows[best][None], rows[left])[0] > iou_threshold)]
    return namespace(given).asarray(np.array(kept, np.int64), device=given.device)
