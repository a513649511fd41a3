"""Write the small inventories in book/_inv: where other projects document what our docstrings name.

    python tools/inventories.py

A build then links there without asking for the projects' own, large inventories. Add a line when
the build warns of a missing reference.
"""

import zlib
from pathlib import Path

OUT = Path(__file__).resolve().parents[1] / "book/_inv"
FUNCTIONS, TYPES = "library/functions.html#$", "library/stdtypes.html#$"
ERRORS, NUMPY = "library/exceptions.html#$", "reference/generated/$.html#$"

# key: (project, [(name, domain:role, address; $ is the name)])
INVENTORIES = {
    "python": (
        "Python",
        [
            *((name, "py:class", FUNCTIONS) for name in ("bool", "float", "int", "object", "type")),
            *((name, "py:class", TYPES) for name in ("dict", "list", "str", "tuple", "frozenset")),
            *(
                (name, "py:exception", ERRORS)
                for name in (
                    "AssertionError",
                    "ImportError",
                    "KeyError",
                    "RuntimeError",
                    "TypeError",
                    "ValueError",
                )
            ),
            ("types.ModuleType", "py:class", "library/types.html#$"),
        ],
    ),
    "numpy": (
        "NumPy",
        [
            ("numpy.ndarray", "py:class", NUMPY),
            ("numpy.random.Generator", "py:class", "reference/random/generator.html#$"),
            ("array_like", "std:term", "glossary.html#term-array_like"),
        ],
    ),
    "torch": ("PyTorch", [("torch.Tensor", "py:class", "tensors.html#$")]),
    "matplotlib": (
        "Matplotlib",
        [
            ("matplotlib.axes.Axes", "py:class", "api/_as_gen/$.html#$"),
            ("matplotlib.lines.Line2D", "py:class", "api/_as_gen/$.html#$"),
            ("matplotlib.pyplot.subplots", "py:function", "api/_as_gen/$.html#$"),
        ],
    ),
}

for key, (project, entries) in INVENTORIES.items():
    head = (
        f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    lines = (
        f"{name} {role} {-1 if role.startswith('std:') else 1} {uri.replace('$', name)} -\n"
        for name, role, uri in sorted(entries)
    )
    (OUT / f"{key}.inv").write_bytes(head.encode() + zlib.compress("".join(lines).encode(), 9))
