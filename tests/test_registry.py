"""Every public function has its row, and says what it must in its docstring."""

import inspect
import re
from types import ModuleType

import pytest

from companion import activations, registry
from companion.registry import HELPERS, REGISTRY, ROWS, STEPS

#: The modules whose public functions the ladder holds to a definition.
MODULES = (activations,)
MAIN = [row.function for row in ROWS]
DERIVATIVES = [f for row in ROWS for f in (row.grad, *row.parameter_grads.values())]


def without_row(module):
    """Name the public functions that are neither in a row nor among the helpers."""
    known = {f.__name__ for f in (*MAIN, *DERIVATIVES)} | set(HELPERS)
    names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
    return [name for name in names if callable(getattr(module, name)) and name not in known]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_every_public_function_has_a_row(module):
    assert without_row(module) == []


def test_a_function_without_a_row_is_refused():
    planted = ModuleType("planted")
    planted.relu = activations.relu
    planted.squareplus = lambda x: x
    planted._hidden = lambda x: x
    assert without_row(planted) == ["squareplus"]


def test_everything_in_a_module_is_exported():
    from companion.activations import groups, rectifiers, smooth, squashing

    for module in (groups, rectifiers, smooth, squashing):
        for name, f in vars(module).items():
            public = inspect.isfunction(f) and not name.startswith("_")
            if public and f.__module__ == module.__name__ and name not in INTERNAL:
                assert name in activations.__all__, f"{module.__name__}.{name}"


#: Public within the package: what one module of the activations lends to another.
INTERNAL = {"unit_step", "exponentials"}


def test_helpers_have_a_reason_and_exist():
    for name, reason in HELPERS.items():
        assert hasattr(activations, name)
        assert len(reason) > 20


def test_rows_are_whole():
    assert len(REGISTRY) == len(ROWS), "two rows of one name"
    for row in ROWS:
        assert row.grad is not None, row.name
        assert row.grad.__name__ == row.name + ("_grad" if row.elementwise else "_vjp")
        for name, grad in row.parameter_grads.items():
            assert grad.__name__ == f"{row.name}_grad_{name}"
            assert name in inspect.signature(row.function).parameters
        assert (row.limits is not None) == row.elementwise, row.name
        for parameters in row.parameters:
            inspect.signature(row.function).bind(None, **parameters)
            inspect.signature(row.definition).bind(None, None, **parameters)
        for step, reason in row.not_applicable.items():
            assert step in STEPS
            assert len(reason) > 20


@pytest.mark.parametrize("f", MAIN, ids=lambda f: f.__name__)
def test_docstring_of_a_function(f):
    doc = inspect.getdoc(f)
    summary = doc.split("\n")[0]
    assert summary.endswith("."), summary
    assert ":math:`" in doc.split("Parameters\n")[0], "the formula comes first"
    headings = re.findall(r"^([A-Z][A-Za-z ]+)\n-{3,}$", doc, re.M)
    expected = ["Parameters", "Returns", "See Also", "References", "Examples"]
    assert headings == [h for h in expected if h in headings], "numpydoc's order"
    optional = {"See Also"} | ({"References"} if f.__name__ in WITHOUT_A_PAPER else set())
    assert set(expected) - set(headings) <= optional, headings
    assert ">>> " in doc
    parameters = doc.split("Parameters\n")[1].split("Returns\n")[0]
    for name in inspect.signature(f).parameters:
        assert re.search(rf"^[\w, ]*\b{name}\b[\w, ]* : ", parameters, re.M), name


#: No one is to be cited for these.
WITHOUT_A_PAPER = {"identity", "log_softmax"}


@pytest.mark.parametrize("f", DERIVATIVES, ids=lambda f: f.__name__)
def test_docstring_of_a_derivative(f):
    doc = inspect.getdoc(f)
    assert re.match(r"(Derivative of|Pull a gradient back through) :func:`", doc)
    assert "Examples\n--------\n>>> " in doc


@pytest.mark.parametrize("f", [*MAIN, *DERIVATIVES], ids=lambda f: f.__name__)
def test_signatures_follow_the_conventions(f):
    names = list(inspect.signature(f).parameters)
    assert names[:2] == ["dy", "x"] if f.__name__.endswith("_vjp") else names[0] == "x"
    assert not any(name in ("dim", "inplace", "input") or name.endswith("_") for name in names)


def test_the_registry_needs_neither_mpmath_nor_torch():
    source = inspect.getsource(registry)
    assert not re.search(r"^\s*(import|from) (mpmath|torch|scipy)", source, re.M)
