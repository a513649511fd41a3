"""What is installed and what `import companion` loads."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
NAME = "deep-learning-verified"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    rows = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name: Version(version) for name, version in rows}


def direct_requirements():
    lists = [PROJECT["dependencies"], *EXTRAS.values()]
    return [Requirement(text) for requirements in lists for text in requirements]


def test_there_are_the_three_extras():
    assert set(EXTRAS) == {"book", "torch", "test"}
    assert PROJECT["requires-python"] == ">=3.11"


def test_constraints_are_normal():
    names = list(pins())
    assert names == [canonicalize_name(name) for name in names]
    assert len(names) == len(set(names))
    assert all(version.local is None for version in pins().values())


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda r: r.name)
def test_every_requirement_is_pinned_within_its_range(requirement):
    pin = pins()[canonicalize_name(requirement.name)]
    assert pin in requirement.specifier


def test_everything_that_comes_along_is_pinned():
    pinned, todo, seen = pins(), list(direct_requirements()), set()
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        assert key[0] in pinned, f"{key[0]} is not in constraints.txt"
        try:
            needed = [Requirement(text) for text in requires(requirement.name) or []]
        except PackageNotFoundError:
            pytest.fail(f"{requirement.name} is not installed: make test installs it")
        for r in needed:
            extras = requirement.extras or {""}
            if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in extras):
                todo.append(r)


def test_conda_gets_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    conda = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert environment["name"] == PROJECT["name"] == NAME
    constraints, install = pip
    assert constraints == "-c constraints.txt"
    assert set(re.fullmatch(r"-e \.\[(.+)\]", install)[1].split(",")) == set(EXTRAS)
    # Everything but the interpreter comes from pip, so that there is one list of versions.
    assert {re.split("[=<>]", d)[0] for d in conda} == {"python", "pip"}
    (python,) = [d.split("=")[1] for d in conda if d.startswith("python=")]
    assert Version(python) >= Version("3.11")


def test_import_loads_numpy_alone():
    heavy = {"scipy", "torch", "matplotlib", "array_api_compat", "pandas", "altair", "IPython"}
    code = "import companion, sys; print(*{name.split('.')[0] for name in sys.modules})"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COMPANION_")}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "numpy" in run.stdout.split()
    assert not heavy & set(run.stdout.split())


@pytest.mark.parametrize(
    ("python", "said"), [("no-such-python", "not found"), ("old", "Python 3.10.13")]
)
def test_a_missing_or_old_python_is_a_clear_message(tmp_path, python, said):
    if python == "old":
        script = tmp_path / "old"
        script.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.13"\n')
        script.chmod(0o755)
        python = str(script)
    environment = {**os.environ, "PYTHON": python}
    run = subprocess.run(
        ["sh", "tools/setup.sh", tmp_path / "venv"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    assert "Python 3.11 or later is needed" in run.stderr
    assert said in run.stderr
    assert "make PYTHON=" in run.stderr
    assert not (tmp_path / "venv").exists()
