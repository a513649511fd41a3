"""Boxes: ten families of them against exact arithmetic, conventions, kinks, suppression."""

import functools
import math

import mpmath
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion import boxes, training
from companion.backend import array, compiled, namespace, to_numpy
from companion.boxes import formula
from companion.layers import Linear
from companion.losses import grad_of, value_and_grad
from companion.network import Sequential
from companion.optimizers import SGD
from tests.box_definitions import KINDS, exact_with_gradient, families, torchvision_loss

FAMILIES = tuple(families(1, "float32", np.random.default_rng(0)))
LOSSES = {
    "iou": boxes.box_iou_loss,
    "giou": boxes.generalized_box_iou_loss,
    "diou": boxes.distance_box_iou_loss,
    "ciou": boxes.complete_box_iou_loss,
}
OVERLAPS = {
    "iou": (boxes.box_iou, boxes.box_iou_vjp),
    "giou": (boxes.generalized_box_iou, boxes.generalized_box_iou_vjp),
    "diou": (boxes.distance_box_iou, boxes.distance_box_iou_vjp),
    "ciou": (boxes.complete_box_iou, boxes.complete_box_iou_vjp),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
UNIT, BESIDE = [0.0, 0.0, 1.0, 1.0], [3.0, 0.0, 4.0, 1.0]


@functools.cache
def exactly(kind, family, dtype, n=6):
    prediction, target = families(n, dtype, np.random.default_rng(1))[family]
    rows = zip(prediction, target, strict=True)
    return prediction, target, [exact_with_gradient(kind, *row) for row in rows]


def check_family(kind, family, dtype, **options):
    """Hold the loss to 8 ULP and the gradient, by norm, to 10 eps: no condition number helps."""
    prediction, target, wanted = exactly(kind, family, dtype)
    both = value_and_grad(functools.partial(LOSSES[kind], **options))
    found = both(array(prediction, dtype), array(target, dtype), reduction="none")
    eps = float(np.finfo(dtype).eps)
    for value, grad, (loss, slopes) in zip(*map(to_numpy, found), wanted, strict=True):
        assert abs(mpmath.mpf(float(value)) - loss) <= 8 * eps * loss, f"{value}, not {loss}"
        off = mpmath.norm([mpmath.mpf(float(g)) - s for g, s in zip(grad, slopes, strict=True)])
        assert off <= 10 * eps * mpmath.norm(slopes), f"{grad}, not {[float(s) for s in slopes]}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
@every_kind
def test_ten_families_are_exact(created, kind, family, dtype):
    check_family(kind, family, dtype)


def drawn(n, lead=(), scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 2, (*lead, n, 2))
    return scale * np.concatenate([low, low + rng.uniform(0.3, 1.5, low.shape)], -1)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@every_kind
def test_parity_with_torchvision_where_boxes_are_large(created, kind, reduction):
    """In pixels, where torchvision's 1e-7 beside an area does not matter; in α it does."""
    close = 1e-6 if kind == "ciou" else 1e-10
    p, t = drawn(40, scale=300.0), drawn(40, scale=300.0, seed=1)
    theirs = torch.tensor(p, requires_grad=True)
    want = torchvision_loss(kind, theirs, torch.tensor(t), reduction)
    want.sum().backward()
    loss = LOSSES[kind]
    found = loss(array(p), array(t), reduction=reduction)
    assert_allclose(to_numpy(found), want.detach().numpy(), rtol=close)
    grad = grad_of(loss)(array(p), array(t), reduction=reduction)
    assert_allclose(to_numpy(grad), theirs.grad.numpy(), rtol=10 * close, atol=close / 1e4)


def test_a_small_box_is_not_its_own_target_to_torchvision():
    small = torch.tensor([[0.5, 0.5, 0.5003, 0.5003]], dtype=torch.float64)
    assert torchvision_loss("ciou", small, small).item() == pytest.approx(0.526, abs=1e-3)
    assert boxes.complete_box_iou_loss(small, small).item() == 0


@every_kind
def test_overlaps_of_all_pairs(created, kind):
    overlap, vjp = OVERLAPS[kind]
    a, b = drawn(5, (2,)), drawn(3)
    found = to_numpy(overlap(array(a), array(b)))
    assert found.shape == (2, 5, 3)
    dy = np.random.default_rng(2).standard_normal(found.shape)
    d1, d2 = map(to_numpy, vjp(array(dy), array(a), array(b)))
    assert d1.shape == a.shape
    assert d2.shape == b.shape
    x, y = (torch.tensor(v, requires_grad=True) for v in (a, b))
    pairs = [v.expand(2, 5, 3, 4) for v in (x[:, :, None], y[None, None])]
    want = 1 - torchvision_loss(kind, *pairs, reduction="none", eps=0)
    want.backward(torch.tensor(dy))
    assert_allclose(found, want.detach().numpy(), rtol=1e-10, atol=1e-14)
    assert_allclose(d1, x.grad.numpy(), rtol=1e-10, atol=1e-13)
    assert_allclose(d2, y.grad.numpy(), rtol=1e-10, atol=1e-13)
    d2_wide = to_numpy(vjp(array(dy), array(a), array(b[None]))[1])
    assert_array_equal(d2_wide, d2[None])


@every_kind
def test_small_overlaps_keep_their_digits(created, kind):
    a, b = [[0.0, 0.0, 1.0, 1.0]], [[1.0 - 1e-9, 0.0, 2.0, 1.0]]
    if kind == "iou":
        side = 1 - (1.0 - 1e-9)
        found = float(boxes.box_iou(array(a), array(b))[0, 0])
        assert found == pytest.approx(side / (2 - side + side), rel=1e-9)
    moved = float(OVERLAPS[kind][0](array(a), array(a))[0, 0])
    assert moved == 1


@every_kind
def test_autograd_and_compiled(compiler, kind):
    p, t = (torch.tensor(drawn(9, seed=s)) for s in (0, 1))
    loss = LOSSES[kind]
    want_value, want = value_and_grad(loss)(p, t)
    for f in (loss, compiled(loss)):
        x = p.clone().requires_grad_()
        value = f(x, t)
        value.backward()
        assert_allclose(value.item(), want_value.item(), rtol=1e-14)
        assert_allclose(x.grad.numpy(), want.numpy(), rtol=1e-10, atol=1e-15)


def test_alpha_is_held_unless_asked_for(created):
    p, t = drawn(9), drawn(9, seed=1)
    for alpha_gradient in (False, True):
        x = torch.tensor(p, requires_grad=True)
        torchvision_loss(
            "ciou", x, torch.tensor(t), eps=0, alpha_gradient=alpha_gradient
        ).backward()
        options = {"alpha_gradient": alpha_gradient}
        grad = boxes.complete_box_iou_loss_grad(array(p), array(t), **options)
        assert_allclose(to_numpy(grad), x.grad.numpy(), rtol=1e-10, atol=1e-15)
        ours = torch.tensor(p, requires_grad=True)
        boxes.complete_box_iou_loss(ours, torch.tensor(t), **options).backward()
        assert_allclose(ours.grad.numpy(), x.grad.numpy(), rtol=1e-10, atol=1e-15)


# Kinks and boxes without area ---------------------------------------------------------------


@every_kind
def test_a_box_and_itself(created, kind):
    p = array(drawn(5))
    value, grad = value_and_grad(LOSSES[kind])(p, p, reduction="none")
    assert_array_equal(to_numpy(value), 0)
    assert_array_equal(to_numpy(grad), 0)
    x = torch.tensor(drawn(5), requires_grad=True)
    LOSSES[kind](x, x.detach()).backward()
    assert_array_equal(x.grad.numpy(), 0)


@every_kind
def test_where_edges_meet_both_slopes_are_averaged(created, kind):
    p, t = [[1.0, 1.0, 3.0, 3.0]], [[1.0, 0.0, 4.0, 3.5]]
    grad = to_numpy(grad_of(LOSSES[kind])(array(p), array(t)))
    for corner in range(4):
        beside = []
        for step in (1e-9, -1e-9):
            moved = [list(p[0])]
            moved[0][corner] += step
            beside.append(to_numpy(grad_of(LOSSES[kind])(array(moved), array(t)))[0, corner])
        assert grad[0, corner] == pytest.approx(np.mean(beside), abs=1e-7)
    x = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    LOSSES[kind](x, torch.tensor(t, dtype=torch.float64)).backward()
    assert_allclose(grad, x.grad.numpy(), atol=1e-15)


POINT, LINE, UPRIGHT = [1.0, 1, 1, 1], [0.0, 0, 2, 0], [-1.0, 1, -1, 3]
#: box, target, and their losses IoU, GIoU, DIoU, CIoU
WITHOUT_AREA = {
    "a point and itself": (POINT, POINT, (1, 1, 1, 1)),
    "a line and itself": (LINE, LINE, (1, 1, 1, 1)),
    "a line across another": (LINE, UPRIGHT, (1, 2, 1 + 8 / 18, None)),
    "a point in a box": (POINT, [0.0, 0, 2, 2], (1, 1, 1, 1)),
    "a line in a box": (LINE, [0.0, -1, 2, 1], (1, 1, 1, None)),
    "a point beside a box": (POINT, [1.0, 1, 2, 2], (1, 1, 1.25, 1.25)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", WITHOUT_AREA)
@every_kind
def test_boxes_without_area(created, kind, case, dtype):
    p, t, values = WITHOUT_AREA[case]
    value, grad = value_and_grad(LOSSES[kind])(array([p], dtype), array([t], dtype))
    v = 4 / math.pi**2 * (math.atan(1 if "box" in case else 0) - math.pi / 2) ** 2
    wanted = values[KINDS.index(kind)]
    wanted = values[2] + v * v / (1 + v) if wanted is None else wanted
    assert float(value) == pytest.approx(wanted, rel=1e-6)
    assert np.isfinite(to_numpy(grad)).all()
    x = torch.tensor([p], dtype=getattr(torch, dtype), requires_grad=True)
    LOSSES[kind](x, torch.tensor([t], dtype=x.dtype)).backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_the_gradient_that_boxes_without_area_have(created):
    point, around = array([POINT]), array([[0.0, 0, 2, 2]])
    for loss in LOSSES.values():
        assert_array_equal(to_numpy(grad_of(loss)(point, point)), 0)
    assert_array_equal(to_numpy(boxes.box_iou_loss_grad(point, around)), 0)
    # a line that spans its target grows to both sides
    line = array([[0.0, 1, 2, 1]])
    assert_array_equal(to_numpy(boxes.box_iou_loss_grad(line, around)), [[0, 0.25, 0, -0.25]])
    assert float(boxes.box_iou(point, point)[0, 0]) == 0


def test_nan_stays(created):
    p = array([[0.0, 0.0, np.nan, 1.0], UNIT])
    for kind, loss in LOSSES.items():
        value, grad = value_and_grad(loss)(p, array([UNIT, UNIT]), reduction="none")
        assert np.isnan(to_numpy(value)).tolist() == [True, False]
        assert np.isnan(to_numpy(grad)[0]).any()
        assert np.isnan(to_numpy(OVERLAPS[kind][0](p, p))[0]).all()


@every_kind
def test_nothing_to_compute(created, kind):
    none = array(np.zeros((0, 4)))
    assert LOSSES[kind](none, none, reduction="none").shape == (0,)
    assert grad_of(LOSSES[kind])(none, none).shape == (0, 4)
    assert OVERLAPS[kind][0](none, array([UNIT])).shape == (0, 1)


def test_many_boxes_go_in_blocks():
    p, t = drawn(20_000), drawn(20_000, seed=1)
    value, grad = value_and_grad(boxes.complete_box_iou_loss)(p, t, reduction="none")
    part, part_grad = value_and_grad(boxes.complete_box_iou_loss)(p[-9:], t[-9:], reduction="none")
    assert_allclose(value[-9:], part, rtol=1e-14)
    assert_allclose(grad[-9:], part_grad, rtol=1e-12, atol=1e-15)


@every_kind
def test_many_pairs_go_in_blocks(created, kind):
    a, b = array(drawn(300)), array(drawn(130, seed=1))
    overlap, vjp = OVERLAPS[kind]
    dy = array(np.random.default_rng(2).standard_normal((300, 130)))
    assert_array_equal(to_numpy(overlap(a, b))[-1:], to_numpy(overlap(a[-1:], b)))
    d1, d2 = map(to_numpy, vjp(dy, a, b))
    assert_allclose(d1[-1:], to_numpy(vjp(dy[-1:], a[-1:], b)[0]), rtol=1e-12, atol=1e-14)
    assert_allclose(d2[-1:], to_numpy(vjp(dy[:, -1:], a, b[-1:])[1]), rtol=1e-12, atol=1e-13)


def test_fit_takes_a_loss_of_boxes(created):
    """A layer whose biases are the box, which moves to its target."""
    net = Sequential(Linear(1, 4))
    theta = array(np.array([0, 0, 0, 0, 0.0, 0, 3, 3]))
    x, y = array(np.zeros((8, 1))), array([[1.0, 1, 3, 4]] * 8)
    theta, history = training.fit(
        net,
        theta,
        (x, y),
        loss=functools.partial(boxes.complete_box_iou_loss, alpha_gradient=True),
        optimizer=SGD(lr=0.05),
        rng=np.random.default_rng(0),
        steps=200,
        progress=False,
    )
    assert history.loss[-1] < 0.05 < history.loss[0]


# Coordinates --------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["xyxy", "xywh", "cxcywh"])
@pytest.mark.parametrize("back", ["xyxy", "xywh", "cxcywh"])
def test_formats(created, there, back):
    rows = {
        "xyxy": [[1.0, 2.0, 4.0, 8.0]],
        "xywh": [[1.0, 2.0, 3.0, 6.0]],
        "cxcywh": [[2.5, 5.0, 3.0, 6.0]],
    }
    found = boxes.box_convert(array(rows[there]), there, back)
    assert_array_equal(to_numpy(found), rows[back])


def test_sides_are_handed_on():
    assert boxes.box_convert([[1.0, 1, 1e-20, 1]], "xywh", "cxcywh")[0, 2] == 1e-20
    assert boxes.box_convert([[1.0, 1, 1e-20, 1]], "cxcywh", "xywh")[0, 2] == 1e-20


def test_area(created):
    assert_array_equal(to_numpy(boxes.box_area(array([UNIT, [1.0, 2, 4, 8], POINT]))), [1, 18, 0])


def flipped(x):
    return namespace(x).flip(x, axis=-1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: boxes.box_area([[1, 0, 0, 1]]), ValueError, r"boxes must have x1 <= x2.*\[1.0, 0"),
        (lambda: boxes.box_area([0, 0, 1, 1]), ValueError, r"\(..., n, 4\); got \(4,\)"),
        (lambda: boxes.box_iou([[0, 0, 1]], [UNIT]), ValueError, r"boxes1 must .* got \(1, 3\)"),
        (lambda: boxes.box_iou([UNIT], [[0, 1, 1, 0]]), ValueError, "boxes2 must have x1 <= x2"),
        (lambda: boxes.box_iou(torch.ones(1, 4), np.ones((1, 4))), TypeError, "of one library"),
        (lambda: boxes.box_iou_vjp([[1.0, 2.0]], [UNIT], [UNIT]), ValueError, r"dy .* \(1, 1\)"),
        (lambda: boxes.box_iou_loss([UNIT], [[2, 0, 1, 1]]), ValueError, "target must have x1"),
        (
            lambda: boxes.box_iou_loss([[1, 0, 0, 1]], [UNIT]),
            ValueError,
            r"prediction must have x1 <= x2 and y1 <= y2; got \[1.0, 0.0, 0.0, 1.0\]",
        ),
        (lambda: boxes.box_iou_loss([UNIT], UNIT), ValueError, r"got \(4,\) for \(1, 4\)"),
        (lambda: boxes.box_iou_loss([UNIT], [UNIT] * 2), ValueError, r"\(2, 4\) for \(1, 4\)"),
        (lambda: boxes.box_convert([UNIT], "yxyx", "xywh"), ValueError, "in_fmt must .*'yxyx'"),
        (lambda: boxes.box_convert([UNIT], "xywh", "x"), ValueError, "out_fmt must .*'x'"),
        (lambda: boxes.nms([UNIT], [0.5, 0.5], 0.5), ValueError, r"\(1, 4\) and \(2,\)"),
        (lambda: boxes.nms([[1, 0, 0, 1]], [0.5], 0.5), ValueError, "x1 <= x2"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Suppression --------------------------------------------------------------------------------


def suppressed(overlap, rows, scores, threshold):
    """Return what is kept, by the definition: nothing better that is kept overlaps it too much."""
    order = sorted(range(len(rows)), key=lambda i: (-scores[i], i))
    kept = []
    for i in order:
        others = [float(overlap(rows[i : i + 1], rows[k : k + 1])[0, 0]) for k in kept]
        if all(v <= threshold for v in others):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_suppression(created, threshold):
    rows = drawn(40)
    scores = np.random.default_rng(5).integers(0, 9, 40) / 8  # with ties
    for keep, overlap in ((boxes.nms, "iou"), (boxes.distance_nms, "diou")):
        found = keep(array(rows), array(scores), threshold)
        assert to_numpy(found).tolist() == suppressed(OVERLAPS[overlap][0], rows, scores, threshold)
        assert to_numpy(found).dtype == np.int64
        assert namespace(found) is namespace(array(rows))


def test_a_box_at_the_threshold_is_kept(created):
    pair = array([[0.0, 0, 2, 2], [0.0, 0, 2, 1]])
    assert to_numpy(boxes.nms(pair, array([1.0, 0.5]), 0.5)).tolist() == [0, 1]
    assert to_numpy(boxes.nms(pair, array([1.0, 0.5]), 0.49)).tolist() == [0]
    assert to_numpy(boxes.nms(array(np.zeros((0, 4))), array(np.zeros(0)), 0.5)).shape == (0,)


# Planted mistakes ---------------------------------------------------------------------------


def test_the_intersection_in_place_of_the_union_is_caught(monkeypatch, on_numpy):
    """The formula of GIoU with what of C lies outside the intersection."""

    def outside_intersection(p, meeting):
        (i, j), (width, height) = formula.xy(p.shared), formula.xy(p.hull)
        return (width * height - i * j) / (width * height), *right(p, meeting)[1:]

    right = formula._corners
    monkeypatch.setattr(formula, "_corners", outside_intersection)
    with pytest.raises(AssertionError):
        check_family("giou", "random", "float64")


@every_kind
def test_swapped_corners_are_caught(monkeypatch, on_numpy, kind):
    """Boxes read as (y1, x1, x2, y2)."""
    right = formula.evaluate

    def swapped(kind, a, b, **options):
        return right(kind, a[[1, 0, 2, 3]], b[[1, 0, 2, 3]], **options)

    monkeypatch.setattr("companion.boxes.losses.evaluate", swapped)
    with pytest.raises(AssertionError):
        check_family(kind, "random", "float64")


def test_the_distance_in_place_of_its_square_is_caught(monkeypatch, on_numpy):
    right = formula._distance

    def rooted(p, slopes):
        penalty, *more = right(p, slopes)
        return np.sqrt(penalty), *more

    monkeypatch.setattr(formula, "_distance", rooted)
    with pytest.raises(AssertionError):
        check_family("diou", "random", "float64")


def test_an_alpha_that_is_not_held_is_caught(on_numpy):
    with pytest.raises(AssertionError):
        check_family("ciou", "random", "float64", alpha_gradient=True)


def test_the_subtraction_from_one_is_caught(monkeypatch, on_numpy):
    right = formula._iou

    def subtracted(p, meeting):
        iou, _, *more = right(p, meeting)
        return iou, 1 - iou, *more

    monkeypatch.setattr(formula, "_iou", subtracted)
    with pytest.raises(AssertionError):
        check_family("iou", "nearly identical", "float32")


def test_a_constant_in_the_denominator_is_caught(monkeypatch, on_numpy):
    right = formula._distance
    monkeypatch.setattr(
        formula, "_distance", lambda p, slopes: tuple(v * (1 - 1e-7) for v in right(p, slopes))
    )
    with pytest.raises(AssertionError):
        check_family("diou", "small normalised", "float64")
