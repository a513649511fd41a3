"""Formulas are typeset when the book is built.

KaTeX runs in an embedded V8 (mini-racer), so that no page loads a math script. What KaTeX does not
accept is a warning, which stops the build.
"""

import atexit
import json
import re
from functools import cache
from pathlib import Path

from docutils import nodes
from py_mini_racer import JSEvalException, MiniRacer
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

log = logging.getLogger(__name__)
VENDOR = Path(__file__).parents[1] / "_vendor"

# KaTeX numbers these itself; here Sphinx gives the numbers.
NUMBERED = re.compile(r"\\(begin|end)\{(equation|align|gather|alignat)\}")
TOKEN = re.compile(r"\\(?:begin|end)\s*\{[^}]*\}|\\[A-Za-z]+|\\.|.", re.DOTALL)
DEEPER = re.compile(r"\{|\\begin\s*\{.*|\\left")
SHALLOWER = re.compile(r"\}|\\end\s*\{.*|\\right")


@cache
def engine():
    vm = MiniRacer()
    # Left to itself it closes when the interpreter is half gone, and waits for ever on Python 3.13.
    atexit.register(vm.close)
    vm.eval((VENDOR / "katex/katex.min.js").read_text("utf8"))
    return vm


@cache
def _to_html(tex, display, macros):
    options = {"displayMode": display, "strict": "error", "macros": dict(macros)}
    return engine().eval(f"katex.renderToString({json.dumps(tex)}, {json.dumps(options)})")


def to_html(tex, display, config, location):
    """Typeset `tex`, or warn at `location` and show it as code."""
    try:
        return _to_html(tex, display, tuple(config.katex_macros.items()))
    except JSEvalException as error:
        reason = next((s for s in str(error).splitlines() if "Error" in s), str(error))
        log.warning("%s in %s", reason.strip(), tex, location=location, type="katex")
        return f"<code>{tex.replace('&', '&amp;').replace('<', '&lt;')}</code>"


def side_by_side(tex):
    """Cut a formula at the gaps between its parts, which may then stand one below the other.

    A formula of several lines is one part.
    """
    depth, parts = 0, [""]
    for token in TOKEN.findall(tex):
        depth += bool(DEEPER.fullmatch(token)) - bool(SHALLOWER.fullmatch(token))
        if depth == 0 and token == r"\\":
            return [rf"\begin{{split}}{tex}\end{{split}}"]  # as Sphinx has it for other renderers
        if depth == 0 and token in (r"\quad", r"\qquad"):
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts if part.strip()]


def visit_inline(self, node):
    html = to_html(node.astext(), False, self.config, node)
    self.body.append(self.starttag(node, "span", "", CLASS="math") + html + "</span>")
    raise nodes.SkipNode


def visit_block(self, node):
    tex = NUMBERED.sub(r"\\\1{\2*}", node.astext().strip())
    parts = [to_html(part, True, self.config, node) for part in side_by_side(tex)]
    self.body.append(self.starttag(node, "div", "", CLASS="math"))
    self.body.append(f'<span class="katex-parts">{"".join(parts)}</span>')
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_config_value("katex_macros", {}, "env")
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_block, None))
    app.add_css_file("../katex/katex.min.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
