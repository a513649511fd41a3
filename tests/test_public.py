"""What is not in the registry, since it has no definition of one number, is tested by name."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest

MODULES = (
    "autodiff",
    "datasets",
    "gradients",
    "initializers",
    "losses",
    "network",
    "optimizers",
    "torch_bridge",
    "training",
)
#: where the tests of a module are, if not in one file under its name
FILES = {"training": ("training", "checkpoint", "distributed")}
HERE = Path(__file__).parent


def public(module):
    """Names of the functions and classes that a module, or a module of its package, defines."""
    for name, value in vars(module).items():
        made = inspect.isfunction(value) or inspect.isclass(value)
        if made and not name.startswith("_") and value.__module__.startswith(module.__name__):
            yield name


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_in_the_tests_of_its_module(name):
    names = set(public(import_module(f"companion.{name}")))
    assert names, "a module without public names"
    files = [HERE / f"test_{file}.py" for file in FILES.get(name, (name,))]
    text = "".join(file.read_text("utf-8") for file in files)
    # the tests of losses find a gradient by grad_of(loss)
    missing = [n for n in sorted(names) if n.removesuffix("_grad") not in text]
    assert not missing, f"{', '.join(map(str, files))} do not name {', '.join(missing)}"
