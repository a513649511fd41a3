"""Distillation: what the common tests do not see."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose

from companion.activations import log_softmax, softmax
from companion.backend import array, compiled, to_numpy
from companion.losses import (
    cross_entropy,
    distillation,
    distillation_loss,
    distillation_loss_grad,
    grad_of,
)
from tests.losses.case import check_accuracy
from tests.losses.cases_distillation import CASES

Z = np.array([[1.0, -0.5, 0.25], [2.0, 0.0, -1.0]])
V = np.array([[0.5, 0.5, -1.0], [-1.0, 3.0, 0.0]])
SOFT = {"temperature": 1.0, "alpha": 0.0}


def test_torch_has_the_wrong_sign_where_they_nearly_agree():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((40, 10)).astype("float32")
    v = (z + 1e-4 * rng.standard_normal(z.shape)).astype("float32")
    logs = [torch.log_softmax(torch.tensor(x), -1) for x in (z, v)]
    theirs = F.kl_div(*logs, log_target=True, reduction="none").sum(-1)
    exact = distillation_loss(z.astype(float), v.astype(float), [0] * 40, reduction="none", **SOFT)
    ours = distillation_loss(torch.tensor(z), torch.tensor(v), [0] * 40, reduction="none", **SOFT)
    assert (theirs < 0).sum() > 5
    assert_allclose(ours.numpy(), exact, rtol=1e-3)  # the logits differ in their last bits


def test_alpha_1_is_cross_entropy(created):
    options = {"temperature": 4.0, "alpha": 1.0}
    args = array(Z), array(V), array([0, 1])
    assert float(distillation_loss(*args, **options)) == pytest.approx(
        float(cross_entropy(array(Z), array([0, 1]))), rel=1e-15
    )
    want = grad_of(cross_entropy)(array(Z), array([0, 1]))
    got = distillation_loss_grad(*args, **options)
    assert_allclose(to_numpy(got), to_numpy(want), rtol=1e-14)


def test_equal_logits_and_those_moved_by_a_constant(created):
    for v in (Z, Z + 7, Z - 1024):
        args = array(Z), array(v), array([0, 1])
        assert float(distillation_loss(*args, **SOFT)) == 0
        assert (to_numpy(distillation_loss_grad(*args, **SOFT)) == 0).all()


def test_a_class_that_the_teacher_excludes(created):
    """Probability 0 adds nothing to the divergence; the student's is still pushed down."""
    v, t = V.copy(), [0, 1]
    v[:, 2] = -np.inf
    got = distillation_loss(array(Z), array(v), array(t), reduction="none", **SOFT)
    q = np.exp(v) / np.exp(v).sum(1, keepdims=True)
    p = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
    want = (q[:, :2] * np.log(q[:, :2] / p[:, :2])).sum(1)
    assert_allclose(to_numpy(got), want, rtol=1e-14)
    grad = distillation_loss_grad(array(Z), array(v), array(t), reduction="sum", **SOFT)
    assert_allclose(to_numpy(grad), p - q, rtol=1e-13, atol=1e-16)
    z = torch.tensor(Z, requires_grad=True)
    distillation_loss(z, torch.tensor(v), t, reduction="sum", **SOFT).backward()
    assert_allclose(z.grad.numpy(), p - q, rtol=1e-13, atol=1e-16)
    z = Z.copy()
    z[:, 0] = -np.inf
    assert np.isinf(distillation_loss(z, V, [1, 1], **SOFT))
    assert np.isfinite(distillation_loss_grad(z, V, [1, 1], **SOFT)).all()


def check_size(temperatures=(4.0, 64.0)):
    """The factor T² keeps the gradient's size: at high T it is that of matching logits."""
    limit = ((Z - Z.mean(1, keepdims=True)) - (V - V.mean(1, keepdims=True))) / 3
    for T in temperatures:
        grad = distillation_loss_grad(Z, V, [0, 1], temperature=T, alpha=0.0, reduction="sum")
        assert_allclose(grad, limit, atol=2 / T)
        h = 1e-5
        step = h * (np.arange(6).reshape(2, 3) == 2)
        up, down = (
            distillation_loss(Z + s, V, [0, 1], temperature=T, alpha=0.0, reduction="sum")
            for s in (step, -step)
        )
        assert grad[0, 2] == pytest.approx((up - down) / (2 * h), rel=1e-6)


def test_the_gradient_keeps_its_size():
    check_size()


def test_one_graph(compiler):
    args = torch.tensor(Z), torch.tensor(V), torch.tensor([0, 1])
    options = {"temperature": 2.0, "alpha": 0.5}
    got = compiled(lambda *a: distillation_loss(*a, **options))(*args)
    assert_allclose(got.item(), distillation_loss(*args, **options).item(), rtol=1e-12)


def test_the_result_has_the_student_s_dtype():
    got = distillation_loss_grad(Z.astype("float16"), V, [0, 1], temperature=2.0, alpha=0.5)
    assert got.dtype == np.float16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0, "alpha": 0.5}, "temperature must be positive; got 0.0"),
        ({"temperature": 1.0, "alpha": 1.5}, r"alpha must lie in \[0, 1\]; got 1.5"),
    ],
)
def test_bad_options_are_named(options, message):
    for f in (distillation_loss, distillation_loss_grad):
        with pytest.raises(ValueError, match=message):
            f(Z, V, [0, 1], **options)


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"teacher_logits must have .* got \(2, 2\) for \(2, 3\)"):
        distillation_loss(Z, V[:, :2], [0, 1], **SOFT)
    with pytest.raises(ValueError, match="labels 0 to 2; got 0 to 3"):
        distillation_loss(Z, V, [0, 3], **SOFT)


# Planted mistakes ---------------------------------------------------------------------------


def planted(monkeypatch, name, factor=1.0, swapped=False):
    """Have distillation call a divergence that is wrong."""
    right = getattr(distillation, name)

    def wrong(z, v, **options):
        return factor * (right(v, z, **options) if swapped else right(z, v, **options))

    monkeypatch.setattr(distillation, name, wrong)


def test_a_loss_without_the_square_of_t_is_caught(monkeypatch):
    """Its gradient falls as 1/T²; at one temperature that is one factor for both."""
    for name in ("kl_div_with_logits", "kl_div_with_logits_grad"):
        planted(monkeypatch, name, factor=4.0**-2)
    with pytest.raises(AssertionError):
        check_size([4.0])


def test_a_gradient_that_forgets_the_inner_temperature_is_caught(monkeypatch):
    planted(monkeypatch, "kl_div_with_logits_grad", factor=4.0)
    with pytest.raises(AssertionError):
        check_size([4.0])


def test_the_divergence_the_wrong_way_round_is_caught(monkeypatch):
    planted(monkeypatch, "kl_div_with_logits", swapped=True)
    with pytest.raises(AssertionError, match="value"):
        check_accuracy(CASES["distillation_loss, warm"], "float64")


def test_the_difference_of_logarithms_is_caught(monkeypatch):
    def plain(z, v, **options):
        logs = [log_softmax(x) for x in (v, z)]
        return (softmax(v) * (logs[0] - logs[1])).sum(-1)

    monkeypatch.setattr(distillation, "kl_div_with_logits", plain)
    with pytest.raises(AssertionError, match="value"):
        check_accuracy(CASES["distillation_loss, teacher alone"], "float64")
