"""The 0–1 loss, entropy, divergence and mutual information: what the common tests do not see."""

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from companion import losses
from companion.activations import softmax
from companion.backend import array, namespace, to_numpy
from companion.losses import (
    entropy,
    entropy_vjp,
    grad_of,
    information,
    kl_div,
    kl_div_with_logits,
    kl_div_with_logits_grad,
    mutual_information,
    self_information,
    zero_one_loss,
)
from tests.losses.case import check_accuracy
from tests.losses.cases_information import CASES, softmaxes


@pytest.fixture(autouse=True)
def digits():
    with mpmath.workdps(60):
        yield


def held(got, exact, kappa, dtype):
    """Hold one number to 8 (1 + κ) ULP."""
    limits = np.finfo(dtype)
    size = max(abs(exact), float(limits.tiny) * 2**7)
    error = abs(mpmath.mpf(float(got)) - exact) / (size * float(limits.eps))
    assert error <= 8 * (1 + kappa), f"{got} for {exact}: {float(error)} ULP, κ {float(kappa)}"


def exactly(values):
    return [mpmath.mpf(float(v)) for v in values]


# The 0-1 loss -------------------------------------------------------------------------------


def test_zero_one_loss_counts_errors(created):
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal((3, 50, 4)), rng.integers(4, size=50)
    wrong = z.argmax(-1) != t
    got = {r: to_numpy(zero_one_loss(array(z), array(t), reduction=r)) for r in ("sum", "none")}
    assert_array_equal(got["none"], wrong)
    assert_array_equal(got["sum"], wrong.sum(-1))
    assert_allclose(to_numpy(zero_one_loss(array(z), array(t))), wrong.mean(-1))


def test_zero_one_loss_in_a_tie_takes_the_first(created):
    tied = array([[1.0, 1.0], [1.0, 1.0]])
    assert to_numpy(zero_one_loss(tied, array([0, 1]), reduction="none")).tolist() == [0, 1]


def test_zero_one_loss_has_no_gradient():
    assert not hasattr(losses, "zero_one_loss_grad")
    with pytest.raises(ValueError, match="loss must be one of"):
        grad_of(zero_one_loss)


# Self-information and entropy ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_self_information_by_definition(created, dtype):
    p = np.concatenate([10.0 ** np.arange(-37, 0), 1 - 2.0 ** -np.arange(1, 24), [0.3, 1]])
    p = p.astype(np.float32).astype(float)
    got = to_numpy(self_information(array(p, dtype)))
    for x, value in zip(exactly(p), got, strict=True):
        exact = -mpmath.log(x)
        held(value, exact, 1 / exact if exact else 0, dtype)
    assert np.signbit(got).sum() == 0
    assert float(self_information(array([0.0]))[0]) == np.inf


def hard_distributions():
    rng = np.random.default_rng(0)
    p = np.concatenate([softmaxes(rng, (5, 6), s) for s in (0.1, 1, 10, 40)])
    p = np.concatenate([p, np.eye(6)[:1], [[1, 1e-30, 0, 0, 0, 0], 2 * [0.5] + 4 * [0]]])
    return p.astype(np.float32).astype(float)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_entropy_by_definition(created, dtype):
    p = hard_distributions()
    dy = np.arange(1.0, len(p) + 1)
    got = to_numpy(entropy(array(p, dtype)))
    grad = to_numpy(entropy_vjp(array(dy, dtype), array(p, dtype)))
    for i, row in enumerate(p):
        terms = [x * mpmath.log(x) for x in exactly(row) if x]
        exact = -mpmath.fsum(terms)
        slopes = [mpmath.log(x) + 1 if x else -mpmath.inf for x in exactly(row)]
        change = mpmath.fsum(abs(x * s) for x, s in zip(exactly(row), slopes, strict=True) if x)
        held(got[i], exact, change / exact if exact else 0, dtype)
        for g, s in zip(grad[i], slopes, strict=True):
            if mpmath.isinf(s):
                assert g == np.inf
            else:
                held(g, -dy[i] * s, 1 / abs(s), dtype)


def test_entropy_along_any_axis(created):
    p = softmaxes(np.random.default_rng(1), (2, 3, 4))
    want = stats.entropy(p, axis=-1)
    assert_allclose(to_numpy(entropy(array(p))), want, rtol=1e-13)
    moved = array(np.moveaxis(p, -1, 1))
    assert_allclose(to_numpy(entropy(moved, axis=1)), want, rtol=1e-13)
    dy = array(want)
    pulled = to_numpy(entropy_vjp(dy, moved, axis=1))
    assert_allclose(np.moveaxis(pulled, 1, -1), to_numpy(entropy_vjp(dy, array(p))), rtol=1e-13)


def test_entropy_lets_autograd_through():
    p = torch.tensor(softmaxes(np.random.default_rng(1), (3, 4)), requires_grad=True)
    entropy(p).sum().backward()
    assert_allclose(p.grad, entropy_vjp(torch.ones(3, dtype=p.dtype), p.detach()), rtol=1e-12)


def check_no_logarithm_of_zero():
    assert_array_equal(entropy(np.eye(3)), 0)


def test_of_what_is_certain_the_entropy_is_zero():
    check_no_logarithm_of_zero()
    assert not np.signbit(entropy(np.eye(3))).any()


# Divergence ---------------------------------------------------------------------------------


def test_the_reductions_of_torch():
    log_q, p = (torch.tensor(a) for a in CASES["kl_div"].draw(np.random.default_rng(0), ()))
    ours = float(kl_div(log_q, p))
    assert ours == pytest.approx(float(F.kl_div(log_q, p, reduction="batchmean")))
    with pytest.warns(UserWarning, match="batchmean"):
        theirs = float(F.kl_div(log_q, p, reduction="mean"))
    assert ours == pytest.approx(4 * theirs)  # torch divides by n k


def test_divergence_where_probabilities_are_zero(created):
    p, log_q = array([[0.5, 0.5, 0.0]]), array([[np.log(0.5), -np.inf, np.log(0.5)]])
    assert float(kl_div(log_q, p)) == np.inf
    half = np.log([[0.5, 0.5, 1e-300]])
    half[0, 2] = -np.inf
    assert abs(float(kl_div(array(half), p))) < 1e-15  # 0 (log 0 - log 0) = 0
    assert float(kl_div_with_logits(log_q, array(half))) == np.inf
    assert float(kl_div_with_logits(array(half), array(half))) == 0
    masked = array([[0.0, 1.0, -np.inf]])
    want = kl_div_with_logits(masked[:, :2], array([[1.0, 1.0]]))
    both = array([[1.0, 1.0, -np.inf]])
    assert float(kl_div_with_logits(masked, both)) == pytest.approx(float(want), rel=1e-15)
    grad = to_numpy(kl_div_with_logits_grad(masked, both))
    assert_allclose(grad[0], [*to_numpy(softmax(masked))[0, :2] - 0.5, 0], rtol=1e-14)


def test_autograd_passes_a_mask():
    z = torch.tensor([[0.0, 1.0, -torch.inf]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([[1.0, 1.0, -torch.inf]], dtype=torch.float64, requires_grad=True)
    kl_div_with_logits(z, t).backward()
    assert_allclose(z.grad, kl_div_with_logits_grad(z.detach(), t.detach()), rtol=1e-14)
    assert torch.isfinite(t.grad).all()


def nearly_equal():
    rng = np.random.default_rng(0)
    t = rng.standard_normal((40, 10)).astype(np.float32)
    return (t + 1e-4 * rng.standard_normal(t.shape)).astype(np.float32), t


def usual(z, t):
    """Torch's divergence of nearly equal logits."""
    log_p, log_q = (torch.log_softmax(torch.tensor(a), -1) for a in (t, z))
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1).numpy()


def test_nearly_equal_logits_in_float32(created):
    z, t = nearly_equal()
    got = to_numpy(kl_div_with_logits(array(z, "float32"), array(t, "float32"), reduction="none"))
    exact = kl_div_with_logits(z.astype(float), t.astype(float), reduction="none")
    assert_allclose(got, exact, rtol=3e-6)
    assert (got > 0).all()
    assert (usual(z, t) < 0).sum() > 10


def test_equal_logits_have_no_divergence(created):
    z = array(np.random.default_rng(0).standard_normal((5, 4)), "float32")
    assert_array_equal(to_numpy(kl_div_with_logits(z, z, reduction="none")), 0)
    assert_array_equal(to_numpy(kl_div_with_logits_grad(z, z)), 0)
    shifted = to_numpy(kl_div_with_logits(z, z + 8, reduction="none"))
    assert_allclose(shifted, 0, atol=1e-12)


# Mutual information -------------------------------------------------------------------------


def exact_mutual_information(joint):
    p = [exactly(row) for row in joint]
    rows = [mpmath.fsum(r) for r in p]
    columns = [mpmath.fsum(c) for c in zip(*p, strict=True)]
    whole = mpmath.fsum(rows)
    terms, slopes = [], []
    for i, row in enumerate(p):
        for j, x in enumerate(row):
            if x:
                ratio = mpmath.log(x * whole / (rows[i] * columns[j]))
                terms.append(x * ratio)
                slopes.append(x * abs(ratio))
    return mpmath.fsum(terms), mpmath.fsum(slopes)


def joints():
    rng = np.random.default_rng(0)
    p = [softmaxes(rng, 12, s).reshape(3, 4) for s in (0.1, 1, 10)]
    near = np.outer(softmaxes(rng, 3), softmaxes(rng, 4))
    p += [near, near * (1 + 1e-3 * rng.standard_normal((3, 4)))]
    p += [np.eye(3, 4) / 3, np.pad([[1.0]], ((0, 2), (0, 3)))]
    return np.array(p).astype(np.float32).astype(float)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mutual_information_by_definition(created, dtype):
    p = joints()
    got = to_numpy(mutual_information(array(p, dtype)))
    for joint, value in zip(p, got, strict=True):
        exact, change = exact_mutual_information(joint)
        held(value, exact, change / exact if exact else 0, dtype)
    assert (got >= 0).all()


def test_mutual_information_is_symmetric_and_a_sum_of_entropies(created):
    p = joints()
    p = array(p / p.sum((1, 2), keepdims=True))
    xp = namespace(p)
    got = to_numpy(mutual_information(p))
    swapped = to_numpy(mutual_information(xp.moveaxis(p, -1, -2)))
    assert_allclose(got, swapped, rtol=1e-6)  # nearly independent ones have lost digits
    margins = entropy(xp.sum(p, axis=-1)) + entropy(xp.sum(p, axis=-2))
    joint = entropy(xp.reshape(p, (len(got), 12)))
    assert_allclose(got, to_numpy(margins - joint), atol=1e-14)


def test_mutual_information_lets_autograd_through():
    p = torch.tensor(joints()[1], requires_grad=True)
    mutual_information(p).backward()
    rows, columns = p.detach().sum(1, keepdim=True), p.detach().sum(0, keepdim=True)
    want = torch.log(p.detach() / (rows * columns))
    assert_allclose(p.grad - p.grad.mean(), want - want.mean(), atol=1e-7)


# Input --------------------------------------------------------------------------------------


def test_half_precision_adds_up_to_one_well_enough():
    p = softmaxes(np.random.default_rng(0), (20, 50)).astype(np.float16)
    assert entropy(p).dtype == np.float16
    coarse = torch.tensor(p, dtype=torch.bfloat16)
    assert entropy(coarse).dtype == torch.bfloat16
    assert kl_div(torch.log(coarse), coarse).dtype == torch.bfloat16


def test_nothing_is_an_entropy_of_nothing():
    assert entropy(np.zeros((0, 3))).shape == (0,)
    assert self_information([]).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: self_information([0.5, 1.5]), "p must hold probabilities, 0 to 1; got 0.5 to 1.5"),
        (lambda: self_information([-0.5]), "0 to 1; got -0.5"),
        (lambda: entropy([0.5, 0.2]), "p must hold probabilities that sum to 1; got a sum of 0.7"),
        (lambda: entropy([1.5, -0.5]), "p must hold probabilities, 0 or more; got -0.5"),
        (lambda: entropy([1.0], axis=1), "axis must be one of x's 1 axes; got 1"),
        (lambda: entropy_vjp([1.0], [0.5, 0.5]), r"dy must have shape \(\); got \(1,\)"),
        (
            lambda: kl_div([[0.5, 0.5]], [[0.5, 0.5]]),
            "log_q must hold logarithms of probabilities that sum to 1; got a sum of 3.29744",
        ),
        (
            lambda: kl_div(np.log([[0.5, 0.5]]), [[2.0, 3.0]]),
            "target must hold probabilities that sum to 1; got a sum of 5",
        ),
        (
            lambda: kl_div(np.log([[0.5, 0.5]]), [0]),
            r"target must have the shape of log_q, .*; got \(1,\) for \(1, 2\)",
        ),
        (
            lambda: kl_div_with_logits(np.zeros((3, 2)), np.zeros((2, 2))),
            r"target_logits must have the shape of logits, .*; got \(2, 2\) for \(3, 2\)",
        ),
        (lambda: mutual_information([1.0]), r"joint must have shape \(..., a, b\); got \(1,\)"),
        (lambda: mutual_information([[1.0, 1.0]]), "joint must .* sum to 1; got a sum of 2"),
        (lambda: zero_one_loss([[1.0, 0.0]], [2]), "target must hold labels 0 to 1; got 2 to 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Planted mistakes ---------------------------------------------------------------------------


def test_the_logarithm_of_zero_is_caught(monkeypatch):
    monkeypatch.setattr(information, "_times_log", lambda p: p * np.log(p))
    with pytest.raises(AssertionError):
        check_no_logarithm_of_zero()


def test_a_reversed_divergence_is_caught(monkeypatch):
    compared = information._compared
    monkeypatch.setattr(information, "_compared", lambda z, t: compared(t, z))
    with pytest.raises(AssertionError):
        check_accuracy(CASES["kl_div_with_logits"], "float64")


@pytest.mark.parametrize(
    "mistake",
    [
        lambda p, q, log_ratio: p * log_ratio,
        lambda p, q, log_ratio: q - p + p * np.where(p > 0, log_ratio, 0),
    ],
)
def test_terms_that_cancel_are_caught(monkeypatch, mistake):
    monkeypatch.setattr(information, "_excess", mistake)
    with pytest.raises(AssertionError):
        check_accuracy(CASES["kl_div_with_logits"], "float64")


def test_a_gradient_by_subtraction_is_caught(monkeypatch):
    monkeypatch.setattr(information, "_gap", lambda p, q, log_ratio: q - p)
    with pytest.raises(AssertionError):
        check_accuracy(CASES["kl_div_with_logits"], "float64")
