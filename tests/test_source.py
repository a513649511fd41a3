"""What a page shows of a function is its source, without what surrounds the formula."""

from dataclasses import dataclass

import pytest
from IPython.core.formatters import DisplayFormatter

from companion import activations
from companion.backend import elementwise
from companion.teaching.source import WIDTH, show


@elementwise
def scaled(
    x: list[tuple[int, "str"]], slope: float = 1 / 8, *, name: str = "α -> β", **options: int
) -> dict[str, tuple[int, ...]]:
    """Do nothing of use.

    Examples
    --------
    >>> 1 + 1
    2
    """

    # a comment above
    def inner(y: float) -> float:
        """Explain."""
        return y  # a comment beside

    return {name: inner(x) * slope}


@dataclass(frozen=True)
class Pair:
    """Two numbers."""

    a: float = 0.0

    def swap(self, other: float = 1e-8) -> "Pair":
        return Pair(other)


def test_only_the_formula_is_left():
    assert repr(show(scaled)) == (
        'def scaled(x, slope=1 / 8, *, name="α -> β", **options):\n'
        "    # a comment above\n"
        "    def inner(y):\n"
        "        return y  # a comment beside\n"
        "\n"
        "    return {name: inner(x) * slope}"
    )


def test_a_class_keeps_its_decorator_and_fields():
    assert repr(show(Pair)) == (
        "@dataclass(frozen=True)\n"
        "class Pair:\n"
        "    a: float = 0.0\n"
        "\n"
        "    def swap(self, other=1e-8):\n"
        "        return Pair(other)"
    )


def test_a_notebook_gets_highlighted_code_and_plain_text():
    data, _ = DisplayFormatter().format(show(activations.identity, activations.tanh))
    text = data["text/plain"]
    assert data == {"text/plain": text, "text/markdown": f"```python\n{text}\n```"}
    assert text.split("\n\n\n")[1] == "def tanh(x):\n    return namespace(x).tanh(x)"


@pytest.mark.parametrize("name", activations.__all__)
def test_every_activation_is_shown_as_code_that_runs(name):
    text = repr(show(getattr(activations, name)))
    assert text.startswith(f"def {name}(")
    assert "@" not in text.splitlines()[0]
    assert '"""' not in text
    assert "Any" not in text
    assert len(text.splitlines()[0]) <= WIDTH
    compile(text, name, "exec")


@pytest.mark.parametrize("thing", [len, 3])
def test_what_has_no_python_source_is_refused(thing):
    with pytest.raises(TypeError, match=f"written in Python; got {thing!r}"):
        show(thing)
