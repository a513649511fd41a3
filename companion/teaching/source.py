"""A function's own source in a page, so that a page never retypes what it explains."""

import ast
import inspect
import re
from textwrap import dedent

WIDTH = 78  # of a line of code in a page


class Source:
    """Source text that a notebook and the site show as highlighted code."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text

    def _repr_markdown_(self):
        # JupyterLab and the site both highlight a fence, in the colours of the theme in force
        return f"```python\n{self.text}\n```"


def show(*functions):
    """Show the source of functions or classes, one under the other.

    It is the source as it stands, comments included, without what surrounds a formula:
    decorators, docstrings and type annotations.

    Parameters
    ----------
    *functions : callable

    Returns
    -------
    Source
        The last value of a notebook cell: highlighted in a notebook, plain text elsewhere.

    Raises
    ------
    TypeError
        If one of them is not a function or class written in Python.

    Examples
    --------
    >>> from companion.activations import tanh
    >>> show(tanh)
    def tanh(x):
        return namespace(x).tanh(x)
    """
    return Source("\n\n\n".join(_formula(function) for function in functions))


def _formula(function):
    try:
        source = dedent(inspect.getsource(inspect.unwrap(function)))
    except (TypeError, OSError):
        raise TypeError(
            f"show takes functions and classes written in Python; got {function!r}"
        ) from None
    (top,) = ast.parse(source).body
    source = source.encode()  # ast counts columns in bytes
    lines = source.splitlines(keepends=True)

    def position(line, column):
        return sum(map(len, lines[: line - 1])) + column

    cuts = []
    if isinstance(top, ast.FunctionDef):
        cuts.append((0, position(top.lineno, 0), b""))  # decorators
    for node in ast.walk(top):
        if isinstance(node, ast.arg) and node.annotation:
            start = position(node.lineno, node.col_offset) + len(node.arg.encode())
            end = position(node.end_lineno, node.end_col_offset)
            default = re.compile(rb" = ").match(source, end)
            cuts.append((start, default.end(), b"=") if default else (start, end, b""))
        if isinstance(node, ast.FunctionDef) and node.returns:
            end = position(node.returns.end_lineno, node.returns.end_col_offset)
            arrow = source.rindex(b" ->", 0, position(node.returns.lineno, node.returns.col_offset))
            cuts.append((arrow, end, b""))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            end = position(node.body[0].end_lineno + 1, 0)
            blank = re.compile(rb"\n*").match(source, end)
            cuts.append((position(node.body[0].lineno, 0), blank.end(), b""))
    for start, end, new in sorted(cuts, reverse=True):
        source = source[:start] + new + source[end:]
    return re.sub(r"(?m)^ *def \w+\(\n[^()]*\):$", _on_one_line, source.decode()).rstrip()


def _on_one_line(signature):
    indent, text = re.match(r"( *)(.*)", signature[0], re.DOTALL).groups()
    line = indent + re.sub(r",?\s*\)", ")", re.sub(r"\(\s*", "(", " ".join(text.split())))
    return line if len(line) <= WIDTH else signature[0]
