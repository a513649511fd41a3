"""Claims about losses of boxes that are not told in the prose."""

import numpy as np
import torch

from companion import boxes
from companion.backend import array, to_numpy
from tests.box_definitions import KINDS

LOSSES = {
    "iou": boxes.box_iou_loss,
    "giou": boxes.generalized_box_iou_loss,
    "diou": boxes.distance_box_iou_loss,
    "ciou": boxes.complete_box_iou_loss,
}


def drawn(n, seed):
    """Draw boxes of all sizes, near and far."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-1, 1, (n, 2)) * 10 ** rng.uniform(-2, 2, (n, 1))
    return np.concatenate([low, low + 10 ** rng.uniform(-3, 1, (n, 2))], -1)


def losses(kind, prediction, target):
    found = LOSSES[kind](array(prediction), array(target), reduction="none")
    return to_numpy(found)


def test_iou_is_of_areas(ledger):
    shifted = boxes.box_iou([[0.0, 0.0, 1.0, 1.0]], [[0.5, 0.0, 1.5, 1.0]])[0, 0]
    cells = np.indices((60, 60)) / 40  # counted, on a grid of 40 points a side
    still = (cells < 1).all(0)
    moved = ((cells[0] >= 0.5) & (cells[0] < 1.5)) & (cells[1] < 1)
    counted = (still & moved).sum() / (still | moved).sum()
    ledger(
        "LOSS-21",
        holds=bool(abs(shifted - 1 / 3) < 1e-15 and abs(counted - 1 / 3) < 1e-12),
        measured=f"unit squares shifted by one half: {shifted:.4f}, and counted on a grid "
        f"{counted:.4f}",
    )


def test_the_ranges_of_both_losses(ledger):
    pairs = drawn(100_000, 0), drawn(100_000, 1)
    iou, giou = (losses(kind, *pairs) for kind in ("iou", "giou"))
    far = losses("giou", [[0.0, 0, 1, 1]], [[1e6, 1e6, 1e6 + 1, 1e6 + 1]])[0]
    overlap = 1 - torch.tensor(iou)
    ledger(
        "LOSS-23",
        holds=bool(
            iou.min() >= 0
            and iou.max() == 1
            and giou.min() >= 0
            and giou.max() < 2
            and (giou >= iou).all()
            and far > 1.999
            and (-overlap[overlap > 0].log() >= torch.tensor(iou)[overlap > 0] - 1e-15).all()
        ),
        measured="100,000 pairs: 1 - IoU within [0, 1], 1 - GIoU within [0, 2), never below it; "
        "two unit squares a million apart: above 1.999",
    )


def test_smooth_l1_is_not_iou(ledger):
    """Three predictions of a 10 by 10 box, of one smooth L1 loss."""
    target = np.array([[0.0, 0, 10, 10]])
    moved = target + np.array([[2.0, 2, 2, 2], [-2, -2, 2, 2], [2, 2, -2, -2]])
    error = torch.nn.functional.smooth_l1_loss(
        torch.tensor(moved), torch.tensor(target).expand(3, 4), reduction="none"
    ).sum(-1)
    iou = 1 - losses("iou", moved, np.repeat(target, 3, 0))
    ledger(
        "LOSS-29",
        holds=bool((error == 6).all() and np.ptp(iou) > 0.1),
        measured="10 by 10 box, four coordinates off by 2, smooth L1 6.0 each time: IoU "
        + ", ".join(f"{v:.4f}" for v in iou),
    )


def test_diou_sees_overlap_and_distance(ledger):
    large = [[0.0, 0.0, 10.0, 10.0]]
    inside = [[3.0, 3, 7, 7], [0, 0, 4, 4], [2, 2, 8, 8]]
    diou = boxes.distance_box_iou(inside, large)[:, 0]
    iou = boxes.box_iou(inside, large)[:, 0]
    ledger(
        "LOSS-30",
        holds=bool(
            iou[0] == iou[1] and diou[0] > diou[1] + 0.05 and diou[2] > diou[0] and iou[2] > iou[0]
        ),
        measured="in a 10 by 10 box: a 4 by 4 one in the middle "
        f"{diou[0]:.2f}, in the corner {diou[1]:.2f}, a 6 by 6 one in the middle {diou[2]:.2f}",
    )


def test_all_are_iou_and_a_penalty(ledger):
    p, t = drawn(10_000, 2), drawn(10_000, 3)
    area = boxes.box_area(p) + boxes.box_area(t)
    union = area / (2 - losses("iou", p, t))  # I = (|A| + |B|) IoU / (1 + IoU)
    hull = np.maximum(p[:, 2:], t[:, 2:]) - np.minimum(p[:, :2], t[:, :2])
    way = (p[:, :2] + p[:, 2:] - t[:, :2] - t[:, 2:]) / 2
    distance = (way**2).sum(-1) / (hull**2).sum(-1)
    ratio = [(b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1]) for b in (p, t)]
    v = 4 / np.pi**2 * (np.arctan(ratio[1]) - np.arctan(ratio[0])) ** 2
    rest = losses("iou", p, t)
    wanted = {
        "iou": 0 * rest,
        "giou": 1 - union / hull.prod(-1),
        "diou": distance,
        "ciou": distance + v * v / (rest + v),
    }
    off = max(abs(losses(k, p, t) - rest - wanted[k]).max() for k in KINDS)
    ledger(
        "LOSS-31",
        holds=bool(off < 1e-9),
        measured="10,000 pairs, each loss less 1 - IoU: the four penalties to 9 decimals",
    )


def test_diou_by_hand(ledger):
    apart = losses("diou", [[0.0, 0, 10, 10]], [[20.0, 0, 30, 10]])[0]
    found = losses("diou", drawn(100_000, 0), drawn(100_000, 1))
    far = losses("diou", [[0.0, 0, 1, 1]], [[1e6, 1e6, 1e6 + 1, 1e6 + 1]])[0]
    ledger(
        "LOSS-32",
        holds=bool(abs(apart - 1.4) < 1e-15 and found.min() >= 0 and 1.999 < far < 2),
        measured="squares of side 10 at the distance 20: 1 + 400/1000 = "
        f"{apart:.1f}; 100,000 pairs within [0, 2)",
    )
