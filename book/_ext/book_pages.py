"""The frame of the pages: description, launch links, a check that nothing is fetched elsewhere."""

import re
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

log = logging.getLogger(__name__)

# What a browser fetches by itself; a link that a reader may follow is not among it.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=\"((?:https?:)?//[^\"]+)"
    r"|<link\b(?![^>]*\brel=\"canonical\")[^>]*\bhref=\"((?:https?:)?//[^\"]+)"
)
IMPORTED = re.compile(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')]+)")


def launch_links(app, config):
    options = config.html_theme_options
    options["use_repository_button"] = bool(options.get("repository_url"))
    if not options.get("repository_url"):
        options["launch_buttons"] = {}


def describe(app, pagename, templatename, context, doctree):
    """Give the page the `<meta name="description">` that its first paragraph makes."""
    paragraphs = doctree.findall(nodes.paragraph) if doctree else []
    first = next((p.astext() for p in paragraphs if len(p.astext()) > 40), context.get("title", ""))
    text = re.sub(r"\s+", " ", first)
    text = text if len(text) <= 160 else text[:160].rpartition(" ")[0] + " …"
    tag = f'\n    <meta name="description" content="{escape(text)}" />'
    context["metatags"] = context.get("metatags", "") + tag


def refuse_outside_requests(app, error):
    if error or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for pattern, suffix in ((FETCHED, "html"), (IMPORTED, "css")):
        for file in sorted(out.rglob(f"*.{suffix}")):
            for match in pattern.finditer(file.read_text("utf8")):
                url = match[match.lastindex]
                log.warning("%s asks another site for %s", file.relative_to(out), url, type="site")


def setup(app):
    app.add_config_value("comments_config", {}, "")  # set by Jupyter Book for an extension left out
    app.add_css_file("book.css", priority=900)  # after the theme's
    app.connect("config-inited", launch_links)
    app.connect("html-page-context", describe)
    app.connect("build-finished", refuse_outside_requests)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
