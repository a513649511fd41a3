"""What every loss is held to; the cases are in the files beside this one."""

import functools
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion.backend import array, is_torch, namespace, to_numpy
from companion.losses import grad_of, value_and_grad
from tests.losses.case import Case, check_accuracy

CASES: dict[str, Case] = {}
for file in sorted(Path(__file__).parent.glob("cases_*.py")):
    CASES |= import_module(f"tests.losses.{file.stem}").CASES

every = pytest.mark.parametrize("name", CASES)
reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


def drawn(case, lead=()):
    return tuple(array(a) for a in case.draw(np.random.default_rng(3), lead))


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accuracy(created, name, dtype):
    check_accuracy(CASES[name], dtype)


def check_parity(case, reduction):
    """Hold value and gradient to those of the peer, and the gradient to torch's of our value."""
    prediction, target = drawn(case)
    got = case.loss(prediction, target, reduction=reduction)
    grad = grad_of(case.loss)(prediction, target, reduction=reduction)
    p, t = torch.tensor(to_numpy(prediction), requires_grad=True), torch.tensor(to_numpy(target))
    if case.peer is not None:
        want = case.peer(p, t, reduction=reduction)
        want.sum().backward()
        assert_allclose(to_numpy(got), want.detach().numpy(), rtol=1e-10)
        assert_allclose(to_numpy(grad), p.grad.numpy(), rtol=1e-10, atol=1e-14)
    if is_torch(prediction):  # torch's derivative of our forward
        p.grad = None
        case.loss(p, t, reduction=reduction).sum().backward()
        assert_allclose(to_numpy(grad), p.grad.numpy(), rtol=1e-10, atol=1e-14)


@reductions
@every
def test_parity_and_gradient(created, name, reduction):
    check_parity(CASES[name], reduction)


def check_differences(case):
    """Hold the gradient of the mean to central differences."""
    prediction, target = drawn(case)
    grad = to_numpy(grad_of(case.loss)(prediction, target))
    p, h = to_numpy(prediction), 1e-6
    for index in np.ndindex(p.shape):
        step = np.zeros_like(p)
        step[index] = h
        up, down = (float(case.loss(array(p + s), target)) for s in (step, -step))
        assert grad[index] == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-8)


@every
def test_gradient_against_differences(created, name):
    check_differences(CASES[name])


@pytest.mark.parametrize("shared", [False, True])
@reductions
@every
def test_replicas_equal_a_loop(created, name, reduction, shared):
    case = CASES[name]
    prediction, target = drawn(case, (2, 3))
    target = target[0, 0] if shared else target
    options = {"reduction": reduction, **case.axes(prediction, 2)}
    value = case.loss(prediction, target, **options)
    grad = grad_of(case.loss)(prediction, target, **options)
    assert value.shape[:2] == (2, 3)
    for i in np.ndindex(2, 3):
        t = target if shared else target[i]
        one = case.loss(prediction[i], t, reduction=reduction)
        one_grad = grad_of(case.loss)(prediction[i], t, reduction=reduction)
        assert_allclose(to_numpy(value[i]), to_numpy(one), rtol=1e-13)
        assert_allclose(to_numpy(grad[i]), to_numpy(one_grad), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@reductions
@every
def test_value_and_gradient_in_one_pass_have_the_same_bits(created, name, reduction, dtype):
    case = CASES[name]
    prediction, target = drawn(case, (2,))
    prediction = namespace(prediction).astype(prediction, getattr(namespace(prediction), dtype))
    options = {"reduction": reduction, **case.axes(prediction, 1)}
    value, grad = value_and_grad(functools.partial(case.loss, **options))(prediction, target)
    assert value.dtype == grad.dtype == prediction.dtype
    assert_array_equal(to_numpy(value), to_numpy(case.loss(prediction, target, **options)))
    same = grad_of(case.loss)(prediction, target, **options)
    assert_array_equal(to_numpy(grad), to_numpy(same))


@every
def test_inputs_are_left_alone_in_any_layout(name):
    case = CASES[name]
    prediction, target = case.draw(np.random.default_rng(3), ())
    wide = np.asfortranarray(np.repeat(prediction, 2, axis=0))
    for a in (wide, target):
        a.flags.writeable = False
    want = value_and_grad(case.loss)(prediction, target)
    got = value_and_grad(case.loss)(wide[::2], target)
    for a, b in zip(got, want, strict=True):
        assert_allclose(a, b, rtol=1e-13, atol=1e-300)


@every
def test_array_api_strict(name):
    import array_api_strict as strict

    case = CASES[name]
    prediction, target = case.draw(np.random.default_rng(3), ())
    want = value_and_grad(case.loss)(prediction, target)
    got = value_and_grad(case.loss)(strict.asarray(prediction), strict.asarray(target))
    for a, b in zip(got, want, strict=True):
        assert_allclose(np.asarray(a), b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", [max, functools.partial(max)])
def test_an_unknown_loss_is_named(loss):
    for find in (grad_of, value_and_grad):
        with pytest.raises(
            ValueError, match=r"loss must be one of .*cross_entropy, .*mse_loss.*; got"
        ):
            find(loss)


@every
def test_a_wrong_reduction_is_named(name):
    case = CASES[name]
    for f in (case.loss, grad_of(case.loss)):
        with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none'; got 'x'"):
            f(*case.draw(np.random.default_rng(3), ()), reduction="x")


def test_a_gradient_without_the_mean_is_caught(monkeypatch):
    for module in ("classification", "regression"):
        monkeypatch.setattr(f"companion.losses.{module}.divisor", lambda reduction, count: 1)
    for name in ("cross_entropy", "mse_loss"):
        with pytest.raises(AssertionError):
            check_differences(CASES[name])
