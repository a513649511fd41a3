"""One style sheet instead of thirteen, which a browser would all wait for before it draws.

The pages name `_static/site.css` alone (`_templates/layout.html`). When the build has copied the
sheets of Sphinx, of the theme and of the extensions, they are put together there in their order,
less the rules for classes that no page and no script mentions: the theme's sheet styles every part
that Bootstrap has, and 1,400 icons. A third remains.
"""

import os
import re
from pathlib import Path

import tinycss2

THEME = ["_static/styles/theme.css", "_static/styles/pydata-sphinx-theme.css"]
IMPORT = re.compile(r"@import\s+(?:url\()?[\"']([^\"']+)[\"']\)?;")
URL = re.compile(r"url\(([\"']?)(?!data:|#)([^\"')]+)\1\)")
CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
NOT = re.compile(r":not\([^)]*\)")  # names what must not be there
COMMA = re.compile(r",(?![^(\[]*[)\]])")  # one that parts selectors


def inlined(sheet, folder):
    """Return the text of `sheet`, with its imports in place, for use in `folder`."""
    base = os.path.relpath(sheet.parent, folder)
    text = sheet.read_text("utf-8-sig")
    text = URL.sub(lambda m: f"url({os.path.normpath(os.path.join(base, m[2]))})", text)
    return IMPORT.sub(lambda m: inlined(sheet.parent / m[1], folder), text)


def mentioned(site):
    """Return the words of all pages and scripts, among them every class in use."""
    files = [*site.rglob("*.html"), *site.glob("_static/**/*.js")]
    return set().union(*(re.findall(r"[\w-]+", f.read_text("utf-8", "replace")) for f in files))


def in_use(css, words):
    """Yield the rules of `css` whose classes are all among `words`."""
    parse = tinycss2.parse_rule_list
    for rule in parse(css, skip_comments=True, skip_whitespace=True):
        if rule.type == "qualified-rule":
            selectors = COMMA.split(tinycss2.serialize(rule.prelude).strip())
            if kept := [s for s in selectors if words.issuperset(CLASS.findall(NOT.sub("", s)))]:
                yield f"{','.join(kept)}{{{tinycss2.serialize(rule.content).strip()}}}"
        elif rule.type == "at-rule" and rule.lower_at_keyword in {"media", "supports"}:
            if kept := "".join(in_use(rule.content, words)):
                yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{kept}}}"
        else:
            yield rule.serialize()


def collect(app, pagename, templatename, context, doctree):
    app.book_sheets = THEME + [str(sheet.filename) for sheet in context["css_files"]]


def bundle(app, error):
    sheets = getattr(app, "book_sheets", None)
    if error or sheets is None:  # no page was written, and no sheet copied
        return
    out = Path(app.outdir)
    folder = out / "_static"
    css = "\n".join(inlined(out / sheet, folder) for sheet in dict.fromkeys(sheets))
    (folder / "site.css").write_text("\n".join(in_use(css, mentioned(out))), "utf-8")


def setup(app):
    app.connect("html-page-context", collect, priority=900)  # when the others have added theirs
    app.connect("build-finished", bundle, priority=900)  # and when the theme has written its own
    return {"parallel_read_safe": True, "parallel_write_safe": False}
