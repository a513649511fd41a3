"""Focal losses, class weights, logit adjustment and Dice: what the common tests do not see."""

from dataclasses import replace
from functools import partial

import mpmath
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from companion.backend import array, compiled, to_numpy
from companion.losses import (
    class_balanced_weights,
    cross_entropy,
    dice_loss,
    imbalance,
    logit_adjusted_cross_entropy,
    logit_adjusted_cross_entropy_grad,
    sigmoid_focal_loss,
    sigmoid_focal_loss_grad,
    softmax_focal_loss,
    softmax_focal_loss_grad,
    value_and_grad,
)
from tests.losses.case import check_accuracy
from tests.losses.cases_imbalance import (
    CASES,
    WEIGHTS,
    exact_sigmoid_focal,
    exact_softmax_focal,
    hard_binary,
    torchvision_focal,
)

GAMMAS = [0.0, 0.5, 1.0, 5.0]  # 2 is the default, which the common tests take


def binary(gamma, alpha=0.25, targets=(0, 1)):
    """Return the case of the sigmoid focal loss with other options."""
    return replace(
        CASES["sigmoid_focal_loss"],
        loss=partial(sigmoid_focal_loss, gamma=gamma, alpha=alpha),
        exact=partial(exact_sigmoid_focal, gamma=gamma, alpha=alpha),
        hard=partial(hard_binary, targets),
    )


#: Soft targets; 0.7 has its root where the two terms of the derivative cancel
SOFT = {gamma: binary(gamma, targets=(0.001, 0.5, 0.5001, 0.7)) for gamma in (0.0, 0.5, 2.0)}
HARD = {gamma: binary(gamma) for gamma in GAMMAS}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_sigmoid_focal_loss_is_accurate_for_every_exponent(created, gamma, dtype):
    check_accuracy(HARD[gamma], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gamma", SOFT)
def test_sigmoid_focal_loss_is_accurate_for_soft_targets(created, gamma, dtype):
    check_accuracy(SOFT[gamma], dtype)


def few_logits():
    return tuple(a[::3] for a in CASES["softmax_focal_loss"].hard())


SOFTMAX = {
    gamma: replace(
        CASES["softmax_focal_loss"],
        loss=partial(softmax_focal_loss, gamma=gamma, alpha=WEIGHTS),
        exact=partial(exact_softmax_focal, gamma=gamma),
        hard=few_logits,
    )
    for gamma in GAMMAS
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_softmax_focal_loss_is_accurate_for_every_exponent(created, gamma, dtype):
    check_accuracy(SOFTMAX[gamma], dtype)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [0.25, 0.9, 0.0, -1, None])
def test_torchvision(created, gamma, alpha):
    rng = np.random.default_rng(0)
    x, y = 2 * rng.standard_normal(200), rng.random(200)
    y[:150] = y[:150] < 0.5
    theirs = torch.tensor(x, requires_grad=True)
    want = torchvision_focal(theirs, torch.tensor(y), -1 if alpha is None else alpha, gamma)
    want.sum().backward()
    got = sigmoid_focal_loss(array(x), array(y), alpha=alpha, gamma=gamma, reduction="none")
    slope = sigmoid_focal_loss_grad(array(x), array(y), alpha=alpha, gamma=gamma, reduction="sum")
    assert_allclose(to_numpy(got), want.detach().numpy(), rtol=1e-10)
    assert_allclose(to_numpy(slope), theirs.grad.numpy(), rtol=1e-10, atol=1e-13)


def test_torchvision_gives_0_and_nan_where_the_loss_is_a_normal_number():
    x, y = torch.tensor([17.5], requires_grad=True), torch.ones(1)
    theirs = torchvision_focal(x, y, gamma=0.5)
    theirs.backward()
    assert theirs.item() == 0
    assert torch.isnan(x.grad).all()
    ours = sigmoid_focal_loss(x.detach(), y, gamma=0.5).item()
    assert ours == pytest.approx(float(exact_sigmoid_focal([mpmath.mpf(17.5)], 1, gamma=0.5)))
    assert sigmoid_focal_loss_grad(x.detach(), y, gamma=0.5).item() < -1e-12


@pytest.mark.parametrize("value", [0.0, -0.0])
def test_torch_derivative_at_0(value):
    for y in (0.0, 1.0, 0.5, 0.3):
        x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
        sigmoid_focal_loss(x, torch.tensor([y], dtype=torch.float64)).backward()
        ours = sigmoid_focal_loss_grad(np.array([value]), np.array([y]))
        assert_allclose(x.grad.numpy(), ours, rtol=1e-14, atol=1e-16)


def test_without_focus_both_are_cross_entropy(created):
    z, t = (array(a) for a in CASES["softmax_focal_loss"].draw(np.random.default_rng(0), ()))
    got = softmax_focal_loss(z, t, gamma=0.0, reduction="none")
    want = cross_entropy(z, t, reduction="none")
    assert_allclose(to_numpy(got), to_numpy(want), rtol=1e-15)
    two = softmax_focal_loss(z[:, :2], t % 2, reduction="none")
    one = sigmoid_focal_loss(z[:, 1] - z[:, 0], t % 2, alpha=None, reduction="none")
    assert_allclose(to_numpy(two), to_numpy(one), rtol=1e-13)


def test_infinite_logits(created):
    x, y = array([np.inf, -np.inf, np.inf, -np.inf, np.nan]), array([1.0, 0, 0, 1, 1])
    both = value_and_grad(partial(sigmoid_focal_loss, alpha=None, reduction="none"))(x, y)
    value, slope = (to_numpy(a) for a in both)
    assert_array_equal(value, [0, 0, np.inf, np.inf, np.nan])
    assert_array_equal(slope, [0, 0, 1, -1, np.nan])
    z = array([[0.0, -np.inf, 1.0]])
    assert float(softmax_focal_loss(z, array([1]))) == np.inf
    assert to_numpy(softmax_focal_loss_grad(z, array([0])))[0, 1] == 0


def test_blocks_give_what_the_whole_gives(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 50, 7)), rng.random((50, 7))
    both = value_and_grad(partial(sigmoid_focal_loss, axis=(1, 2), reduction="none"))
    want = both(x, y)
    monkeypatch.setattr("companion.backend.BLOCK", 128)
    for got in (both(x, y), both(np.asfortranarray(x), y)):
        for a, b in zip(got, want, strict=True):
            assert_allclose(a, b, rtol=1e-14)


def test_compiled_in_one_graph(compiler):
    x, y = torch.linspace(-3, 3, 20).reshape(4, 5), torch.ones(4, 5)
    t = torch.arange(4)

    def all_of_them(x):
        losses = ((sigmoid_focal_loss, y), (softmax_focal_loss, t), (dice_loss, y))
        return [part for loss, target in losses for part in value_and_grad(loss)(x, target)]

    for got, want in zip(compiled(all_of_them)(x), all_of_them(x), strict=True):
        assert_allclose(got.numpy(), want.numpy(), rtol=1e-5)


# Class weights ------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 1 - 2.0**-40])
def test_class_balanced_weights(created, beta):
    counts = [1, 2, 100, 10**6, 10**12]
    with mpmath.workdps(60):
        plain = [(1 - mpmath.mpf(beta)) / (1 - mpmath.mpf(beta) ** n) for n in counts]
        want = [float(5 * w / mpmath.fsum(plain)) for w in plain]
    got = to_numpy(class_balanced_weights(array(counts), beta))
    assert_allclose(got, want, rtol=1e-14 if got.dtype == np.float64 else 1e-6)
    assert_allclose(got.sum(), 5, rtol=1e-6)


def test_class_balanced_weights_between_alike_and_inverse():
    counts = np.array([[10, 1000], [3, 5]])
    assert_array_equal(class_balanced_weights(counts, 0.0), np.ones((2, 2)))
    inverse = 1 / counts
    inverse *= 2 / inverse.sum(-1, keepdims=True)
    assert_allclose(class_balanced_weights(counts, 1 - 1e-12), inverse, rtol=1e-8)


# Logit adjustment ---------------------------------------------------------------------------


def test_logit_adjustment_from_counts_or_prior(created):
    z, t = (array(a) for a in CASES["softmax_focal_loss"].draw(np.random.default_rng(0), ()))
    counts = np.array([50, 20, 20, 9, 1])
    got = logit_adjusted_cross_entropy(z, t, counts=counts, tau=0.5)
    shifted = z + array(0.5 * np.log(counts / 100))
    assert float(got) == pytest.approx(float(cross_entropy(shifted, t)), rel=1e-14)
    prior = {"log_prior": np.log(counts) + 3, "tau": 0.5}
    assert float(logit_adjusted_cross_entropy(z, t, **prior)) == pytest.approx(float(got))
    slopes = [
        to_numpy(logit_adjusted_cross_entropy_grad(z, t, **options))
        for options in (prior, {"counts": array(counts), "tau": 0.5})
    ]
    assert_allclose(*slopes, rtol=1e-12)


# Dice ---------------------------------------------------------------------------------------


def test_dice_of_known_masks():
    x = np.array([[[40.0, 40], [-40, -40]], [[-40, -40], [-40, -40]]])
    y = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]]])
    assert_allclose(dice_loss(x, y, reduction="none"), [2 / 5, 0], atol=1e-15)
    assert_allclose(dice_loss(x, y, smooth=0.0, reduction="none"), [1 / 2, 1], atol=1e-15)
    replicas = dice_loss(np.stack([x, -x]), y, axis=(1, 2, 3))
    assert_allclose(replicas, [dice_loss(x, y), dice_loss(-x, y)])
    turned = dice_loss(np.moveaxis(x, 0, -1), np.moveaxis(y, 0, -1), axis=(-1, 0, 1))
    assert_allclose(turned, dice_loss(x, y))


def test_a_nearly_right_mask_keeps_its_small_loss():
    p, y = 1 / (1 + np.exp(-np.array([40.0, -40]))), np.array([1.0, 0])
    assert 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1) < 1e-17
    assert dice_loss([[40.0, -40]], [[1, 0]]) == pytest.approx(2 * np.exp(-40) / 3, rel=1e-14)


# Bad input ----------------------------------------------------------------------------------

X, Z = np.zeros((2, 3)), np.zeros((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sigmoid_focal_loss(X, [0, 1]), ValueError, r"target .* got \(2,\) for \(2, 3\)"),
        (lambda: sigmoid_focal_loss(X, X + 1.5), ValueError, "from 0 to 1; got 1.5 to 1.5"),
        (lambda: sigmoid_focal_loss(X, X + np.nan), ValueError, "from 0 to 1; got nan"),
        (lambda: sigmoid_focal_loss(X, X, alpha=1.5), ValueError, "alpha must be from 0 to 1"),
        (lambda: sigmoid_focal_loss(X, X, gamma=-1.0), ValueError, "gamma must be .* got -1.0"),
        (lambda: softmax_focal_loss(Z, [0, 1], gamma=np.nan), ValueError, "gamma .* got nan"),
        (lambda: softmax_focal_loss(Z, [0, 3]), ValueError, "labels 0 to 2; got 0 to 3"),
        (lambda: softmax_focal_loss(Z, [0, 1.0]), TypeError, "integer labels"),
        (lambda: softmax_focal_loss(Z, [0, 1], alpha=[1, 1]), ValueError, r"shape \(3,\); got"),
        (lambda: softmax_focal_loss(Z, [0, 1], alpha=[1, -1, 1]), ValueError, "no negative weight"),
        (lambda: class_balanced_weights([3, 0]), ValueError, "counts must be positive"),
        (lambda: class_balanced_weights(3), ValueError, "got a number"),
        (lambda: class_balanced_weights([3], beta=1.0), ValueError, "beta must be .* got 1.0"),
        (lambda: logit_adjusted_cross_entropy(Z, [0, 1]), ValueError, "got neither"),
        (
            lambda: logit_adjusted_cross_entropy(Z, [0, 1], counts=X[0], log_prior=X[0]),
            ValueError,
            "got both",
        ),
        (
            lambda: logit_adjusted_cross_entropy(Z, [0, 1], counts=[1, 2]),
            ValueError,
            r"counts must have shape \(3,\)",
        ),
        (
            lambda: logit_adjusted_cross_entropy(Z, [0, 1], log_prior=[0, 0, -np.inf]),
            ValueError,
            "log_prior must be finite",
        ),
        (lambda: dice_loss(X[0], X[0]), ValueError, r"at least one of a mask; got shape \(3,\)"),
        (lambda: dice_loss(X, X, axis=1), ValueError, "axis=1"),
        (lambda: dice_loss(X, X, axis=(0, 2)), ValueError, "axis must be"),
        (lambda: dice_loss(X, X - 1), ValueError, "from 0 to 1; got -1.0"),
        (lambda: dice_loss(X, X, smooth=-1.0), ValueError, "smooth must be .* got -1.0"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Planted mistakes ---------------------------------------------------------------------------


def caught(case):
    with pytest.raises(AssertionError):
        check_accuracy(case, "float64")


def changed_terms(monkeypatch, change):
    """Let `change` have the last word on what the focal loss is made of."""
    right = imbalance._terms

    def wrong(x, y, alpha, gamma):
        return change(right, x, y, alpha, gamma)

    monkeypatch.setattr(imbalance, "_terms", wrong)


def test_alpha_on_the_wrong_class_is_caught(monkeypatch):
    changed_terms(monkeypatch, lambda f, x, y, alpha, gamma: f(x, y, 1 - alpha, gamma))
    caught(CASES["sigmoid_focal_loss"])


def test_the_exponent_on_p_t_is_caught(monkeypatch):
    def on_p_t(f, x, y, alpha, gamma):
        entropy, _, *others = f(x, y, alpha, gamma)
        return entropy, f(x, 1 - y, 1 - alpha, gamma)[1], *others

    changed_terms(monkeypatch, on_p_t)
    caught(CASES["sigmoid_focal_loss"])


def test_a_derivative_without_that_of_the_factor_is_caught(monkeypatch):
    right = imbalance._focal_gradient
    monkeypatch.setattr(imbalance, "_focal_gradient", lambda gamma, *a: right(0.0, *a))
    caught(CASES["sigmoid_focal_loss"])


def test_a_power_of_the_rounded_complement_is_caught(monkeypatch):
    def rounded(f, x, y, alpha, gamma):
        entropy, _, *others = f(x, y, alpha, gamma)
        p = 1 / (1 + np.exp(-x))
        factor = (1 - (p * y + (1 - p) * (1 - y))) ** gamma
        return entropy, factor * (alpha * y + (1 - alpha) * (1 - y)), *others

    changed_terms(monkeypatch, rounded)
    caught(CASES["sigmoid_focal_loss"])


def test_a_difference_that_cancels_is_caught(monkeypatch):
    def plain(gamma, count, entropy, scale, s, a, w, t, against):
        n = t / (1 + t)
        second = (2 * w - 1) * n * np.clip(entropy, 0, 1e5) / against
        return s * scale * (w - n + gamma * second) / count

    monkeypatch.setattr(imbalance, "_focal_gradient", plain)
    caught(SOFT[2.0])


def test_softmax_focal_without_the_derivative_of_the_factor_is_caught(monkeypatch):
    right = imbalance._softmax_focal

    def wrong(logits, target, gamma, alpha):
        loss, _, *others = right(logits, target, gamma, alpha)
        entropy = right(logits, target, 0.0, None)[0]
        return loss, loss / entropy, *others

    monkeypatch.setattr(imbalance, "_softmax_focal", wrong)
    caught(SOFTMAX[1.0])


def test_logit_adjustment_with_the_wrong_sign_is_caught(monkeypatch):
    right = imbalance._adjusted
    monkeypatch.setattr(imbalance, "_adjusted", lambda z, p, c, tau: right(z, p, c, -tau))
    with pytest.raises(AssertionError):
        test_logit_adjustment_from_counts_or_prior(None)


def test_dice_as_one_minus_a_ratio_is_caught(monkeypatch):
    def ratio(missed, common, axes, reduction):
        return 1 - (common / (missed + common))[..., 0]

    monkeypatch.setattr(imbalance, "_dice_value", ratio)
    caught(CASES["dice_loss"])


def test_dice_with_squares_in_the_denominator_is_caught(monkeypatch):
    right = imbalance._overlap

    def squares(x, target, smooth, axes):
        y, missed, common = right(x, target, smooth, axes)
        p = 1 / (1 + np.exp(-x))
        return y, missed - (p - p * p + y - y * y).sum(-1, keepdims=True), common

    monkeypatch.setattr(imbalance, "_overlap", squares)
    caught(CASES["dice_loss"])
