"""The directive {glue:table} KEY: a table that a notebook glued, with a numbered caption above it.

It is for tables what myst-nb's {glue:figure} is for figures. A key that the notebook does not glue is a warning,
hence a failed build under -W.
"""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from myst_nb.core.variables import RetrievalError, render_variable_outputs
from myst_nb.ext.glue.domain import NbGlueDomain
from myst_nb.ext.glue.utils import glue_warning, retrieve_glue_data
from myst_nb.ext.utils import DirectiveBase
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


class TableFigure(nodes.figure):
    """A figure that counts among the book's tables."""


class GlueTable(DirectiveBase):
    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"name": directives.unchanged_required, "class": directives.class_option}

    def run(self) -> list[nodes.Node]:
        if "name" not in self.options or not self.content:
            return [glue_warning("{glue:table}: needs a :name: and a caption", self.document, self.line)]
        try:
            found = retrieve_glue_data(self.document, self.arguments[0])
        except RetrievalError as error:
            return [glue_warning(str(error), self.document, self.line)]
        figure = TableFigure("", classes=["table-figure", *self.options.get("class", [])])
        self.set_source_info(figure)
        self.add_name(figure)
        words = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, words)
        figure += nodes.caption("", "", *words[0].children)
        figure += render_variable_outputs([found], self.document, self.line, self.source)
        return [figure]


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("myst_nb")
    app.add_enumerable_node(TableFigure, "table", html=(HTML5Translator.visit_figure, HTML5Translator.depart_figure))
    app.add_directive_to_domain(NbGlueDomain.name, "table", GlueTable)
    return {"parallel_read_safe": True}
