"""What is left out of the style sheet, and what is not."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "book/_ext/book_styles.py"
SPEC = importlib.util.spec_from_file_location("book_styles", PATH)
styles = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(styles)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (".a .b{width:0}", ".a .b{width:0}"),
        (".a .unused{width:0}", ""),
        (".unused,.a:is(h1,h2)>.b{width:0}", ".a:is(h1,h2)>.b{width:0}"),
        (".a:not(.unused){width:0}", ".a:not(.unused){width:0}"),
        ("@media print{.a{width:0}.unused{width:0}}", "@media print{.a{width:0}}"),
        ("@media print{.unused{width:0}}", ""),
        ("@font-face{font-family:X}", "@font-face{font-family:X}"),
        ("h1{width:0}", "h1{width:0}"),
    ],
)
def test_a_rule_stays_if_its_classes_are_in_use(rule, kept):
    assert "".join(styles.in_use(rule, {"a", "b"})) == kept
