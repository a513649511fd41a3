"""Claims about activations that a few lines settle."""

import mpmath
import numpy as np

from companion import activations, backend


def test_linear_layers_stay_affine(ledger):
    rng = np.random.default_rng(0)
    x = y = rng.standard_normal((50, 5))
    for _ in range(10):
        y = y @ rng.standard_normal((5, 5)) + rng.standard_normal(5)
    design = np.column_stack([x, np.ones(50)])
    fit = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    residual = np.linalg.norm(fit - y) / np.linalg.norm(y)
    corners = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 1, 1]])
    xor = np.array([0.0, 1.0, 1.0, 0.0])
    error = np.mean((corners @ np.linalg.lstsq(corners, xor, rcond=None)[0] - xor) ** 2)
    ledger(
        "ACT-02",
        holds=residual < 1e-12 and abs(error - 0.25) < 1e-12,
        measured="ten affine layers equal one to a relative error below $10^{-12}$; "
        f"the best affine fit to XOR has a mean squared error of {error:.2f}",
    )


def test_sigmoid_formula(ledger, array):
    points = [-700.0, -50.0, -1.0, 0.0, 1.0, 50.0, 700.0]
    with np.errstate(over="raise", invalid="raise"):
        ours = backend.to_numpy(activations.sigmoid(array(points)))
    with mpmath.workdps(60):
        exact = [1 / (1 + mpmath.exp(-mpmath.mpf(p))) for p in points]
        error = max(abs(mpmath.mpf(float(v)) / e - 1) for v, e in zip(ours, exact, strict=True))
    ledger(
        "ACT-04",
        holds=error < 1e-14,
        measured="for $|x|\\le700$ the relative error is below $10^{-14}$; nothing overflows",
    )


def test_sigmoid_is_monotone(ledger, array):
    x = np.linspace(-30, 30, 601)
    left = backend.to_numpy(activations.sigmoid(array(x)))
    right = backend.to_numpy(activations.sigmoid(array(-x)))
    ledger(
        "ACT-06",
        holds=np.diff(left).min() > 0 and abs(left + right - 1).max() < 1e-15,
        measured="it rises at each of 600 steps from $-30$ to 30, and the sum of its values at "
        "$x$ and at $-x$ is 1 to within $10^{-15}$",
    )
