"""The directive {themed-figure} NAME: a figure drawn twice, NAME-light.svg and NAME-dark.svg.

The style sheet shows the one that suits the reader's mode. Caption, number and alt text are shared; alt is
required.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.parsers.rst.directives.images import Figure
from sphinx.application import Sphinx


class ThemedFigure(Figure):
    def run(self) -> list[nodes.Node]:
        if not self.options.get("alt", "").strip():
            raise self.error(f"themed-figure {self.arguments[0]}: no :alt: text")
        name = self.arguments[0]
        self.arguments[0] = f"{name}-light.svg"
        result = super().run()
        (figure,) = (node for node in result if isinstance(node, nodes.figure))
        light = next(iter(figure.findall(nodes.image)))
        dark = light.deepcopy()
        dark["uri"] = f"{name}-dark.svg"
        figure["ids"], figure["names"] = light["ids"] + figure["ids"], light["names"] + figure["names"]
        for image, mode in ((light, "light"), (dark, "dark")):
            image["ids"], image["names"] = [], []
            image["classes"] += [f"themed-{mode}", "dark-light"]  # dark-light: the theme lays no white ground
        figure.insert(1, dark)
        return result


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("themed-figure", ThemedFigure)
    return {"parallel_read_safe": True}
