"""Losses of real-valued predictions (chapter 3, section 7)."""

from __future__ import annotations

from typing import Any

from companion.backend import vectorwise
from companion.losses.base import difference, divisor, pair, reduced, size


@vectorwise("prediction")
def mse_loss(prediction: Any, target: Any, *, reduction: str = "mean", axis: Any = None) -> Any:
    r"""Mean squared error, :math:`\frac1m\sum_i(\hat y_i-y_i)^2` over all :math:`m` entries.

    Parameters
    ----------
    prediction : array, shape (...)
    target : array
        In the shape of `prediction`, whose leading axes it may lack.
    reduction : {"mean", "sum", "none"}, default "mean"
    axis : int or tuple of int, optional
        The axes to reduce; default all. The others are replicas.

    Returns
    -------
    array
        A scalar, or one loss for each replica.

    Examples
    --------
    >>> float(mse_loss([1.0, 2.0], [0.0, 4.0]))
    2.5
    """
    error = difference(prediction, target)
    return reduced(error * error, reduction, axis)


@vectorwise("prediction")
def mse_loss_grad(
    prediction: Any, target: Any, *, reduction: str = "mean", axis: Any = None
) -> Any:
    r"""Derivative of :func:`mse_loss` in the prediction, :math:`\frac2m(\hat y-y)`.

    Examples
    --------
    >>> mse_loss_grad([1.0, 2.0], [0.0, 4.0])
    array([ 1., -2.])
    """
    return _mse_loss_grad(difference(prediction, target), reduction, axis)


def _mse_loss_grad(error: Any, reduction: str, axis: Any) -> Any:
    return 2 * error / divisor(reduction, size(error, axis))


@vectorwise("prediction")
def _mse_loss_both(
    prediction: Any, target: Any, *, reduction: str = "mean", axis: Any = None
) -> tuple[Any, Any]:
    error = difference(prediction, target)
    return reduced(error * error, reduction, axis), _mse_loss_grad(error, reduction, axis)


pair(mse_loss, mse_loss_grad, _mse_loss_both)
