"""Boxes: how far two overlap, the losses made of it, and which of many detections to keep.

A box is four numbers. Unless said otherwise these are its corners ``(x1, y1, x2, y2)``, and its
area is ``(x2 - x1)(y2 - y1)``, without an extra pixel. A box without area overlaps nothing, itself
included: its IoU is 0.

Where edges meet, an overlap has a kink. Its derivative there is the mean of the slopes of both
sides, as with torch's ``maximum``; between a box and itself it is 0.
"""

from companion.boxes.coordinates import box_area, box_convert
from companion.boxes.losses import (
    box_iou_loss,
    box_iou_loss_grad,
    complete_box_iou_loss,
    complete_box_iou_loss_grad,
    distance_box_iou_loss,
    distance_box_iou_loss_grad,
    generalized_box_iou_loss,
    generalized_box_iou_loss_grad,
)
from companion.boxes.overlaps import (
    box_iou,
    box_iou_vjp,
    complete_box_iou,
    complete_box_iou_vjp,
    distance_box_iou,
    distance_box_iou_vjp,
    generalized_box_iou,
    generalized_box_iou_vjp,
)
from companion.boxes.suppression import distance_nms, nms

__all__ = [
    "box_area",
    "box_convert",
    "box_iou",
    "box_iou_loss",
    "box_iou_loss_grad",
    "box_iou_vjp",
    "complete_box_iou",
    "complete_box_iou_loss",
    "complete_box_iou_loss_grad",
    "complete_box_iou_vjp",
    "distance_box_iou",
    "distance_box_iou_loss",
    "distance_box_iou_loss_grad",
    "distance_box_iou_vjp",
    "distance_nms",
    "generalized_box_iou",
    "generalized_box_iou_loss",
    "generalized_box_iou_loss_grad",
    "generalized_box_iou_vjp",
    "nms",
]
