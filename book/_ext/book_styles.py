"""One style sheet instead of thirteen, which a browser would all wait for before it draws.

The pages name `_static/site.css` alone (`_templates/layout.html`); when the build has copied the
sheets of Sphinx, of the theme and of the extensions, they are put together there in their order.
"""

import os
import re
from pathlib import Path

THEME = ["_static/styles/theme.css", "_static/styles/pydata-sphinx-theme.css"]
IMPORT = re.compile(r"@import\s+(?:url\()?[\"']([^\"']+)[\"']\)?;")
URL = re.compile(r"url\(([\"']?)(?!data:|#)([^\"')]+)\1\)")


def inlined(sheet, folder):
    """Return the text of `sheet`, with its imports in place, for use in `folder`."""
    text = IMPORT.sub(lambda m: inlined(sheet.parent / m[1], folder), sheet.read_text("utf-8-sig"))
    base = os.path.relpath(sheet.parent, folder)
    return URL.sub(lambda m: f"url({os.path.normpath(os.path.join(base, m[2]))})", text)


def collect(app, pagename, templatename, context, doctree):
    app.book_sheets = THEME + [str(sheet.filename) for sheet in context["css_files"]]


def bundle(app, error):
    sheets = getattr(app, "book_sheets", None)
    if error or sheets is None:  # nothing was written anew
        return
    out = Path(app.outdir)
    folder = out / "_static"
    parts = [inlined(out / sheet, folder) for sheet in dict.fromkeys(sheets)]
    (folder / "site.css").write_text("\n".join(parts), "utf-8")


def setup(app):
    app.connect("html-page-context", collect, priority=900)  # when the others have added theirs
    app.connect("build-finished", bundle, priority=900)  # and when the theme has written its own
    return {"parallel_read_safe": True, "parallel_write_safe": False}
