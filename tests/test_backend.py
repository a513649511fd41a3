"""The choice of library, device and dtype, and the primitives of `companion.backend`."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from companion import backend

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _restored():
    old = backend.current()
    yield
    backend.use(old.library, device=old.device, dtype=old.dtype)


def started(code="", **variables):
    """Run Python with COMPANION_... set as given, and the backend in force printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COMPANION_")}
    environment |= {f"COMPANION_{k.upper()}": v for k, v in variables.items()}
    code = code or "from companion import backend; print(backend.current())"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "Backend(library='numpy', device='cpu', dtype='float64')"),
        ({"backend": "torch"}, "Backend(library='torch', device='cpu', dtype='float64')"),
        ({"dtype": "float32"}, "Backend(library='numpy', device='cpu', dtype='float32')"),
    ],
)
def test_the_environment_chooses(variables, expected):
    assert started(**variables).stdout.strip() == expected


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"backend": "jax"}, "library must be one of numpy, torch; got 'jax'"),
        ({"device": "cuda"}, "device must be one of cpu with numpy; got 'cuda'"),
        ({"backend": "torch", "device": "cuda:99"}, "got 'cuda:99'"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64; got 'float16'"),
    ],
)
def test_what_is_not_there_is_an_error_that_lists_what_is(variables, said):
    run = started(**variables)
    assert run.returncode != 0
    assert said in run.stderr


def test_a_failed_choice_changes_nothing():
    before = backend.use("numpy", dtype="float32")
    for wrong in ({"library": "jax"}, {"device": "tpu"}, {"dtype": "int8"}):
        with pytest.raises(ValueError, match="must be one of"):
            backend.use(**wrong)
    assert backend.current() == before


def test_what_is_not_given_stays():
    backend.use("numpy", dtype="float32")
    assert backend.use("torch") == backend.Backend("torch", "cpu", "float32")
    assert backend.use(dtype="float64") == backend.Backend("torch", "cpu", "float64")


def test_without_torch_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from companion import activations, backend\n"
        "print(activations.relu([-1.0, 2.0]))\n"
        "backend.use('torch')"
    )
    run = started(code)
    assert run.stdout.strip() == "[0. 2.]"
    assert "ModuleNotFoundError: the torch backend needs torch" in run.stderr
    assert "deep-learning-verified[torch]" in run.stderr


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_array_takes_the_backend_in_force(dtype, library, device):
    backend.use(library, device=device, dtype=dtype)
    for values in ([1.5, 2.0], np.array([1.5, 2.0], "float32"), 3.0):
        x = backend.array(values)
        assert backend.is_torch(x) == (library == "torch")
        assert str(x.dtype).endswith(dtype)
        assert np.shape(backend.to_numpy(x)) == np.shape(values)
    assert str(backend.array([1, 2]).dtype).endswith("int64")
    assert str(backend.array([True]).dtype).endswith("bool")
    assert str(backend.array([1, 2], dtype="float32").dtype).endswith("float32")
    again = backend.array(backend.array([1.5]))
    assert backend.to_numpy(again).tolist() == [1.5]


def test_like_and_namespace(library, device):
    backend.use(library, device=device, dtype="float32")
    x = backend.array([1.0])
    y = backend.like(np.array([1.0, 2.0]), x)
    assert type(y) is type(x)
    assert (y.dtype, y.device) == (x.dtype, x.device)
    assert library in backend.namespace(x).__name__
    assert backend.namespace(x) is backend.namespace(y)
    assert backend.inspectable(x) == (device == "cpu")


def test_a_choice_does_not_touch_what_functions_follow():
    import torch

    from companion.activations import relu

    backend.use("torch")
    assert type(relu(np.ones(2))) is np.ndarray
    backend.use("numpy")
    assert type(relu(torch.ones(2))) is torch.Tensor


def test_the_product_of_doubles_is_exact():
    from fractions import Fraction

    rng = np.random.default_rng(0)
    a = rng.normal(size=200) * 10 ** rng.uniform(-30, 30, 200)
    p, e = backend.product(a, 1.702)
    for x, high, low in zip(a, p, e, strict=True):
        assert Fraction(x) * Fraction(1.702) == Fraction(float(high)) + Fraction(float(low))


def test_ndtr_keeps_its_tail(library, device):
    from scipy import special

    backend.use(library, device=device)
    x = np.array([-38.0, -20.0, -8.5, -1.0, 0.0, 1.0, 8.5, 40.0])
    got = backend.to_numpy(backend.ndtr(backend.array(x)))
    np.testing.assert_allclose(got, np.exp(special.log_ndtr(x)), rtol=1e-11)
    assert got[-1] == 1
