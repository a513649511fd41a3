"""Losses with a margin: what the common tests do not see."""

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose, assert_array_equal

from companion.backend import array, compiled, to_numpy
from companion.losses import (
    cross_entropy,
    grad_of,
    hinge_loss,
    hinge_loss_grad,
    info_nce,
    info_nce_grad,
    large_margin_logits,
    large_margin_logits_vjp,
    margins,
    multi_margin_loss,
    multi_margin_loss_grad,
    triplet_margin_loss,
    triplet_margin_loss_grad,
    value_and_grad,
)
from tests.losses.case import check_accuracy
from tests.losses.cases_margins import CASES

EYE = np.eye(2)


def autograd(function, *arrays):
    """The value of a function, and torch's derivatives of its sum."""
    tensors = [torch.tensor(to_numpy(a), requires_grad=True) for a in arrays]
    value = function(*tensors)
    return value.detach().numpy(), [g.numpy() for g in torch.autograd.grad(value.sum(), tensors)]


# Hinge --------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2])
def test_two_classes_are_half_the_binary_hinge(created, p):
    """The difference of two logits is the score; torch's division by k makes it half."""
    z, t = np.random.default_rng(0).standard_normal((9, 2)), np.arange(9) % 2
    several = multi_margin_loss(array(z), array(t), p=p)
    binary = hinge_loss(array(z[:, 1] - z[:, 0]), array(2.0 * t - 1), p=p)
    assert float(several) == pytest.approx(float(binary) / 2, rel=1e-14)


def test_at_the_margin_the_gradient_is_0(created):
    grad = multi_margin_loss_grad(array([[2.0, 1.0]]), array([0]))
    assert_array_equal(to_numpy(grad), [[0, 0]])
    assert float(hinge_loss_grad(array([1.0]), array([1]))[0]) == 0
    z = torch.tensor([[2.0, 1.0]], requires_grad=True)
    F.multi_margin_loss(z, torch.tensor([0])).backward()
    assert (z.grad == 0).all()


def test_a_margin_of_0_is_the_perceptron():
    z = [[3.0, 1.0], [1.0, 3.0]]
    assert_array_equal(multi_margin_loss(z, [0, 0], margin=0, reduction="none"), [0, 1])


# Large-margin softmax -----------------------------------------------------------------------


def exact_psi(c, m):
    theta = mpmath.acos(c)
    i = mpmath.floor(m * theta / mpmath.pi)
    i = min(int(i), m - 1)
    return (-1) ** i * mpmath.cos(m * theta) - 2 * i


def check_logits(m):
    """Through all pieces and near both ends."""
    near = np.array([1e-12, 1e-7, 1e-3])
    angles = np.concatenate([near, np.linspace(0.01, 3.13, 40), np.pi - near[::-1]])
    x = 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    weight = np.array([[2.0, 0.3], [0.0, -1.0]])
    target = np.zeros(len(x), int)
    z = to_numpy(large_margin_logits(*map(array, (x, weight, target)), margin=m))
    with mpmath.workdps(60):
        for row, got in zip(x, z, strict=True):
            a, b = map(mpmath.mpf, row.tolist())
            length = mpmath.sqrt(a * a + b * b)
            want = 2 * length * exact_psi(a / length, m)
            assert abs(got[0] - want) <= 8 * m * m * 2.0**-52 * 2 * length
    assert_allclose(z[:, 1], x @ weight[:, 1], rtol=1e-14)
    assert (np.diff(z[:, 0]) <= 1e-13).all(), "psi falls from 0 to pi"


@pytest.mark.parametrize("m", [1, 2, 3, 4, 7])
def test_the_logit_of_the_target(created, m):
    check_logits(m)


@pytest.mark.parametrize("margin", [1, 2, 3, 4])
@pytest.mark.parametrize("blend", [0.0, 1.5])
def test_its_derivatives(created, margin, blend):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 6, 3)), rng.standard_normal((2, 3, 4))
    t, dy = rng.integers(4, size=(2, 6)), rng.standard_normal((2, 6, 4))
    options = {"margin": margin, "blend": blend}
    value, want = autograd(
        lambda x, w: torch.tensor(dy) * large_margin_logits(x, w, torch.tensor(t), **options), x, w
    )
    assert np.isfinite(value).all()
    got = large_margin_logits_vjp(*map(array, (dy, x, w, t)), **options)
    for a, b in zip(got, want, strict=True):
        assert_allclose(to_numpy(a), b, rtol=1e-10, atol=1e-13)
    for i in range(2):
        one = large_margin_logits_vjp(*(array(a[i]) for a in (dy, x, w, t)), **options)
        for a, b in zip(got, one, strict=True):
            assert_allclose(to_numpy(a[i]), to_numpy(b), rtol=1e-13)


def check_slopes(margin=3):
    """Hold the derivatives to differences."""
    rng = np.random.default_rng(2)
    x, w, t = rng.standard_normal((5, 3)), rng.standard_normal((3, 4)), rng.integers(4, size=5)
    dy, h = rng.standard_normal((5, 4)), 1e-6
    got = large_margin_logits_vjp(dy, x, w, t, margin=margin)
    for which, a in enumerate((x, w)):
        for i in np.ndindex(a.shape):
            step = np.zeros_like(a)
            step[i] = h
            moved = [
                [b + s * step if j == which else b for j, b in enumerate((x, w))] for s in (1, -1)
            ]
            up, down = ((dy * large_margin_logits(*b, t, margin=margin)).sum() for b in moved)
            assert got[which][i] == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-7)


def test_its_derivatives_against_differences():
    check_slopes()


def test_a_margin_of_1_is_the_plain_product(created):
    x, w = np.random.default_rng(0).standard_normal((2, 3, 3))
    z = large_margin_logits(array(x), array(w), array([0, 1, 2]), margin=1)
    assert_allclose(to_numpy(z), x @ w, rtol=1e-13)


def test_a_zero_feature_has_no_angle(created):
    for x, w in (([[0.0, 0.0]], EYE), ([[1.0, 2.0]], 0 * EYE)):
        args = array(x), array(w), array([0])
        assert float(large_margin_logits(*args)[0, 0]) == 0
        dx, dw = large_margin_logits_vjp(array([[1.0, 1.0]]), *args)
        assert np.isfinite(to_numpy(dx)).all()
        assert np.isfinite(to_numpy(dw)).all()


# Triplets -----------------------------------------------------------------------------------


def test_equal_points_have_distance_0(created):
    a, c = array([[1.0, 2.0]]), array([[1.0, 2.25]])
    assert float(triplet_margin_loss(a, a, c)) == 0.75
    grads = triplet_margin_loss_grad(a, a, c)
    assert_array_equal([to_numpy(g)[0] for g in grads], [[0, 1], [0, 0], [0, -1]])
    theirs = F.triplet_margin_loss(*(torch.tensor(to_numpy(x)) for x in (a, a, c)))
    assert abs(theirs.item() - 0.75) > 1e-7, "torch's eps"
    _, want = autograd(lambda *x: triplet_margin_loss(*x), *map(to_numpy, (a, a, c)))
    assert_array_equal(want, [to_numpy(g) for g in grads])


def test_distances_neither_overflow_nor_vanish(created):
    for size in (1e-200, 1e200):
        a, b, c = (array([[v * size]]) for v in (0.0, 3.0, 1.0))
        assert float(triplet_margin_loss(a, b, c, margin=0)) == pytest.approx(2 * size)


def test_the_city_block(created):
    a, b, c = np.random.default_rng(0).standard_normal((3, 8, 4))
    got = triplet_margin_loss(array(a), array(b), array(c), p=1, reduction="none")
    missing = abs(a - b).sum(1) - abs(a - c).sum(1) + 1
    assert_allclose(to_numpy(got), missing.clip(0), rtol=1e-13)
    grad = triplet_margin_loss_grad(array(a), array(b), array(c), p=1, reduction="sum")[2]
    assert_array_equal(to_numpy(grad), np.sign(a - c) * (missing > 0)[:, None])


# InfoNCE ------------------------------------------------------------------------------------


def check_info_nce(normalize):
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, 6, 3))
    options = {"temperature": 0.3, "normalize": normalize}

    def peer(q, k):
        if normalize:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        return F.cross_entropy(q @ k.T / 0.3, torch.arange(6))

    want, slopes = autograd(peer, q, k)
    value, grads = value_and_grad(info_nce)(array(q), array(k), **options)
    assert float(value) == pytest.approx(float(want), rel=1e-13)
    _, own = autograd(lambda q, k: info_nce(q, k, **options), q, k)
    for got, *rest in zip(grads, slopes, own, strict=True):
        for wanted in rest:
            assert_allclose(to_numpy(got), wanted, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("normalize", [True, False])
def test_info_nce(created, normalize):
    check_info_nce(normalize)


def test_info_nce_by_definition():
    q, k = np.random.default_rng(1).standard_normal((2, 4, 3))
    got = info_nce(q, k, temperature=0.01, reduction="none")
    with mpmath.workdps(60):
        q, k = (
            [mpmath.matrix(r) / mpmath.norm(mpmath.matrix(r)) for r in a.tolist()] for a in (q, k)
        )
        s = [[mpmath.fdot(a, b) / mpmath.mpf(0.01) for b in k] for a in q]
        for i, row in enumerate(s):
            rest = mpmath.fsum(mpmath.exp(v - row[i]) for j, v in enumerate(row) if j != i)
            # the similarities, up to 100, are rounded before they are subtracted
            assert float(got[i]) == pytest.approx(float(mpmath.log1p(rest)), rel=1e-12)


def test_info_nce_over_replicas_and_of_zeros(created):
    q, k = np.random.default_rng(1).standard_normal((2, 3, 5, 4))
    q[:, 2] = 0
    k[:, 3, 1] = 0  # one coordinate: a zero that has a gradient
    value = info_nce(array(q), array(k), reduction="none")
    dq, dk = map(to_numpy, info_nce_grad(array(q), array(k)))
    for i in range(3):
        one = info_nce(array(q[i]), array(k[i]), reduction="none")
        assert_allclose(to_numpy(value[i]), to_numpy(one), rtol=1e-13)
    assert (dq[:, 2] == 0).all()
    assert (dk[:, 3, 1] != 0).all()
    _, (_, want) = autograd(lambda q, k: info_nce(q, k), q, k)
    assert_allclose(dk, want, rtol=1e-10, atol=1e-14)


# All of them --------------------------------------------------------------------------------


def test_one_graph(compiler):
    rng = np.random.default_rng(0)
    x, w = (torch.tensor(rng.standard_normal((4, 4))) for _ in range(2))
    t = torch.tensor([0, 1, 2, 3])

    def all_of_them():
        logits = large_margin_logits(x, w, t, margin=3)
        losses = multi_margin_loss(x, t), triplet_margin_loss(x, w, x + 1), info_nce(x, w)
        return torch.stack([cross_entropy(logits, t), *losses])

    assert_allclose(compiled(all_of_them)().numpy(), all_of_them().numpy(), rtol=1e-12)


def test_array_api_strict():
    import array_api_strict as strict

    rng = np.random.default_rng(0)
    x, w, t = rng.standard_normal((4, 4)), rng.standard_normal((4, 4)), np.arange(4)
    for f, args in (
        (info_nce, (x, w)),
        (info_nce_grad, (x, w)),
        (large_margin_logits, (x, w, t)),
        (large_margin_logits_vjp, (x, x, w, t)),
    ):
        want, got = f(*args), f(*map(strict.asarray, args))
        pairs = zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]
        for a, b in pairs:
            assert_allclose(np.asarray(a), b, rtol=1e-12, atol=1e-14)


def test_half_precision():
    x = np.array([[1.0, 2.0], [3.0, -1.0]], "float16")
    assert info_nce(x, x).dtype == np.float16
    assert large_margin_logits(x, x, [0, 1]).dtype == np.float16
    assert triplet_margin_loss(x, x, x).dtype == np.float16
    assert all(g.dtype == np.float16 for g in grad_of(triplet_margin_loss)(x, x, x + 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: multi_margin_loss(EYE, [0, 1], p=3), "p must be 1 or 2; got 3"),
        (lambda: multi_margin_loss_grad(EYE, [0, 1], margin=-1), "margin must not be negative"),
        (lambda: hinge_loss([1.0], [0]), "target must hold -1 and 1 only"),
        (lambda: hinge_loss_grad(EYE, [1]), r"got \(1,\) for \(2, 2\)"),
        (lambda: large_margin_logits(EYE, np.ones((3, 2)), [0, 1]), r"got \(2, 2\) and \(3, 2\)"),
        (lambda: large_margin_logits(EYE, EYE, [0, 2]), "labels 0 to 1; got 0 to 2"),
        (lambda: large_margin_logits(EYE, EYE, [0, 1], margin=1.5), "an integer of at least 1"),
        (lambda: large_margin_logits(EYE, EYE, [0, 1], blend=-1), "blend must not be negative"),
        (lambda: large_margin_logits_vjp([1.0], EYE, EYE, [0, 1]), r"dy must have shape \(2, 2\)"),
        (lambda: triplet_margin_loss(EYE, EYE[0], EYE), r"positive must have shape \(2, 2\)"),
        (lambda: triplet_margin_loss_grad(EYE, EYE, EYE[0]), r"negative must have shape"),
        (lambda: triplet_margin_loss(EYE, EYE, EYE, p=0.5), "p must be a finite number"),
        (lambda: info_nce(EYE, EYE[:1]), r"keys must have shape \(2, 2\); got \(1, 2\)"),
        (lambda: info_nce(EYE[0], EYE[0]), r"queries must have shape \(..., n, d\)"),
        (lambda: info_nce_grad(EYE, EYE, temperature=0), "temperature must be positive; got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Planted mistakes ---------------------------------------------------------------------------


def test_a_hinge_that_counts_the_own_class_is_caught(monkeypatch):
    def counted(logits, target, margin):
        at = margins.entries(logits, target)
        missing = margins.positive_part(logits - margins.pick(logits, at)[..., None] + margin)
        return missing, at

    monkeypatch.setattr(margins, "_missing", counted)
    with pytest.raises(AssertionError):
        check_accuracy(CASES["multi_margin_loss"], "float64")


def test_a_triplet_with_the_wrong_sign_is_caught(monkeypatch):
    right = margins._distances

    def swapped(anchor, positive, negative, margin, p):
        return right(anchor, negative, positive, margin, p)

    monkeypatch.setattr(margins, "_distances", swapped)
    with pytest.raises(AssertionError):
        check_accuracy(CASES["triplet_margin_loss"], "float64")


def test_psi_without_its_steps_is_caught(monkeypatch, on_numpy):
    """cos(m theta) alone rises again: an example on the far side would be called right."""

    def bare(c, margin, blend):
        m = margin
        theta = np.arccos(c.clip(-1, 1))
        return np.cos(m * theta), m * np.sin(m * theta) / np.sin(theta)

    monkeypatch.setattr(margins, "_psi", bare)
    with pytest.raises(AssertionError):
        check_logits(2)


def test_a_derivative_without_the_length_is_caught(monkeypatch):
    """As if the features' norm did not depend on the features."""
    right = margins._psi
    monkeypatch.setattr(margins, "_psi", lambda *a: (lambda psi, s: (a[0] * s, s))(*right(*a)))
    with pytest.raises(AssertionError):
        check_slopes()


def test_an_info_nce_that_leaves_the_norm_in_is_caught(monkeypatch):
    right = margins._rows
    monkeypatch.setattr(margins, "_rows", lambda q, k, normalize: right(q, k, False))
    with pytest.raises(AssertionError):
        check_info_nce(True)


def test_an_info_nce_gradient_without_the_temperature_is_caught(monkeypatch):
    right = margins.cross_entropy_grad
    monkeypatch.setattr(margins, "cross_entropy_grad", lambda *a, **k: 0.3 * right(*a, **k))
    with pytest.raises(AssertionError):
        check_info_nce(False)
