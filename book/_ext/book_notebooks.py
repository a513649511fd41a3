"""What the site makes of the stored outputs of a notebook.

A figure of `companion.teaching.figures.interactive` is stored as Vega-Lite for JupyterLab and as a
static SVG beside it. A page gets one element of the two: it shows the picture, and
`_static/figures.js` puts the living chart in its place when a reader comes near. Formulas in HTML
outputs are typeset as they are in the text.
"""

import json
import re
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote

from book_math import to_html

VEGA = "application/vnd.vegalite.v5+json"
FORMULA = re.compile(r'(<span class="math[^"]*">)\\\((.+?)\\\)(</span>)', re.DOTALL)


def join(text):
    """A notebook stores long texts as lists of lines."""
    return "".join(text) if isinstance(text, list) else text


def chart_html(spec, svg):
    alt = escape(spec["description"])
    height = float(re.search(r'height="([0-9.]+)"', svg)[1])
    sliders = sum("bind" in param for param in spec.get("params", []))
    # `</script>` in a text of the chart would end the element
    data = json.dumps(spec, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    picture = quote(svg, safe=" =:/;,()'!*+?@[]{}|^$&~")
    return (
        f'<div class="chart" role="group" aria-label="{alt}" '
        f'style="--height:{height:.0f}px;--sliders:{sliders}">'
        f'<div class="chart-view"><img alt="{alt}" src="data:image/svg+xml,{picture}"></div>'
        f'<script type="application/json">{data}</script></div>'
    )


def rewrite(app, docname, source):
    if Path(app.env.doc2path(docname)).suffix != ".ipynb":
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if VEGA in data:
                output["data"] = {"text/html": chart_html(data[VEGA], join(data["image/svg+xml"]))}
            elif "text/html" in data:
                data["text/html"] = FORMULA.sub(
                    lambda m: m[1] + to_html(unescape(m[2]), False, app.config, docname) + m[3],
                    join(data["text/html"]),
                )
    source[0] = json.dumps(notebook)


def setup(app):
    app.connect("source-read", rewrite)
    app.add_js_file("figures.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
