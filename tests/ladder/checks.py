"""What each step of the ladder asserts of a row; the tests of the planted mutants call the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from companion.backend import to_numpy
from companion.registry import REGISTRY, Row
from tests.ladder import reference
from tests.ladder.reference import Exact, absolute, norm_error, truth, ulps

INF = float("inf")
#: Rows whose derivative does not depend on x, so that it is not nan at nan either.
CONSTANT = ("identity", "heaviside")


def each(elementwise: bool = True) -> Any:
    """Parametrise a test over the rows of one kind and their settings."""
    return pytest.mark.parametrize(
        ("row", "setting"),
        [
            pytest.param(REGISTRY[name], i, id=f"{name}-{i}")
            for name, i in reference.cases(elementwise)
        ],
    )


def put(x: Any, library: str, device: str = "cpu") -> Any:
    """Return a copy of the NumPy array `x` in `library`."""
    if library == "torch":
        import torch

        return torch.tensor(x, device=device)
    if library == "array_api_strict":
        import array_api_strict

        return array_api_strict.asarray(x, copy=True)
    return x.copy()


def call(function: Any, *arrays: Any, library: str, device: str = "cpu", **parameters: Any) -> Any:
    """Call `function` in `library` on NumPy arrays, and return the result; warnings are errors."""
    arguments = [put(a, library, device) for a in arrays]
    with np.errstate(all="raise"):
        y = function(*arguments, **parameters)
    assert type(y) is type(arguments[0]), f"{type(y)} came back"
    y = np.asarray(to_numpy(y))
    assert y.dtype == arrays[-1].dtype, f"{y.dtype} came back for {arrays[-1].dtype}"
    return y


def assert_close(got: Any, exact: Exact, dtype: str, library: str, row: Row, window: float = 0.0):
    """At most 4(1 + κ) ULP; on NumPy at most 8, or 1 eps absolute within `window` of a root."""
    assert got.shape == exact.high.shape
    error = ulps(got, exact, dtype, row.flush)
    bar = 4 * (1 + exact.kappa)
    if library == "numpy":
        small = absolute(got, exact) <= np.finfo(dtype).eps
        excused = small & reference.near_root(exact, window) if window else False
        bar = np.where(excused, bar, np.minimum(bar, 8))
    else:
        bar *= row.slack
    i = np.unravel_index(np.argmax(error / bar), error.shape)
    assert error[i] <= bar[i], (
        f"{row.name} at {exact.x[i[0]]}: got {got[i]!r} for {exact.high[i]!r}, "
        f"off by {error[i]:.3g} ULP where {bar[i]:.3g} are allowed"
    )


def check_value(row: Row, setting: int, dtype: str, library: str, device: str = "cpu") -> None:
    """Hold the value to the definition."""
    exact = truth(row, setting, dtype, 0)
    got = call(row.function, exact.x, library=library, device=device, **row.parameters[setting])
    assert_close(got, exact, dtype, library, row)


def check_derivative(row: Row, setting: int, dtype: str, library: str, device: str = "cpu") -> None:
    """Hold the derivative to the definition's, off the kinks."""
    exact = truth(row, setting, dtype, 1)
    got = call(row.grad, exact.x, library=library, device=device, **row.parameters[setting])
    assert_close(got, exact, dtype, library, row, _window(row, setting))


def _window(row: Row, setting: int) -> float:
    # The derivative of x σ(βx) is a function of βx alone: for small β its root, and the stretch
    # around it in which the terms cancel, are 1/β times as far out.
    return 0.25 / min(1.0, abs(row.parameters[setting].get("beta", 1.0)))


def check_parameter_grads(
    row: Row, setting: int, dtype: str, library: str, device: str = "cpu"
) -> None:
    """Hold the derivatives with respect to the parameters to the definition's."""
    for name, grad in row.parameter_grads.items():
        exact = reference.parameter_truth(row, setting, dtype, name)
        got = call(grad, exact.x, library=library, device=device, **row.parameters[setting])
        assert_close(got, exact, dtype, library, row)


def check_kinks(row: Row, dtype: str, library: str, device: str = "cpu") -> None:
    """Hold the derivative at the kinks to the value of the row."""
    x = np.array(list(row.kinks), dtype)
    got = call(row.grad, x, library=library, device=device, **row.parameters[0])
    np.testing.assert_array_max_ulp(got, np.array(list(row.kinks.values()), dtype), 1)


def check_limits(row: Row, setting: int, dtype: str, library: str, device: str = "cpu") -> None:
    """Value and derivative at ±inf are the row's, and those of the largest number."""
    largest = float(np.finfo(dtype).max)
    parameters = row.parameters[setting]
    for i, sign in enumerate((-1.0, 1.0)):
        x = np.array([sign * INF, sign * largest], dtype)
        with np.errstate(over="ignore"):
            limits = np.array(row.limits[i]).astype(dtype)
        for order, f in enumerate((row.function, row.grad)):
            at_inf, at_largest = call(f, x, library=library, device=device, **parameters)
            assert not np.isnan(at_inf)
            if setting == 0:
                np.testing.assert_allclose(at_inf, limits[order], rtol=np.finfo(dtype).eps)
            if np.isfinite(at_inf):
                assert abs(at_inf - at_largest) <= np.finfo(dtype).tiny
            else:
                assert at_largest * sign > 0.01 * largest or at_largest * at_inf > 0


def check_nan(row: Row, setting: int, dtype: str, library: str, device: str = "cpu") -> None:
    """Nan in, nan out."""
    x = np.array([np.nan, 1.0, np.nan], dtype)
    functions = [row.function] if row.name in CONSTANT else [row.function, row.grad]
    for f in (*functions, *row.parameter_grads.values()):
        got = call(f, x, library=library, device=device, **row.parameters[setting])
        np.testing.assert_array_equal(np.isnan(got), np.isnan(x))


def check_vector_value(
    row: Row, setting: int, dtype: str, library: str, device: str = "cpu"
) -> None:
    """Hold every entry of a function of a whole axis to the definition."""
    exact, _ = reference.vector_truth(row, setting, dtype)
    got = call(row.function, exact.x, library=library, device=device, **row.parameters[setting])
    assert_close(got, exact, dtype, library, row)


def check_vjp(row: Row, setting: int, dtype: str, library: str, device: str = "cpu") -> None:
    """Hold the pulled-back gradient to the definition's Jacobian, by norm.

    At most 8 eps; on torch at most 4(1 + κ), where that is more, with the largest κ of the values.
    """
    value, exact = reference.vector_truth(row, setting, dtype)
    dy = reference.vectors(dtype, value.high.shape[-1])[1]
    got = call(row.grad, dy, exact.x, library=library, device=device, **row.parameters[setting])
    error = norm_error(got, exact, dtype)
    bar = np.full(len(error), 8.0)
    if library == "torch":
        bar = np.maximum(bar, 4 * (1 + np.tile(value.kappa.max(1), 3)))
    i = int(np.argmax(error / bar))
    assert error[i] <= bar[i], (
        f"{row.name}_vjp at x = {exact.x[i]}, dy = {dy[i]}: got {got[i]} for {exact.high[i]}, "
        f"off by {error[i]:.3g} eps by norm"
    )


def check_tie(row: Row, setting: int, library: str, device: str = "cpu") -> None:
    """The first of equal entries takes the gradient."""
    n = row.parameters[setting]["num_pieces"]
    dy = np.array([[1.0, 2.0], [3.0, 4.0]])
    expected = np.zeros((2, 2 * n))
    expected[:, ::n] = dy
    x = np.zeros((2, 2 * n))
    got = call(row.grad, dy, x, library=library, device=device, **row.parameters[setting])
    np.testing.assert_array_equal(got, expected)


def check_autograd(row: Row, setting: int, device: str = "cpu") -> None:
    """Torch's derivative of the function equals the one by hand, in float64, off the kinks."""
    import torch

    parameters = dict(row.parameters[setting])
    learned = {
        name: torch.tensor(float(parameters.get(name, 1.0)), dtype=torch.float64, device=device)
        for name in row.parameter_grads
    }
    parameters |= {name: value.requires_grad_() for name, value in learned.items()}
    x = autograd_inputs(row)
    x = torch.tensor(x, device=device, requires_grad=True)
    y = row.function(x, **parameters)
    if row.elementwise:
        (got,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
        _same(got, row.grad(x.detach(), **parameters))
    else:
        dy = torch.tensor(np.random.default_rng(3).normal(size=tuple(y.shape)), device=device)
        (got,) = torch.autograd.grad(y, x, dy, retain_graph=True)
        _same(got, row.grad(dy, x.detach(), **parameters))
    for name, value in learned.items():
        small = x.detach().abs() < 100  # sums over ±1e4 would hide the rest
        y = row.function(x.detach()[small], **parameters)
        (got,) = torch.autograd.grad(y.sum(), value)
        _same(got, row.parameter_grads[name](x.detach()[small], **parameters).sum())


def check_gradcheck(row: Row, setting: int, device: str = "cpu") -> None:
    """Torch's differences of the function, and of its derivative by hand, find both right."""
    import torch

    from companion.torch_bridge import as_torch_function

    f = as_torch_function(row.function, **{"grad" if row.elementwise else "vjp": row.grad})
    x = np.random.default_rng(4).normal(size=(4, reference.WIDTH)) * 3
    for kink in row.kinks:  # the differences must not cross it
        x = np.where(abs(x - kink) < 0.01, x + 0.02, x)
    parameters = dict(row.parameters[setting])
    names = list(row.parameter_grads)
    learned = [torch.tensor(parameters.get(n, 1.0), dtype=torch.float64) for n in names]
    inputs = [t.to(device).requires_grad_() for t in (torch.tensor(x), *learned)]

    def function(x: Any, *values: Any) -> Any:
        return f(x, **parameters | dict(zip(names, values, strict=True)))

    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(function, inputs, raise_exception=False), f"{check.__name__} of {row.name}"


def autograd_inputs(row: Row) -> np.ndarray:
    """Inputs off the kinks with 0 and ±1e4, where composed formulas go wrong."""
    rng = np.random.default_rng(2)
    if not row.elementwise:
        x = rng.normal(size=(40, reference.WIDTH)) * np.repeat([0.1, 1, 10, 1e3], 10)[:, None]
        return x
    x = np.concatenate([[0.0, 1e-300, 1e4, -1e4, 1e300, -1e300, 1, -1], rng.normal(size=200) * 8])
    return x[~np.isin(x, list(row.kinks))]


def _same(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(
        to_numpy(got), to_numpy(expected), rtol=1e-12, atol=1e-12, equal_nan=False
    )
