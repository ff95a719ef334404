"""{glue:figure} KEY and {glue:table} KEY: what a notebook glued, with a numbered caption below or above it.

As myst-nb's own {glue:figure}, and also for tables, and with `:doc:` for what another notebook glued. A key that is not
glued there is a warning, hence a failed build under -W.
"""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from myst_nb.core.variables import RetrievalError, render_variable_outputs
from myst_nb.ext.glue.domain import NbGlueDomain
from myst_nb.ext.glue.utils import create_pending_glue_ref, glue_warning, retrieve_glue_data
from myst_nb.ext.utils import DirectiveBase
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


class TableFigure(nodes.figure):
    """A figure that counts among the book's tables."""


class GlueFigure(DirectiveBase):
    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {
        "name": directives.unchanged_required,
        "class": directives.class_option,
        "doc": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        if "name" not in self.options or not self.content:
            return [glue_warning(f"{{{self.name}}}: needs a :name: and a caption", self.document, self.line)]
        try:
            shown = self.glued()
        except RetrievalError as error:
            return [glue_warning(str(error), self.document, self.line)]
        words = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, words)
        figure = self.around(shown, nodes.caption("", "", *words[0].children))
        figure["classes"] += self.options.get("class", [])
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]

    def glued(self) -> list[nodes.Node]:
        key = self.arguments[0]
        if "doc" in self.options:  # filled in when that notebook has been read
            return [create_pending_glue_ref(self.document, self.source, self.line, self.options["doc"], key)]
        found = retrieve_glue_data(self.document, key)
        return list(render_variable_outputs([found], self.document, self.line, self.source))

    def around(self, shown: list[nodes.Node], caption: nodes.caption) -> nodes.figure:
        return nodes.figure("", *shown, caption)


class GlueTable(GlueFigure):
    def around(self, shown: list[nodes.Node], caption: nodes.caption) -> nodes.figure:
        return TableFigure("", caption, *shown, classes=["table-figure"])


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("myst_nb")
    app.add_enumerable_node(TableFigure, "table", html=(HTML5Translator.visit_figure, HTML5Translator.depart_figure))
    app.add_directive_to_domain(NbGlueDomain.name, "figure", GlueFigure, override=True)
    app.add_directive_to_domain(NbGlueDomain.name, "table", GlueTable)
    return {"parallel_read_safe": True}
