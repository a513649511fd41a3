"""Losses of real-valued predictions: what the common tests do not see."""

import functools
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose, assert_array_equal

from companion import losses
from companion.activations import log_softmax
from companion.backend import array, clip, namespace, to_numpy
from companion.losses import (
    bin_mean,
    bin_probabilities,
    cross_entropy,
    gaussian_nll_loss,
    gaussian_nll_loss_grad,
    gaussian_nll_loss_grad_var,
    gaussian_nll_loss_with_log_var,
    grad_of,
    huber_loss,
    l1_loss,
    log_cosh_loss,
    mse_loss,
    quantile_loss,
    regression,
    smooth_l1_loss,
    value_and_grad,
)
from tests.losses.case import check_accuracy
from tests.losses.cases_regression import CASES, nll
from tests.losses.test_every import check_differences

OF_ERROR = (mse_loss, l1_loss, smooth_l1_loss, huber_loss, log_cosh_loss, quantile_loss)


def slope(loss, error):
    """Return the derivative of a loss at errors."""
    return to_numpy(grad_of(loss)(array(error), array(np.zeros(len(error))), reduction="sum"))


def each(loss, error):
    return to_numpy(loss(array(error), array(np.zeros(len(error))), reduction="none"))


def test_a_partial_keeps_its_options():
    loss = functools.partial(mse_loss, reduction="sum")
    assert_array_equal(grad_of(loss)(np.array([3.0]), np.array([1.0])), [4.0])


# Conventions --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", OF_ERROR)
def test_a_prediction_that_is_right_is_left_alone(created, loss):
    assert each(loss, [0.0, -0.0]).tolist() == [0, 0]
    assert slope(loss, [0.0, -0.0]).tolist() == [0, 0]


def test_the_slope_where_the_parabola_ends(created):
    assert slope(functools.partial(smooth_l1_loss, beta=0.25), [-0.25, 0.25]).tolist() == [-1, 1]
    assert slope(functools.partial(huber_loss, delta=0.25), [-0.25, 0.25]).tolist() == [-0.25, 0.25]
    assert each(functools.partial(smooth_l1_loss, beta=0.25), [-0.25, 0.25]).tolist() == [0.125] * 2


def test_torch_autograd_keeps_the_conventions():
    for loss in OF_ERROR:
        errors = torch.tensor([0.0, 1.0, -1.0, 20.0, -20.0], requires_grad=True)
        loss(errors, torch.zeros(5), reduction="sum").backward()
        want = grad_of(loss)(errors.detach(), torch.zeros(5), reduction="sum")
        assert_allclose(errors.grad, want, rtol=1e-6)


@pytest.mark.parametrize("loss", OF_ERROR)
def test_infinite_errors_and_nan(created, loss):
    assert each(loss, [-np.inf, np.inf]).tolist() == [np.inf, np.inf]
    assert (np.sign(slope(loss, [-np.inf, np.inf])) == [-1, 1]).all()
    assert np.isnan(each(loss, [np.nan])).all()
    assert np.isnan(slope(loss, [np.nan])).all()


def test_hubers_loss_is_a_multiple_of_smooth_l1(created):
    errors = np.linspace(-5, 5, 41)
    for delta in (0.5, 1.0, 2.0):
        huber = functools.partial(huber_loss, delta=delta)
        smooth = functools.partial(smooth_l1_loss, beta=delta)
        assert_allclose(each(huber, errors), delta * each(smooth, errors), rtol=1e-14)
        assert_allclose(slope(huber, errors), delta * slope(smooth, errors), rtol=1e-14)


def test_a_quantile_of_a_half_is_half_of_l1(created):
    errors = np.linspace(-5, 5, 41)
    assert_array_equal(each(quantile_loss, errors), each(l1_loss, errors) / 2)


def test_which_side_of_a_quantile_costs():
    below = quantile_loss([0.0], [1.0], quantile=0.9)
    assert below == pytest.approx(0.9), "a prediction below the 0.9-quantile's target costs most"


def test_torch_loses_digits_of_a_small_smooth_l1():
    error = torch.tensor([3e-22], dtype=torch.float32)
    options = {"beta": 1e-6}
    right = float(error) ** 2 / 2e-6  # of 4.5e-38, and the square is 9e-44
    theirs = F.smooth_l1_loss(error, 0 * error, **options)
    assert abs(float(theirs) / right - 1) > 1e-3
    assert float(smooth_l1_loss(error, 0 * error, **options)) == pytest.approx(right, rel=1e-6)


def test_the_usual_log_cosh_has_no_digits_of_a_small_loss():
    error = 1e-9
    usual = error + np.log1p(np.exp(-2 * error)) - np.log(2)
    ours = float(log_cosh_loss([error], [0.0]))
    assert abs(usual / 5e-19 - 1) > 0.9
    assert ours == pytest.approx(5e-19, rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_one_graph(name):
    case = CASES[name]
    p, t = (torch.tensor(a) for a in case.draw(np.random.default_rng(0), ()))
    both = value_and_grad(case.loss)
    found = torch.compile(both, fullgraph=True, backend="eager")(p, t)
    for got, want in zip(found, both(p, t), strict=True):
        assert_array_equal(got, want)


def test_one_graph_with_a_variance():
    e, v = (torch.tensor(a) for a in hard_variances())
    both = value_and_grad(gaussian_nll_loss)
    found = torch.compile(both, fullgraph=True, backend="eager")(e, 0 * e, v)
    for got, want in zip(found, both(e, 0 * e, v), strict=True):
        assert_array_equal(got, want)


# The Gaussian with its variance -------------------------------------------------------------


def hard_variances():
    rng = np.random.default_rng(0)
    error = np.concatenate([[0, 1e-15, 1e-15, 1e15, 3], rng.normal(size=40)]).astype(np.float32)
    var = np.concatenate([[1e-8, 1e-25, 1, 1e25, 9], rng.exponential(size=40)]).astype(np.float32)
    return error, var


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accuracy_with_a_variance(created, dtype):
    error, var = hard_variances()
    e, v = array(error, dtype), array(var, dtype)
    value = gaussian_nll_loss(e, 0 * e, v, reduction="none")
    slopes = [
        g(e, 0 * e, v, reduction="sum")
        for g in (gaussian_nll_loss_grad, gaussian_nll_loss_grad_var)
    ]
    eps = np.finfo(dtype).eps
    with mpmath.workdps(60):
        for i, (x, s) in enumerate(zip(error.tolist(), var.tolist(), strict=True)):
            x, s = mpmath.mpf(x), mpmath.mpf(s)
            log, ratio = mpmath.log(s), x * x / s
            # each is held to 8 ULP of the larger of the two terms that it is the sum of
            exact = [
                ((log + ratio) / 2, abs(log) + ratio),
                (x / s, abs(x / s)),
                ((1 - ratio) / s / 2, (1 + ratio) / s),
            ]
            for got, (want, size) in zip((value, *slopes), exact, strict=True):
                assert abs(float(got[i]) - want) <= 8 * eps * size, (x, s)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_parity_with_a_variance(created, reduction, full):
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), rng.exponential(size=(5, 3))
    options = {"reduction": reduction, "full": full}
    p, t, v = (torch.tensor(a) for a in arrays)
    p.requires_grad_()
    v.requires_grad_()
    want = F.gaussian_nll_loss(p, t, v, **options)
    want.sum().backward()
    ours = [array(a) for a in arrays]
    assert_allclose(to_numpy(gaussian_nll_loss(*ours, **options)), want.detach(), rtol=1e-12)
    found = [gaussian_nll_loss_grad(*ours, **options), gaussian_nll_loss_grad_var(*ours, **options)]
    for got, tensor in zip(found, (p, v), strict=True):
        assert_allclose(to_numpy(got), tensor.grad, rtol=1e-12)
        tensor.grad = None
    gaussian_nll_loss(p, t, v, **options).sum().backward()
    for got, tensor in zip(found, (p, v), strict=True):
        assert_allclose(to_numpy(got), tensor.grad, rtol=1e-12)


def test_replicas_with_a_variance(created):
    rng = np.random.default_rng(0)
    p, t, v = array(rng.normal(size=(2, 5))), array(rng.normal(size=5)), array(np.ones(5))
    assert tuple(gaussian_nll_loss(p, t, v, axis=-1).shape) == (2,)
    assert gaussian_nll_loss_grad_var(p, t, v, axis=-1).shape == p.shape
    assert value_and_grad(gaussian_nll_loss)(p, t, v)[1].shape == p.shape


def test_torch_does_not_believe_a_small_variance():
    p, t, v = torch.tensor([1e-4]), torch.tensor([0.0]), torch.tensor([1e-8])
    assert float(F.gaussian_nll_loss(p, t, v)) == pytest.approx((np.log(1e-6) + 1e-2) / 2, rel=1e-5)
    assert float(gaussian_nll_loss(p, t, v)) == pytest.approx((np.log(1e-8) + 1) / 2, rel=1e-5)


def test_the_two_forms_of_the_variance_agree(created):
    p, t = CASES["gaussian_nll_loss_with_log_var"].draw(np.random.default_rng(0), ())
    var = array(np.exp(p[:, 1]))
    one = gaussian_nll_loss(array(p[:, 0]), array(t), var)
    assert float(one) == pytest.approx(float(gaussian_nll_loss_with_log_var(array(p), array(t))))


def test_a_right_mean_with_any_variance_is_no_nan(created):
    p = array([[0.0, -1e4], [0.0, 1e4]])
    t = array([0.0, 0.0])
    found = to_numpy(gaussian_nll_loss_with_log_var(p, t, reduction="none"))
    assert found.tolist() == [-5e3, 5e3]
    grad = to_numpy(grad_of(gaussian_nll_loss_with_log_var)(p, t, reduction="sum"))
    assert grad.tolist() == [[0, 0.5], [0, 0.5]]


# Bins ---------------------------------------------------------------------------------------

EDGES = np.array([-1.0, 0, 0.5, 2, 3])


def test_the_bin_that_a_target_is_in(created):
    targets = np.array([-1.0, -0.5, 0, 0.49, 0.5, 2.9, 3])
    p = to_numpy(bin_probabilities(array(targets), array(EDGES), "hard"))
    want = np.histogram(targets[0], EDGES)[0]
    assert p[0].tolist() == want.tolist()
    for row, y in zip(p, targets, strict=True):
        assert row.tolist() == np.histogram(y, EDGES)[0].tolist()


def test_two_hot_targets_keep_the_mean(created):
    targets = np.linspace(-0.5, 2.5, 31)
    p = bin_probabilities(array(targets), array(EDGES), "two-hot")
    assert (to_numpy(p) >= 0).all()
    assert ((to_numpy(p) > 1e-12).sum(-1) <= 2).all()
    assert_allclose(to_numpy(bin_mean(p, array(EDGES))), targets, atol=1e-14)


def test_gaussian_targets_against_scipy(created):
    from scipy.stats import truncnorm

    targets, sigma = np.array([-0.9, 0.1, 1.0, 2.9]), 0.2
    p = to_numpy(bin_probabilities(array(targets), array(EDGES), "gaussian", sigma=sigma))
    for row, y in zip(p, targets, strict=True):
        cut = truncnorm((EDGES[0] - y) / sigma, (EDGES[-1] - y) / sigma, y, sigma)
        assert_allclose(row, np.diff(cut.cdf(EDGES)), rtol=1e-9, atol=1e-15)


def test_the_far_bins_of_a_gaussian_target_keep_their_digits(created):
    p = to_numpy(bin_probabilities(array([0.0]), array(np.arange(-10.5, 11)), "gaussian", sigma=1))
    assert_allclose(p, p[:, ::-1], rtol=1e-12)
    assert 0 < p[0, 0] < 1e-20


@pytest.mark.parametrize(
    "options", [{"kind": "hard"}, {"kind": "two-hot"}, {"kind": "gaussian", "sigma": 0.3}]
)
def test_bin_probabilities_add_up_to_one(created, options):
    targets = array(np.array([[-9.0, -1, 0.3], [2, 3, 1e4]]))
    p = bin_probabilities(targets, array(EDGES), **options)
    assert tuple(p.shape) == (2, 3, 4)
    assert_allclose(to_numpy(p).sum(-1), 1, rtol=1e-14)
    nearest = bin_probabilities(clip(targets, -1.0, 3.0), array(EDGES), **options)
    assert_array_equal(to_numpy(p), to_numpy(nearest))


def test_hard_bins_are_the_labels_of_a_cross_entropy(created):
    targets = array(np.array([-0.3, 0.2, 1.1]))
    p = bin_probabilities(targets, array(EDGES), "hard")
    logits = array(np.random.default_rng(0).normal(size=(3, 4)))
    want = float(cross_entropy(logits, array(to_numpy(p).argmax(-1))))
    assert -float((p * log_softmax(logits)).sum()) / 3 == pytest.approx(want)


# Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mse_loss(np.zeros((3, 1)), np.zeros(3)), ValueError, r"got \(3,\) for \(3, 1\)"),
        (lambda: mse_loss(["a"], [1.0]), TypeError, "prediction must be real"),
        (lambda: smooth_l1_loss([1.0], [0.0], beta=0), ValueError, "beta must be positive; got 0"),
        (lambda: huber_loss([1.0], [0.0], delta=-1), ValueError, "delta must be positive; got -1"),
        (lambda: l1_loss([1.0], [0.0], beta=1), TypeError, "l1_loss.* argument 'beta'"),
        (lambda: quantile_loss([1.0], [0.0], quantile=90), ValueError, "between 0 and 1; got 90"),
        (lambda: gaussian_nll_loss([1.0], [0.0], [0.0]), ValueError, "var must be positive; got 0"),
        (
            lambda: gaussian_nll_loss([1.0, 2.0], [0.0, 1.0], [1.0]),
            ValueError,
            r"var must have the shape of prediction.*\(1,\) for \(2,\)",
        ),
        (
            lambda: gaussian_nll_loss_with_log_var(np.zeros((4, 3)), np.zeros(4)),
            ValueError,
            r"prediction must have shape \(..., n, 2\); got \(4, 3\)",
        ),
        (lambda: bin_probabilities([1.0], [0.0, 1.0], "soft"), ValueError, "kind must be 'hard',"),
        (lambda: bin_probabilities([1.0], [0, 1], "gaussian"), ValueError, "sigma must be given"),
        (lambda: bin_probabilities([1.0], [1.0, 0.0]), ValueError, "edges must rise"),
        (lambda: bin_probabilities([1.0], [1.0]), ValueError, r"edges must have shape \(K\+1,\)"),
        (lambda: bin_mean([[0.5, 0.5]], [0.0, 1.0]), ValueError, "got 2 for 2"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Planted mistakes ---------------------------------------------------------------------------


def planted(name, formula, slope):
    """Return a case with the loss of a mutant, under the options of the right one."""
    loss = regression._loss_of_error(formula)
    regression._slope_of(loss)(slope)
    case = CASES[name]
    options = getattr(case.loss, "keywords", {})
    return replace(case, loss=functools.partial(loss, **options) if options else loss)


def formulas(loss):
    return loss.__wrapped__, losses.grad_of(loss).__wrapped__


def no_offset(error, *, beta):
    xp = namespace(error)
    return xp.where(xp.abs(error) < beta, error * error / (2 * beta), xp.abs(error))


def no_beta(error, *, beta):
    xp = namespace(error)
    return xp.where(xp.abs(error) < beta, error * error / 2, xp.abs(error) - beta / 2)


def by_the_square(error, *, beta):
    xp = namespace(error)
    return xp.where(xp.abs(error) < beta, error * error / (2 * beta), xp.abs(error) - beta / 2)


def exchanged(error, *, quantile):
    return formulas(quantile_loss)[0](error, quantile=1 - quantile)


def keras_log_cosh(error):
    xp = namespace(error)
    return xp.abs(error) + xp.log1p(xp.exp(-2 * xp.abs(error))) - np.log(2)


MUTANTS = {
    "smooth L1 without its offset": ("smooth_l1_loss 3.0", no_offset, smooth_l1_loss),
    "smooth L1 without β in the parabola": ("smooth_l1_loss 3.0", no_beta, smooth_l1_loss),
    "smooth L1 from the square of a tiny error": (
        "smooth_l1_loss 1e-06",
        by_the_square,
        smooth_l1_loss,
    ),
    "the quantile of the other side": ("quantile_loss 0.9", exchanged, quantile_loss),
    "log cosh with a subtraction": ("log_cosh_loss", keras_log_cosh, log_cosh_loss),
    "mse with a half": ("mse_loss", lambda error: error * error / 2, mse_loss),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_formula_is_caught(name):
    case, formula, right = MUTANTS[name]
    mutant = planted(case, formula, formulas(right)[1])
    with pytest.raises(AssertionError):
        check_accuracy(mutant, "float32")


@pytest.mark.parametrize(
    ("name", "formula", "half"),
    [
        ("mse_loss", formulas(mse_loss)[0], lambda error: error),
        ("l1_loss", formulas(l1_loss)[0], lambda error: namespace(error).sign(error) / 2),
    ],
)
def test_a_slope_without_its_factor_is_caught(name, formula, half):
    for check in (check_differences, lambda case: check_accuracy(case, "float64")):
        with pytest.raises(AssertionError):
            check(planted(name, formula, half))


def test_a_likelihood_without_its_log_or_its_half_is_caught():
    right = gaussian_nll_loss_with_log_var
    grad = grad_of(right)

    def no_log(prediction, target, **options):
        return right(prediction, target, **options) - 0.5 * prediction[..., 1]

    def no_half(prediction, target, **options):
        return 2 * right(prediction, target, **options)

    for mutant in (no_log, no_half):
        losses.base.pair(mutant, grad)
        with pytest.raises(AssertionError):
            check_accuracy(replace(nll(full=False), loss=mutant), "float64")
