"""Step 1: values against the definitions at high precision, over the whole range."""

import numpy as np
import pytest

from tests.ladder import checks
from tests.ladder.reference import DTYPES

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("dtype", DTYPES)
@checks.each()
def test_value(row, setting, dtype, library, device):
    checks.check_value(row, setting, dtype, library, device)


@pytest.mark.parametrize("dtype", DTYPES)
@checks.each(elementwise=False)
def test_value_of_an_axis(row, setting, dtype, library, device):
    checks.check_vector_value(row, setting, dtype, library, device)


@pytest.mark.parametrize("dtype", DTYPES)
@checks.each()
def test_limits(row, setting, dtype, library, device):
    checks.check_limits(row, setting, dtype, library, device)


@pytest.mark.parametrize("dtype", DTYPES)
@checks.each()
def test_nan(row, setting, dtype, library, device):
    checks.check_nan(row, setting, dtype, library, device)


@checks.each()
def test_minus_zero_is_zero(row, setting, library, device):
    zeros = np.array([0.0, -0.0])
    for f in (row.function, row.grad, *row.parameter_grads.values()):
        at_zero, at_minus_zero = checks.call(
            f, zeros, library=library, device=device, **row.parameters[setting]
        )
        assert at_zero == at_minus_zero


@checks.each(elementwise=False)
def test_nan_in_an_axis(row, setting, library, device):
    x = np.zeros((2, 6))
    x[0, 3:] = np.nan
    y = checks.call(row.function, x, library=library, device=device, **row.parameters[setting])
    assert np.isnan(y[0]).any()
    assert not np.isnan(y[1]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_infinite_entries(dtype, library, device):
    softmax, log_softmax = checks.REGISTRY["softmax"], checks.REGISTRY["log_softmax"]
    inf = checks.INF
    x = np.array([[-inf, 0.0, 0.0], [-inf, -inf, 1.0], [inf, 0, 0], [-inf, -inf, -inf]], dtype)
    p = checks.call(softmax.function, x, library=library, device=device)
    np.testing.assert_array_equal(p[:2], [[0, 0.5, 0.5], [0, 0, 1]])
    assert np.isnan(p[2:]).all()
    log_p = checks.call(log_softmax.function, x, library=library, device=device)
    np.testing.assert_allclose(log_p[:2], [[-inf, -np.log(2), -np.log(2)], [-inf, -inf, 0]], 1e-6)
    assert np.isnan(log_p[2:]).all()
