"""Step 3: torch's autograd through our functions equals the derivative by hand, and they compile.

Through `torch_bridge`, which makes a function and its derivative one operation, `gradcheck` holds
the two to each other, and `gradgradcheck` the derivative to its own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from companion.registry import REGISTRY
from tests.ladder import checks
from tests.ladder.reference import WIDTH

ROOT = Path(__file__).parents[2]


def applicable(cases):
    marks, arguments = cases.args
    return pytest.mark.parametrize(
        marks, [case for case in arguments if "autograd" not in case.values[0].not_applicable]
    )


@pytest.mark.filterwarnings("error")
@applicable(checks.each())
def test_autograd(row, setting, device):
    checks.check_autograd(row, setting, device)


@pytest.mark.filterwarnings("error")
@applicable(checks.each(elementwise=False))
def test_autograd_of_an_axis(row, setting, device):
    checks.check_autograd(row, setting, device)


@checks.each()
def test_gradcheck_through_the_bridge(row, setting, device):
    checks.check_gradcheck(row, setting, device)


@checks.each(elementwise=False)
def test_gradcheck_of_an_axis_through_the_bridge(row, setting, device):
    checks.check_gradcheck(row, setting, device)


def every_forward(x):
    """Call every function, under every setting."""
    return [
        row.function(x, **parameters) for row in REGISTRY.values() for parameters in row.parameters
    ]


@pytest.fixture
def compiler():
    """The C++ compiler behind torch.compile."""
    path = shutil.which("g++") or shutil.which("clang++")
    if path is None:
        assert os.environ.get("CI") != "true", "no C++ compiler on this machine"
        pytest.skip("no C++ compiler: torch.compile is not tested")
    return path


# not all warnings: its compiler meets torch's own deprecations
@pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_function_compiles_into_one_graph(dtype, compiler, device):
    import torch

    x = torch.tensor(
        np.random.default_rng(0).normal(size=(3, 40 * WIDTH)) * 4, dtype=getattr(torch, dtype)
    ).to(device)
    compiled = torch.compile(every_forward, fullgraph=True)(x)
    eps = torch.finfo(x.dtype).eps
    for got, expected in zip(compiled, every_forward(x), strict=True):
        torch.testing.assert_close(got, expected, rtol=16 * eps, atol=16 * eps)


def test_the_first_call_may_be_inside_a_compiled_graph():
    # in a fresh process: whatever is looked up once must not be looked up while tracing
    code = """
import warnings
import torch
from tests.ladder.test_autograd import every_forward
warnings.simplefilter("error", UserWarning)
x = torch.linspace(-4, 4, 24)
f = torch.compile(every_forward, fullgraph=True, backend="aot_eager")
for got, expected in zip(f(x), every_forward(x), strict=True):
    torch.testing.assert_close(got, expected)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-3000:]
