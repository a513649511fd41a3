"""What nbval does not look at: how the notebooks are stored, and whether what they print is stable.

`pytest --nbval --nbval-current-env book` runs them against their stored outputs.
"""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "book").rglob("*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip"}
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}


def code_cells(path):
    nb = nbformat.read(ROOT / path, as_version=4)
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def not_compared(cell):
    return bool(NOT_COMPARED & set(cell.metadata.get("tags", [])))


def run(*args, **environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COMPANION_"))}
    return subprocess.run(
        [sys.executable, *args],
        cwd=ROOT,
        env=env | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_stored_in_normal_form():
    check = run("tools/refresh.py", "--check")
    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_nearly_every_cell_is_compared(path):
    cells = code_cells(path)
    ignored = [cell for cell in cells if not_compared(cell)]
    for cell in ignored:
        assert cell.metadata.get("nbval-reason"), f"say why, as nbval-reason:\n{cell.source}"
    # nbval knows comments too, which would be shown in the page.
    assert not [cell.source for cell in cells if "NBVAL_" in cell.source]
    assert len(ignored) <= 0.05 * len(cells)


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_every_cell_is_stored_as_run(path):
    """A cell that ends in an error is one that is meant to."""
    for cell in code_cells(path):
        failed = any(output.output_type == "error" for output in cell.outputs)
        assert failed == ("raises-exception" in cell.metadata.get("tags", [])), cell.source


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_cells_in_the_open_are_small(path):
    cells = [c for c in code_cells(path) if not FOLDED & set(c.metadata.get("tags", []))]
    lines = [cell.source.count("\n") + 1 for cell in cells]
    assert max(lines) <= 20
    assert np.median(lines) <= 6


def initial_values(**environment):
    code = (
        "import numpy as np, sys; from companion.layers import Linear;"
        "from companion.network import Sequential;"
        "theta = Sequential(Linear(3, 2)).init(np.random.default_rng(0));"
        "sys.stdout.write(theta.tobytes().hex())"
    )
    process = run("-c", code, **environment)
    assert process.returncode == 0, process.stderr
    return np.frombuffer(bytes.fromhex(process.stdout))


def test_the_jitter_moves_initial_values_by_one_ulp():
    plain, moved = initial_values(), initial_values(COMPANION_JITTER="1")
    np.testing.assert_array_equal(moved, np.nextafter(plain, np.inf))


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_prints_the_same_from_jittered_initial_values(path):
    nbval = run("-m", "pytest", "-q", "--nbval", "--nbval-current-env", path, COMPANION_JITTER="1")
    assert nbval.returncode == 0, nbval.stdout[-5000:] + nbval.stderr
