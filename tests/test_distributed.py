"""Two processes, each with a part of every batch, against one with the whole."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from companion import training
from companion.training import Processes, distributed
from tests import processes

HERE = Path(__file__).parents[1]


def together(tmp_path, library, case, count=2):
    """Return what each of the processes ends with."""
    for i in range(count):
        (tmp_path / str(i)).mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(count), "-m", "tests.processes", str(tmp_path)]
    done = subprocess.run(
        [*command, library, case], cwd=HERE, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    ends = [np.load(tmp_path / f"end{i}.npz") for i in range(count)]
    return [dict(end) for end in ends]


@pytest.mark.parametrize(
    ("arrays", "case"),
    [("numpy", "noise"), ("numpy", "diverging"), ("torch", "plain"), ("numpy", "ignoring")],
)
def test_two_processes_equal_one_with_the_whole_batch(tmp_path, arrays, case):
    found = together(tmp_path, arrays, case)
    want = processes.run(case)
    for name in ("theta", "loss", "diverged"):
        assert_array_equal(found[0][name], found[1][name])
        assert_allclose(found[0][name], want[name], rtol=1e-10, atol=1e-12)
    assert (tmp_path / "0" / "run.npz").exists()
    assert not (tmp_path / "1" / "run.npz").exists()  # one of them keeps the training
    if case == "noise":
        assert_array_equal(found[0]["state"], found[1]["state"])


def test_a_step_sends_one_vector(tmp_path):
    """The gradient with the loss, once a step."""
    found = together(tmp_path, "numpy", "counted")
    assert_array_equal(found[0]["counted"], [[3, processes.PLAIN.size + 1]] * 25)


def test_two_processes_compile(tmp_path, compiler):
    found = together(tmp_path, "torch", "compiled")
    want = processes.run("plain")
    assert_allclose(found[0]["theta"], want["theta"], rtol=1e-9, atol=1e-12)


class Alone(Processes):
    """The first of two processes, whose sum is its own part alone: what must not happen."""

    def sum(self, value, grad, state):
        return value, grad, state


def test_a_part_alone_is_not_the_whole():
    found, want = processes.run("plain", Alone(0, 2)), processes.run("plain")
    assert not np.allclose(found["theta"], want["theta"], rtol=1e-3)


def test_running_statistics_are_the_mean(monkeypatch):
    import torch.distributed as dist

    sent = []
    monkeypatch.setattr(dist, "all_reduce", lambda v: (sent.append(v.clone()), v.mul_(2)))
    value, grad, state = np.array([1.0, 2.0]), np.ones((2, 3)), np.full((2, 4), 5.0)
    got = Processes(0, 2).sum(value, grad, state)  # two that have the same
    for found, wanted in zip(got, (2 * value, 2 * grad, state), strict=True):
        assert_array_equal(found, wanted)
    assert len(sent) == 1
    assert Processes(0, 2).sum(value, grad, None)[2] is None


def test_a_batch_must_have_a_sample_for_each():
    with pytest.raises(ValueError, match="smallest batch for each process, 1; got 2"):
        training.fit(
            processes.PLAIN,
            np.zeros(processes.PLAIN.size),
            (np.zeros((3, 20)), np.zeros(3, int)),
            loss=None,
            optimizer=None,
            rng=None,
            steps=1,
            accumulate=2,
            processes=Processes(0, 2),
        )


def test_joining_is_exported():
    assert training.join is distributed.join
