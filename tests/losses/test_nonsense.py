"""What a user may hand to a loss: odd kinds of labels, nothing, nan, and factors of 0."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from companion import losses
from companion.backend import array, to_numpy


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "int64", "uint64"])
@pytest.mark.parametrize(
    "loss", [losses.cross_entropy, losses.softmax_focal_loss, losses.multi_margin_loss]
)
def test_labels_of_any_integer_kind(created, loss, kind):
    z, t = array([[1.0, 0.5, -2.0], [0.0, 3.0, 1.0]]), np.array([2, 0])
    want = to_numpy(loss(z, array(t), reduction="none"))
    assert_array_equal(to_numpy(loss(z, t.astype(kind), reduction="none")), want)
    if (isinstance(z, torch.Tensor) and not kind.startswith("uint")) or kind == "uint8":
        own = torch.tensor(t.astype(kind)) if isinstance(z, torch.Tensor) else t.astype(kind)
        assert_array_equal(to_numpy(loss(z, own, reduction="none")), want)
        options = {"weight": [1.0, 2.0, 3.0], "ignore_index": 0}
        got = losses.cross_entropy(z, own, **options)
        assert float(got) == pytest.approx(float(losses.cross_entropy(z, array(t), **options)))


@pytest.mark.parametrize("options", [{}, {"ignore_index": 1}, {"weight": [1.0, 2.0]}])
def test_the_mean_over_nothing_is_0(created, options):
    nothing = array(np.zeros((0, 2)))
    for target in ([], np.zeros(0, int)):
        assert float(losses.cross_entropy(nothing, target, **options)) == 0
        assert losses.cross_entropy_grad(nothing, target, **options).shape == (0, 2)
    assert float(losses.mse_loss(array(np.zeros(0)), np.zeros(0))) == 0


@pytest.mark.parametrize("value", [np.float32(-1), np.int64(-2), np.array(-1.0), np.nan, 0])
def test_what_must_be_positive_may_come_as_any_number(value):
    with pytest.raises(ValueError, match="delta must be positive"):
        losses.huber_loss([1.0], [0.0], delta=value)
    with pytest.raises(ValueError, match="temperature must be positive"):
        losses.info_nce(np.eye(2), np.eye(2), temperature=value)
    with pytest.raises(TypeError, match="delta must be a positive number; got 'a'"):
        losses.huber_loss([1.0], [0.0], delta="a")


def test_infinite_losses_with_a_factor_of_0(created):
    z, t = array([[-np.inf, 0.0, 0.0]]), array([0])
    assert_array_equal(to_numpy(losses.softmax_focal_loss_grad(z, t, gamma=0.0)), [[-1, 0.5, 0.5]])
    silent = losses.softmax_focal_loss(z, t, alpha=array([0.0, 1.0, 1.0]))
    assert float(silent) == 0
    mixed = losses.distillation_loss(z, array([[0.0, 0, 0]]), array([1]), temperature=2.0, alpha=1)
    assert float(mixed) == pytest.approx(np.log(2))
    alone = losses.distillation_loss(z, z, t, temperature=2.0, alpha=0.0)
    assert float(alone) == 0
    slope = to_numpy(losses.entropy_vjp(array([0.0, 1.0]), array([[1.0, 0.0], [0.5, 0.5]])))
    assert_array_equal(np.isnan(slope), False)


def test_nan_stays_nan(created):
    z = array([[np.nan, 0.0], [0.0, 1.0]])
    wrong = to_numpy(losses.zero_one_loss(z, array([0, 1]), reduction="none"))
    assert_array_equal(wrong, [np.nan, 0])
    assert np.isnan(to_numpy(losses.multi_margin_loss_grad(z, array([0, 1])))[0]).all()
    slope = to_numpy(losses.hinge_loss_grad(array([np.nan, 2.0]), array([1.0, 1.0])))
    assert_array_equal(slope, [np.nan, 0])
    share = to_numpy(losses.bin_probabilities(array([np.nan]), [0.0, 1.0, 2.0], "hard"))
    assert np.isnan(share).all()


def test_half_precision_comes_back_as_it_was():
    half = np.array([[0.5, 0.5]], np.float16)
    assert losses.smooth_labels(half, 2).dtype == np.float16


def test_a_missing_argument_is_named():
    with pytest.raises(TypeError, match=r"cross_entropy\(\) misses its argument 'logits'"):
        losses.cross_entropy(target=[0])
    with pytest.raises(TypeError, match="misses its argument 'positive'"):
        losses.triplet_margin_loss([[1.0, 0]], negative=[[0.0, 0]])
