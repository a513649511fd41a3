"""Calibration: what the common tests do not see."""

import mpmath
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize

from companion.backend import array, to_numpy
from companion.losses import (
    brier_score,
    calibration,
    calibration_curve,
    cross_entropy,
    expected_calibration_error,
    fit_temperature,
)
from tests.losses.cases_information import softmaxes


def guo(p, t, n_bins):
    """Calibration error bin by bin, as in the paper."""
    confidence, right = p.max(-1), p.argmax(-1) == t
    found = 0.0
    for m in range(1, n_bins + 1):
        held = (confidence > (m - 1) / n_bins) & (confidence <= m / n_bins)
        if held.any():
            found += held.mean() * abs(right[held].mean() - confidence[held].mean())
    return found


def forecasts(n=400):
    rng = np.random.default_rng(0)
    return softmaxes(rng, (3, n, 4)), rng.integers(4, size=(3, n))


@pytest.mark.parametrize("n_bins", [1, 7, 15])
def test_expected_calibration_error_by_definition(created, n_bins):
    p, t = forecasts()
    got = to_numpy(expected_calibration_error(array(p), array(t), n_bins=n_bins))
    want = [guo(*one, n_bins) for one in zip(p, t, strict=True)]
    assert_allclose(got, want, rtol=1e-12)
    shared = to_numpy(expected_calibration_error(array(p), array(t[0]), n_bins=n_bins))
    assert shared[1] == pytest.approx(guo(p[1], t[0], n_bins))


def check_weights():
    """One bin of 3 samples that is right, one of 1 sample that is wrong by 0.9."""
    p = [[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]]
    error = expected_calibration_error([*p, [0.5, 0.5]], [0, 1, 1, 0], n_bins=2)
    assert float(error) == pytest.approx(0.25 * 0.9 + 0.75 * abs(2 / 3 - 0.5))


def test_bins_are_weighted_by_what_they_hold():
    check_weights()


def test_a_bin_holds_its_upper_edge(created):
    p = array([[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]])
    _, confidence, weight = map(to_numpy, calibration_curve(p, array([0, 0, 0]), n_bins=4))
    assert_allclose(weight, [0, 1 / 3, 1 / 3, 1 / 3])
    assert_array_equal(confidence, [np.nan, 0.5, 0.75, 1.0])


def test_calibration_curve_is_what_the_error_is_made_of(created):
    p, t = forecasts()
    accuracy, confidence, weight = map(to_numpy, calibration_curve(array(p), array(t)))
    assert accuracy.shape == confidence.shape == weight.shape == (3, 15)
    gaps = np.where(weight > 0, weight * abs(accuracy - confidence), 0)
    error = to_numpy(expected_calibration_error(array(p), array(t)))
    assert_allclose(gaps.sum(-1), error, rtol=1e-12)
    assert_allclose(weight.sum(-1), 1)


def test_the_brier_score_of_two_classes_is_twice_that_of_one():
    p, t = np.array([0.9, 0.2, 0.6]), np.array([1, 1, 0])
    both = brier_score(np.stack([1 - p, p], axis=-1), t)
    assert float(both) == pytest.approx(2 * ((p - t) ** 2).mean())


# Temperature --------------------------------------------------------------------------------


def overconfident(seed=0, n=60, true=2.5):
    """Logits that are `true` times those that the labels were drawn from."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.standard_normal((n, 4))
    t = (z + rng.gumbel(size=z.shape)).argmax(-1)
    return true * z, t


def check_temperature(z, t):
    """Hold the temperature to the root of the derivative of the loss in 60 digits."""
    with mpmath.workdps(60):
        rows = [[mpmath.mpf(float(v - row[j])) for v in row] for row, j in zip(z, t, strict=True)]

        def slope(beta):
            found = mpmath.mpf(0)
            for row in rows:
                e = [mpmath.exp(beta * v) for v in row]
                found += mpmath.fdot(e, row) / mpmath.fsum(e)
            return found

        exact = 1 / mpmath.findroot(slope, (mpmath.mpf(1) / 20, 20), solver="anderson")
    assert float(fit_temperature(array(z), array(t))) == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize("true", [0.3, 1.0, 2.5])
def test_temperature_by_definition(created, true):
    check_temperature(*overconfident(true=true))


def test_temperature_minimises_the_loss(created):
    z, t = overconfident()

    def loss(log_temperature):
        return float(cross_entropy(array(z / np.exp(log_temperature)), array(t)))

    want = np.exp(optimize.minimize_scalar(loss, bounds=(-5, 5), options={"xatol": 1e-9}).x)
    assert float(fit_temperature(array(z), array(t))) == pytest.approx(want, rel=1e-5)


def test_temperature_of_each_replica(created):
    z, t = overconfident()
    several = np.stack(
        [z, 10 * z, z + 1e3, 1e-3 * z, np.where(np.arange(4) == t[:, None], 9, z), -z]
    )
    several[4] = np.where(np.arange(4) == t[:, None], 100, z)
    got = to_numpy(fit_temperature(array(several), array(t)))
    one = got[0]
    assert_allclose(got[:4], [one, 10 * one, one, 1e-3 * one], rtol=1e-11)
    assert got[4] == 0  # all are right
    assert got[5] == np.inf  # worse than equal probabilities


def test_temperature_with_one_mistake_among_many(created):
    z = np.zeros((1000, 2))
    z[:, 0] = 20.0
    z[0] = [0.0, 1e-3]
    beta = 1 / float(fit_temperature(array(z), array(np.zeros(1000, int))))
    p = 1 / (1 + np.exp(-beta * (z[:, 1] - z[:, 0])))
    assert (p * (z[:, 1] - z[:, 0])).sum() == pytest.approx(0, abs=1e-12)


def test_temperature_in_float32_and_half(created):
    z, t = overconfident()
    exact = float(fit_temperature(z, t))
    for dtype in ("float32", "float16"):
        got = fit_temperature(array(z, dtype), array(t))
        assert got.dtype == array([0.0], dtype).dtype
        assert float(got) == pytest.approx(exact, rel=1e-2 if dtype == "float16" else 1e-5)


def test_temperature_takes_no_gradient():
    z, t = overconfident()
    found = fit_temperature(torch.tensor(z, requires_grad=True), torch.tensor(t))
    assert not found.requires_grad


def test_other_array_libraries():
    import array_api_strict as strict

    (z, t), (p, labels) = overconfident(), forecasts()
    got = fit_temperature(strict.asarray(z), strict.asarray(t))
    assert float(got) == pytest.approx(float(fit_temperature(z, t)))
    p, labels = strict.asarray(p), strict.asarray(labels)
    assert_allclose(
        np.asarray(expected_calibration_error(p, labels)),
        expected_calibration_error(*forecasts()),
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: brier_score([[0.5, 0.2]], [0]),
            "probabilities must .* sum to 1; got a sum of 0.7",
        ),
        (lambda: brier_score([[1.5, -0.5]], [0]), "probabilities must .*; got -0.5"),
        (lambda: expected_calibration_error([[2.0, 1.0]], [0]), "sum to 1; got a sum of 3"),
        (lambda: calibration_curve([[0.5, 0.5]], [2]), "labels 0 to 1; got 2 to 2"),
        (
            lambda: calibration_curve([[0.5, 0.5]], [1], n_bins=0),
            "n_bins must be positive; got 0",
        ),
        (lambda: fit_temperature([[0.0, np.inf]], [0]), "logits must be finite; got nan or inf"),
        (lambda: fit_temperature([[0.0, 1.0]], [2]), "labels 0 to 1; got 2 to 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Planted mistakes ---------------------------------------------------------------------------


def test_bins_without_their_weights_are_caught(monkeypatch):
    def unweighted(p, t, n_bins):
        accuracy, confidence, weight = calibration_curve(p, t, n_bins=n_bins)
        return abs(accuracy - confidence)[weight > 0].mean()

    monkeypatch.setitem(globals(), "expected_calibration_error", unweighted)
    with pytest.raises(AssertionError):
        check_weights()


def test_a_temperature_that_multiplies_is_caught(monkeypatch):
    monkeypatch.setitem(
        globals(), "fit_temperature", lambda z, t: 1 / calibration.fit_temperature(z, t)
    )
    with pytest.raises(AssertionError):
        check_temperature(*overconfident())
