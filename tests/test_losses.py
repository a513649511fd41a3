"""Losses and their derivatives."""

import functools

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose, assert_array_equal

from companion import losses
from companion.activations import softmax
from companion.backend import array, namespace, to_numpy
from companion.losses import cross_entropy, cross_entropy_grad, grad_of, mse_loss, value_and_grad

ALL = {
    "cross_entropy": (cross_entropy, F.cross_entropy),
    "mse_loss": (mse_loss, F.mse_loss),
}


def draw_case(name, lead=()):
    rng = np.random.default_rng(3)
    prediction = array(2 * rng.standard_normal((*lead, 7, 4)))
    if name == "mse_loss":
        return prediction, array(rng.standard_normal((*lead, 7, 4)))
    return prediction, array(rng.integers(4, size=(*lead, 7)))


def core_axes(name):
    return {"axis": (-2, -1)} if name == "mse_loss" else {}


def logits_rows(dtype):
    """Rows of logits from hardly different to saturated, far from 0 too."""
    rng = np.random.default_rng(0)
    rows = [s * rng.standard_normal((40, 5)) + c for s in (1e-3, 1, 10, 100) for c in (0, 30)]
    rows.append([[0.0, 40, 0, -3, 2], [0, 700, 1, 2, 3], [-16, 0, -40, -30, -20], [5, 5, 5, 5, 5]])
    return np.concatenate(rows).astype(dtype)


def ulp_errors(got, exact, dtype):
    eps = float(np.finfo(dtype).eps)
    tiny = float(np.finfo(dtype).tiny) * 2**7
    return np.array(
        [
            float(abs(mpmath.mpf(float(g)) - e) / (max(abs(e), mpmath.mpf(tiny)) * eps))
            for g, e in zip(np.ravel(got), exact, strict=True)
        ]
    )


def check_cross_entropy(dtype):
    """Hold value and gradient to 60 digits: 8 eps on NumPy, 4(1 + κ) eps on torch.

    Twice the largest logit bounds the condition numbers κ.
    """
    z = logits_rows(dtype)
    rows = [(row, t) for row in z for t in range(5)]
    inputs, target = array(np.stack([r for r, _ in rows]), dtype), array([t for _, t in rows])
    value = to_numpy(cross_entropy(inputs, target, reduction="none"))
    grad = to_numpy(cross_entropy_grad(inputs, target, reduction="sum"))
    exact_value, exact_grad = [], []
    with mpmath.workdps(60 + 320):
        for row, t in rows:
            e = [mpmath.exp(mpmath.mpf(float(v))) for v in row]
            total = mpmath.fsum(e)
            exact_value.append(mpmath.log(total / e[t]))
            exact_grad += [(v - total if j == t else v) / total for j, v in enumerate(e)]
    bound = 4 * (1 + 2 * np.abs(z).max(axis=-1)) if isinstance(inputs, torch.Tensor) else 8
    worst_value = ulp_errors(value, exact_value, dtype).reshape(len(z), 5).max(axis=-1)
    worst_grad = ulp_errors(grad, exact_grad, dtype).reshape(len(z), 25).max(axis=-1)
    assert (worst_value <= bound).all(), worst_value.max()
    assert (worst_grad <= bound).all(), worst_grad.max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_is_accurate_everywhere(created, dtype):
    check_cross_entropy(dtype)


def test_torch_loses_what_is_nearly_certain():
    z = torch.tensor([[40.0, 0.0]], dtype=torch.float64, requires_grad=True)
    theirs = F.cross_entropy(z, torch.tensor([0]))
    theirs.backward()
    ours = cross_entropy(z.detach(), [0]), cross_entropy_grad(z.detach(), [0])[0, 0]
    assert theirs.item() == 0
    assert z.grad[0, 0].item() == 0
    assert_allclose([float(v) for v in ours], [np.exp(-40), -np.exp(-40)], rtol=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ALL)
def test_parity_and_gradient(created, name, reduction):
    loss, theirs = ALL[name]
    prediction, target = draw_case(name)
    p = torch.tensor(to_numpy(prediction), requires_grad=True)
    t = torch.tensor(to_numpy(target))
    want = theirs(p, t, reduction=reduction)
    want.sum().backward()
    got = loss(prediction, target, reduction=reduction)
    grad = grad_of(loss)(prediction, target, reduction=reduction)
    assert_allclose(to_numpy(got), want.detach().numpy(), rtol=1e-12)
    assert_allclose(to_numpy(grad), p.grad.numpy(), rtol=1e-12, atol=1e-15)
    if isinstance(prediction, torch.Tensor):  # torch's derivative of our forward
        p.grad = None
        loss(p, t, reduction=reduction).sum().backward()
        assert_allclose(to_numpy(grad), p.grad.numpy(), rtol=1e-12, atol=1e-15)


def check_differences(name):
    """Hold the gradient of the mean to central differences."""
    loss, _ = ALL[name]
    prediction, target = draw_case(name)
    grad = to_numpy(grad_of(loss)(prediction, target))
    p, h = to_numpy(prediction), 1e-6
    for index in np.ndindex(p.shape):
        step = np.zeros_like(p)
        step[index] = h
        up, down = (float(loss(array(p + s), target)) for s in (step, -step))
        assert grad[index] == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_gradient_against_differences(created, name):
    check_differences(name)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ALL)
def test_replicas_equal_a_loop(created, name, reduction, shared):
    loss, _ = ALL[name]
    prediction, target = draw_case(name, (2, 3))
    target = target[0, 0] if shared else target
    options = {"reduction": reduction, **core_axes(name)}
    value = loss(prediction, target, **options)
    grad = grad_of(loss)(prediction, target, **options)
    assert value.shape[:2] == (2, 3)
    for i in np.ndindex(2, 3):
        t = target if shared else target[i]
        one = loss(prediction[i], t, reduction=reduction)
        one_grad = grad_of(loss)(prediction[i], t, reduction=reduction)
        assert_allclose(to_numpy(value[i]), to_numpy(one), rtol=1e-13)
        assert_allclose(to_numpy(grad[i]), to_numpy(one_grad), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ALL)
def test_value_and_gradient_in_one_pass_have_the_same_bits(created, name, reduction, dtype):
    loss, _ = ALL[name]
    rng = np.random.default_rng(5)
    prediction, target = draw_case(name, (2,))
    scales = array(10.0 ** rng.integers(-3, 3, (2, 7, 1)))
    prediction = namespace(prediction).astype(
        prediction * scales, getattr(namespace(prediction), dtype)
    )
    options = {"reduction": reduction, **core_axes(name)}
    both = value_and_grad(functools.partial(loss, **options))
    value, grad = both(prediction, target)
    assert value.dtype == grad.dtype == prediction.dtype
    assert_array_equal(to_numpy(value), to_numpy(loss(prediction, target, **options)))
    assert_array_equal(to_numpy(grad), to_numpy(grad_of(loss)(prediction, target, **options)))


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


def test_a_partial_keeps_its_options():
    loss = functools.partial(mse_loss, reduction="sum")
    assert_array_equal(grad_of(loss)(np.array([3.0]), np.array([1.0])), [4.0])


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
        (
            lambda: cross_entropy(np.zeros((1, 2)), [0], reduction="x"),
            ValueError,
            "'none'; got 'x'",
        ),
        (lambda: mse_loss(np.zeros((3, 1)), np.zeros(3)), ValueError, r"got \(3,\) for \(3, 1\)"),
        (lambda: mse_loss(["a"], [1.0]), TypeError, "prediction must be real"),
        (lambda: grad_of(max), ValueError, "loss must be one of cross_entropy, mse_loss; got"),
        (lambda: value_and_grad(max), ValueError, "loss must be one of cross_entropy, mse_loss"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Planted mistakes ---------------------------------------------------------------------------


def test_the_plain_logsumexp_is_caught(monkeypatch):
    def plain(log_own, own, rest, reduction):
        return namespace(own).log(own + rest) - log_own

    monkeypatch.setattr(losses, "_cross_entropy", plain)
    with pytest.raises(AssertionError):
        check_cross_entropy("float64")


def test_a_gradient_by_subtraction_is_caught(monkeypatch):
    def subtracted(z, target, *, reduction):
        return softmax(z) - array(np.eye(z.shape[-1]))[target]

    monkeypatch.setattr("tests.test_losses.cross_entropy_grad", subtracted)
    with pytest.raises(AssertionError):
        check_cross_entropy("float64")


@pytest.mark.parametrize("name", ALL)
def test_a_gradient_without_the_mean_is_caught(monkeypatch, name):
    monkeypatch.setattr(losses, "_count", lambda reduction, count: 1)
    with pytest.raises(AssertionError):
        check_differences(name)
