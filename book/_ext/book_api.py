"""The API reference: what is listed, and how a text names a function.

A function is documented in the module that defines it and imported from the package above it:
`companion.activations.relu`, and `relu` alone in a docstring, both mean
`companion.activations.rectifiers.relu`.
"""

import inspect

from sphinx.util.nodes import make_refnode


def skip_constants(app, what, name, obj, skip, options):
    if what == "module" and not (inspect.isroutine(obj) or inspect.isclass(obj)):
        return True
    return None


def find_by_last_name(app, env, node, contnode):
    if node["refdomain"] != "py":
        return None
    package, _, name = node["reftarget"].rpartition(".")
    found = [
        (fullname, entry)
        for fullname, entry in env.get_domain("py").objects.items()
        if fullname.startswith(package) and fullname.rpartition(".")[2] == name
    ]
    if len(found) != 1:
        return None
    [(fullname, entry)] = found
    source = node["refdoc"]
    return make_refnode(app.builder, source, entry.docname, entry.node_id, contnode, fullname)


def setup(app):
    app.connect("autodoc-skip-member", skip_constants)
    app.connect("missing-reference", find_by_last_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
