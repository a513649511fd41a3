"""Losses of real-valued predictions: what the common tests do not see."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from companion.losses import grad_of, mse_loss


def test_a_partial_keeps_its_options():
    loss = functools.partial(mse_loss, reduction="sum")
    assert_array_equal(grad_of(loss)(np.array([3.0]), np.array([1.0])), [4.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mse_loss(np.zeros((3, 1)), np.zeros(3)), ValueError, r"got \(3,\) for \(3, 1\)"),
        (lambda: mse_loss(["a"], [1.0]), TypeError, "prediction must be real"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
