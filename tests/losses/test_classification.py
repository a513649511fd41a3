"""Cross-entropy: what the common tests do not see."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose

from companion.backend import array, namespace, to_numpy
from companion.losses import base, classification, cross_entropy, cross_entropy_grad
from tests.losses.case import check_accuracy
from tests.losses.cases_classification import CASES


def test_torch_loses_what_is_nearly_certain():
    z = torch.tensor([[40.0, 0.0]], dtype=torch.float64, requires_grad=True)
    theirs = F.cross_entropy(z, torch.tensor([0]))
    theirs.backward()
    ours = cross_entropy(z.detach(), [0]), cross_entropy_grad(z.detach(), [0])[0, 0]
    assert theirs.item() == 0
    assert z.grad[0, 0].item() == 0
    assert_allclose([float(v) for v in ours], [np.exp(-40), -np.exp(-40)], rtol=1e-15)


def test_infinite_logits(created):
    z = array([[0.0, -np.inf, 1.0]])
    assert float(cross_entropy(z, array([0]))) == pytest.approx(np.log(1 + np.e))
    assert float(cross_entropy(z, array([1]))) == np.inf
    assert to_numpy(cross_entropy_grad(z, array([0])))[0, 1] == 0
    assert np.isnan(float(cross_entropy(array([[np.nan, 0.0]]), array([0]))))


def test_inputs_are_taken_as_they_come():
    assert cross_entropy([[0, 0]], [1]) == pytest.approx(np.log(2))
    assert cross_entropy(np.zeros((1, 2), "float16"), [1]).dtype == np.float16
    z = np.zeros((3, 2))
    z.flags.writeable = False
    cross_entropy_grad(z[::2], np.array([0, 1], dtype="uint8"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cross_entropy(np.zeros((3, 2)), [0, 1]), ValueError, r"\(3, 2\) and \(2,\)"),
        (
            lambda: cross_entropy(np.zeros(2), 0),
            ValueError,
            r"logits must have shape \(..., n, k\)",
        ),
        (lambda: cross_entropy(np.zeros((1, 2)), [0.0]), TypeError, "integer labels; got dtype fl"),
        (lambda: cross_entropy(np.zeros((2, 2)), [0, 2]), ValueError, "labels 0 to 1; got 0 to 2"),
        (lambda: cross_entropy(np.zeros((1, 2)), [-1]), ValueError, "labels 0 to 1; got -1 to -1"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Planted mistakes ---------------------------------------------------------------------------


def test_the_plain_logsumexp_is_caught(monkeypatch):
    def plain(log_own, own, rest, reduction):
        return base.reduced(namespace(own).log(own + rest) - log_own, reduction, -1)

    monkeypatch.setattr(classification, "_cross_entropy", plain)
    with pytest.raises(AssertionError):
        check_accuracy(CASES["cross_entropy"], "float64")


def test_a_gradient_by_subtraction_is_caught(monkeypatch):
    def subtracted(own, rest, others, at, reduction):
        hit = namespace(others).arange(5, device=others.device) == array(HARD)[:, None]
        p = namespace(others).where(hit, own[:, None], others) / (own + rest)[:, None]
        return p - namespace(p).astype(hit, p.dtype)

    HARD = CASES["cross_entropy"].hard()[1]
    monkeypatch.setattr(classification, "_cross_entropy_grad", subtracted)
    with pytest.raises(AssertionError):
        check_accuracy(CASES["cross_entropy"], "float64")
