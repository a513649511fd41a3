"""Step 2: derivatives by hand against those of the definitions at high precision."""

import numpy as np
import pytest

from companion import activations as act
from tests.ladder import checks
from tests.ladder.reference import DTYPES, cases

pytestmark = pytest.mark.filterwarnings("error")

KINKED = [row for row in checks.REGISTRY.values() if row.kinks]
LEARNED = [(n, i) for n, i in cases() if checks.REGISTRY[n].parameter_grads]


@pytest.mark.parametrize("dtype", DTYPES)
@checks.each()
def test_derivative(row, setting, dtype, library, device):
    checks.check_derivative(row, setting, dtype, library, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "setting"), LEARNED)
def test_derivative_in_a_parameter(name, setting, dtype, library, device):
    checks.check_parameter_grads(checks.REGISTRY[name], setting, dtype, library, device)


@pytest.mark.parametrize("dtype", DTYPES)
@checks.each(elementwise=False)
def test_vjp(row, setting, dtype, library, device):
    checks.check_vjp(row, setting, dtype, library, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", KINKED, ids=lambda row: row.name)
def test_kinks(row, dtype, library, device):
    checks.check_kinks(row, dtype, library, device)


@pytest.mark.parametrize(
    ("grad", "parameters", "slope"),
    [
        (act.leaky_relu_grad, {"negative_slope": 0.3}, 0.3),
        (act.leaky_relu_grad, {"negative_slope": 1.5}, 1.5),
        (act.prelu_grad, {"weight": -0.5}, -0.5),
        (act.rrelu_grad, {"slope": 0.2}, 0.2),
        (act.rrelu_grad, {"convention": "paper"}, 2 / 11),
        (act.elu_grad, {"alpha": 0.5}, 0.5),
        (act.elu_grad, {"alpha": 2.0}, 2.0),
        (act.celu_grad, {"alpha": 2.0}, 1.0),
    ],
)
def test_slope_at_zero_under_other_settings(grad, parameters, slope, library, device):
    got = checks.call(grad, np.zeros(1), library=library, device=device, **parameters)
    np.testing.assert_allclose(got, slope, rtol=1e-15)


@pytest.mark.parametrize(
    ("estimator", "slopes"),
    [("none", [0, 0, 0, 0, 0, 0]), ("identity", [1] * 6), ("hardtanh", [0, 1, 1, 1, 1, 0])],
)
def test_straight_through_estimators(estimator, slopes, library, device):
    x = np.array([-1.5, -1.0, -0.0, 0.3, 1.0, 1.5])
    got = checks.call(act.heaviside_grad, x, library=library, device=device, estimator=estimator)
    np.testing.assert_array_equal(got, slopes)


@pytest.mark.parametrize("setting", [0, 1])
def test_the_first_takes_it_at_a_tie(setting, library, device):
    checks.check_tie(checks.REGISTRY["maxout"], setting, library, device)


def test_crelu_passes_nothing_at_zero(library, device):
    got = checks.call(
        act.crelu_vjp, np.array([1.0, 1.0]), np.zeros(1), library=library, device=device
    )
    np.testing.assert_array_equal(got, [0])
