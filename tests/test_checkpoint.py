"""A training that is killed and goes on; files that are damaged or something else."""

import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from companion import backend, losses, training
from companion.backend import array, to_numpy
from companion.optimizers import SGD
from companion.training import Checkpoint, checkpoint
from tests.interrupted import NET, STEPS, run


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert_array_equal(to_numpy(found[name]), to_numpy(value), err_msg=name)


def start(path, library):
    command = [sys.executable, "-m", "tests.interrupted", str(path), library]
    here = Path(__file__).parents[1]
    process = subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def test_a_run_that_was_killed_ten_times_ends_the_same(created, tmp_path):
    if created.library == "torch" and created.device != "cpu":
        pytest.skip("the processes run on the CPU")
    path, chance, places = tmp_path / "run.npz", random.Random(5), []
    times = 10 if created.library == "numpy" else 3  # importing torch takes seconds
    for i in range(times):
        process = start(path, created.library)
        while i == times - 1 and not path.exists():  # on a busy machine nothing is kept yet
            time.sleep(0.001)
        time.sleep(chance.uniform(0.01, 0.15))
        process.kill()
        process.wait()
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL
        places.append(training.load(path)["t"] if path.exists() else 0)
    assert places == sorted(places)
    assert 0 < places[-1] < STEPS
    assert len(set(places)) > times // 3
    with start(path, created.library) as process:
        assert process.wait(60) == 0
    with np.load(f"{path}.end.npz") as found:
        assert_same(dict(found), run())


def check_resumption(tmp_path, **options):
    """A run that ended early, anywhere in an epoch, and goes on."""
    wanted = run(steps=40, **options)
    for cut in (1, 6, 7, 8, 30):
        path = tmp_path / f"{cut}.npz"
        run(path, steps=cut, **options)
        assert_same(run(path, steps=40, **options), wanted)
        assert_same(run(path, steps=40, **options), wanted)  # nothing is left to do
        assert not path.with_name(path.name + ".partial").exists()


def test_a_run_goes_on_from_anywhere_in_an_epoch(created, tmp_path):
    check_resumption(tmp_path)


def test_arrays_among_the_hyperparameters_tell_trainings_apart(tmp_path):
    decay = np.zeros(NET.size)
    with np.printoptions(threshold=10):  # NumPy leaves out what is in the middle
        run(tmp_path / "it.npz", steps=3, optimizer=SGD(0.1, weight_decay=decay))
        decay[NET.size // 2] = 1.0
        with pytest.raises(ValueError, match="optimizer"):
            run(tmp_path / "it.npz", steps=6, optimizer=SGD(0.1, weight_decay=decay))


@pytest.mark.parametrize("generator", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_every_generator_is_kept(tmp_path, generator):
    rng = np.random.Generator(generator(1))
    rng.integers(5, dtype=np.int32)  # half of what was drawn waits inside
    training.save(tmp_path / "it.npz", rng.bit_generator.state)
    other = np.random.Generator(generator(2))
    other.bit_generator.state = training.load(tmp_path / "it.npz")
    assert_array_equal(
        other.integers(5, size=9, dtype=np.int32), rng.integers(5, size=9, dtype=np.int32)
    )


def test_a_callback_that_ended_the_run_has_ended_it(created, tmp_path):
    def enough(t, theta, state):
        if t == 5:
            raise StopIteration

    path = tmp_path / "run.npz"
    wanted = run(path, callbacks=[enough])
    assert wanted["loss"].shape == (2, 5)
    assert_same(run(path, callbacks=[enough]), wanted)


def test_a_replica_that_diverged_stays_stopped(tmp_path):
    path = tmp_path / "run.npz"
    options = {"schedule": None, "optimizer": SGD(lr=np.array([[0.1], [np.inf]])), "clip": None}
    wanted = run(steps=20, **options)
    assert_array_equal(wanted["diverged"][0], -1)
    assert wanted["diverged"][1] >= 0
    run(path, steps=9, **options)
    assert_same(run(path, steps=20, **options), wanted)


TREE = {"a": [1, 2.5, None, True, "é", float("inf")], "b": {"c": np.arange(3, dtype=np.int8)}}


def test_a_tree_comes_back(created, tmp_path):
    path, x = tmp_path / "tree.npz", array(np.array([[1.0, np.nan]]))
    training.save(path, {**TREE, "x": x, "none": array(np.zeros((0, 2)))})
    found = training.load(path, like=x)
    assert found["a"] == TREE["a"]
    assert found["b"]["c"].dtype == np.int8
    assert type(found["x"]) is type(x)
    assert found["x"].dtype == x.dtype
    assert_array_equal(to_numpy(found["x"]), to_numpy(x))
    assert found["none"].shape == (0, 2)
    assert isinstance(training.load(path)["x"], np.ndarray)
    with zipfile.ZipFile(path) as file:  # no pickle in it
        assert all(name.endswith(".npy") for name in file.namelist())


def damaged(path, how):
    good = path.read_bytes()
    if how == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif how == "short by a byte":
        path.write_bytes(good[:-1])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "a flipped bit":
        middle = len(good) // 2
        path.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    elif how == "text":
        path.write_text("my notes")
    elif how == "an array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif how == "other arrays":
        np.savez(path, theta=np.zeros(3))
    elif how == "pickled":
        np.savez(path, json=np.array({"a": 1}, dtype=object))
    elif how == "another format":
        np.savez(path, json=np.frombuffer(b'{"format": "else"}', np.uint8))
    elif how == "of torch":
        torch.save({"theta": torch.zeros(3)}, path)
    elif how == "no training":
        training.save(path, TREE)


@pytest.mark.parametrize(
    "how",
    [
        "truncated",
        "short by a byte",
        "empty",
        "a flipped bit",
        "text",
        "an array",
        "other arrays",
        "pickled",
        "another format",
        "of torch",
        "no training",
    ],
)
def test_what_is_no_checkpoint_is_named_and_kept(tmp_path, how):
    path = tmp_path / "run.npz"
    run(path, steps=3)
    damaged(path, how)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.npz (is damaged or something else|was made with)"):
        run(path, steps=3)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 20}, "was made with batch_size 15, here it is 20"),
        ({"ema": None}, "was made with ema 0.9, here it is None"),
        ({"optimizer": SGD(lr=0.1)}, "was made with optimizer SGD"),
        ({"loss": losses.mse_loss}, "made with loss cross_entropy, here it is mse_loss"),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(tmp_path, options, message):
    path = tmp_path / "run.npz"
    run(path, steps=3)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        run(path, steps=3, **options)
    assert path.read_bytes() == before


def test_the_other_library_is_refused(tmp_path):
    path, old = tmp_path / "run.npz", backend.current()
    run(path, steps=3)
    try:
        backend.use("torch", dtype="float64")
        with pytest.raises(ValueError, match=r"made with theta float64 .* it is torch.float64"):
            run(path, steps=3)
    finally:
        backend.use(old.library, old.device, old.dtype)


def check_a_failed_write(monkeypatch, tmp_path):
    path = tmp_path / "it.npz"
    training.save(path, {"t": 1})

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            training.save(path, {"t": 2})
    assert training.load(path) == {"t": 1}


def test_a_write_that_fails_leaves_the_last_one(monkeypatch, tmp_path):
    check_a_failed_write(monkeypatch, tmp_path)


def test_every_is_checked():
    with pytest.raises(ValueError, match="every must be at least 1; got 0"):
        Checkpoint("run.npz", every=0)


# Planted mistakes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["memory", "state", "average", "order", "rng", "seed", "callbacks"]
)
def test_what_is_forgotten_is_caught(monkeypatch, tmp_path, name):
    """Without any one of the parts, a run goes on differently."""
    fresh = {}

    def forgetful(path, identity, like):
        kept = checkpoint.resume(path, identity, like)
        if kept is None:
            return None
        fresh.setdefault("rng", np.random.default_rng(0).bit_generator.state)
        forgotten = {
            "memory": {**kept["memory"], "momentum_buffer": 0 * kept["memory"]["momentum_buffer"]},
            "state": 0 * kept["state"] + 1,
            "average": kept["theta"],
            "order": np.arange(100),
            "rng": fresh["rng"],
            "seed": 1,
            "callbacks": [None] * len(kept["callbacks"]),
        }
        return {**kept, name: forgotten[name]}

    monkeypatch.setattr(training.loop, "resume", forgetful)
    with pytest.raises((AssertionError, TypeError)):
        check_resumption(tmp_path)


def test_a_file_written_in_place_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "with_name", lambda self, name: self)
    with pytest.raises(AssertionError):
        check_a_failed_write(monkeypatch, tmp_path)
