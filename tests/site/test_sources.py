"""The book's sources: what a build would show wrongly, and what a phone has no room for."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = sorted(p for p in ROOT.glob("book/**/*.md") if "_vendor" not in p.parts)
NOTEBOOKS = sorted(
    p for p in ROOT.glob("book/**/*.ipynb") if not any(part.startswith(".") for part in p.parts)
)
VEGA = "application/vnd.vegalite.v5+json"


def cells(notebook):
    """Yield (number, cell, source) of a notebook."""
    for number, cell in enumerate(json.loads(notebook.read_text("utf-8"))["cells"]):
        yield number, cell, "".join(cell["source"])


def markdown():
    """Yield (where, text) of all that is written, without its code blocks."""
    for file in TEXTS:
        yield file.name, file.read_text("utf-8")
    for file in NOTEBOOKS:
        for number, cell, source in cells(file):
            if cell["cell_type"] == "markdown":
                yield f"{file.name}[{number}]", source


def prose():
    for where, text in markdown():
        yield where, re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)


def glued(text):
    """Yield the lines of `text` that open a display formula without a blank line before it."""
    inside, before = False, ""
    for line in text.splitlines():
        lead, dollars, _ = line.partition("$$")
        if dollars and not inside and (lead.strip(" >-") or before.strip(" >")):
            yield line
        if line.count("$$") % 2:
            inside = not inside
        before = line


def test_display_formulas_stand_alone():
    # directly after a line of text, the dollars are shown as dollars
    assert list(glued("of\n$$\nx\n$$")) == ["$$"]
    assert list(glued("by $$x$$")) == ["by $$x$$"]
    assert not list(glued("by\n\n$$\nx\n$$ (label)\n\n$$ y $$\n"))
    found = [f"{where}: {line!r}" for where, text in prose() for line in glued(text)]
    assert not found, "\n".join(found)


def test_titles_hold_no_formula():
    # the browser's tab would show it as markup
    titles = [
        f"{where}: {match[0]}"
        for where, text in markdown()
        if (match := re.match(r"# .*\$.*", text))
    ]
    assert not titles, "\n".join(titles)


def test_code_fits_a_page():
    wide = [
        f"{notebook.stem}[{number}]: {len(line)} characters: {line}"
        for notebook in NOTEBOOKS
        for number, cell, source in cells(notebook)
        if cell["cell_type"] == "code"
        for line in source.splitlines()
        if len(line) > 78
    ]
    assert not wide, "\n".join(wide)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_figures_say_what_they_show(notebook):
    silent = []
    for number, cell, _ in cells(notebook):
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "").strip()
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if VEGA in data:
                alt = data[VEGA].get("description", "").strip()
            elif not data.keys() & {"image/png", "image/svg+xml"}:
                continue
            if len(alt) < 20:
                silent.append(f"cell {number}: {alt!r}")
    assert not silent, "\n".join(silent)


def test_sliders_have_names():
    nameless = [
        f"{file.name}[{number}]: {param['name']}"
        for file in NOTEBOOKS
        for number, cell, _ in cells(file)
        for output in cell.get("outputs", [])
        for param in output.get("data", {}).get(VEGA, {}).get("params", [])
        if isinstance(param.get("bind"), dict) and not param["bind"].get("name", "").strip()
    ]
    assert not nameless, "\n".join(nameless)


def test_nothing_is_fetched_from_elsewhere():
    files = [*ROOT.glob("book/_static/*"), *ROOT.glob("book/_templates/*")]
    texts = [(file.name, file.read_text("utf-8")) for file in files] + list(markdown())
    fetched = re.compile(
        r"(?:src=[\"']|url\([\"']?|@import [\"']|import\([\"'])(?:https?:)?//[^\"')\s]+"
        r"|!\[[^\]]*\]\(https?:[^)]+"
    )
    outside = [f"{where}: {m[0]}" for where, text in texts for m in fetched.finditer(text)]
    assert not outside, "\n".join(outside)


def test_vendored_files_carry_their_licence():
    for folder in (ROOT / "book/_vendor").iterdir():
        assert folder.is_file() or list(folder.glob("LICENSE-*")), folder.name
