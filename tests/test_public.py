"""What is not in the registry, since it has no definition of one number, is tested by name."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest

MODULES = (
    "autodiff",
    "boxes",
    "datasets",
    "gradients",
    "initializers",
    "losses",
    "network",
    "optimizers",
    "schedules",
    "torch_bridge",
    "training",
)
#: the files with the tests of a module, if it is not one under its name
FILES = {
    "boxes": ("test_boxes", "losses/cases_boxes", "losses/test_boxes"),
    "initializers": ("test_initializers*", "initializers/test_*"),
    "losses": tuple(f"losses/{kind}" for kind in ("test_*", "cases_*")),
    "optimizers": ("test_optimizers", "optimizers/test_*"),
    "torch_bridge": ("test_torch_bridge", "optimizers/test_torch_bridge"),
    "training": tuple(f"test_{name}" for name in ("training", "checkpoint", "distributed")),
}
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
    patterns = FILES.get(name, (f"test_{name}",))
    files = [file for pattern in patterns for file in HERE.glob(f"{pattern}.py")]
    text = "".join(file.read_text("utf-8") for file in files)
    # the tests of losses find a gradient by grad_of(loss)
    missing = [n for n in sorted(names) if n.removesuffix("_grad") not in text]
    assert not missing, f"{patterns} do not name {', '.join(missing)}"
