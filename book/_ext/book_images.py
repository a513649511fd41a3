"""Every image has a text for those who do not see it, and its size, so that the page keeps still.

An image without `alt` is a warning, which stops the build.
"""

from pathlib import Path

import imagesize
from docutils import nodes
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

log = logging.getLogger(__name__)


def visit(self, node):
    if not node.get("alt"):
        log.warning("image without alt text: %s", node["uri"], location=node, type="image")
    file = Path(self.builder.srcdir, node["uri"])
    HTML5Translator.visit_image(self, node)
    if file.is_file():
        # PNG figures are stored at double resolution.
        scale = 2 if file.suffix == ".png" else 1
        width, height = (round(side / scale) for side in imagesize.get(file))
        size = f'width="{width}" height="{height}" loading="lazy" '
        self.body[-1] = self.body[-1].replace("<img ", "<img " + size, 1)


def depart(self, node):
    HTML5Translator.depart_image(self, node)


def setup(app):
    app.add_node(nodes.image, override=True, html=(visit, depart))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
