"""Losses of boxes. CIoU with the derivative of all that it is made of; α held is in test_boxes."""

import functools

import numpy as np

from companion.boxes import (
    box_iou_loss,
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
)
from tests.box_definitions import exact, families, torchvision_loss
from tests.losses.case import Case

#: Where edges meet there are kinks.
SMOOTH = ("random", "nearly identical", "nested", "elongated", "small normalised", "tiny", "huge")


def draw_boxes(rng, lead):
    low = rng.uniform(0, 2, (2, *lead, 7, 2))
    return tuple(np.concatenate([low, low + rng.uniform(0.3, 1.5, low.shape)], -1))


def hard_boxes():
    found = families(6, "float32", np.random.default_rng(0))
    pairs = [found[name] for name in SMOOTH]
    return tuple(np.concatenate(rows).astype(float) for rows in zip(*pairs, strict=True))


def case(loss, kind):
    peer = functools.partial(torchvision_loss, kind, eps=0, alpha_gradient=True)
    return Case(
        loss,
        lambda z, t: exact(kind, z, [float(v) for v in t]),
        draw_boxes,
        hard_boxes,
        peer,
        core=1,
    )


CASES = {
    "box_iou_loss": case(box_iou_loss, "iou"),
    "generalized_box_iou_loss": case(generalized_box_iou_loss, "giou"),
    "distance_box_iou_loss": case(distance_box_iou_loss, "diou"),
    "complete_box_iou_loss": case(
        functools.partial(complete_box_iou_loss, alpha_gradient=True), "ciou"
    ),
}
