"""The role {num}`key`: a number from `_generated/numbers.json`, which package code writes before the build.

A key that is missing there is a Sphinx warning, hence a failed build under -W. Numbers are never typed.
"""

from __future__ import annotations

import json
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

FILE = "_generated/numbers.json"
logger = logging.getLogger(__name__)


class Number(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        self.env.note_dependency(str(self.env.srcdir / FILE))
        values: dict[str, str] = self.env.app.config.allinsam_numbers
        key = self.text.strip()
        if key in values:
            return [nodes.inline(self.rawtext, values[key], classes=["num"])], []
        logger.warning(
            "{num}`%s`: no such key in %s (%d keys); is it written by study.pages.book, and was "
            "`allinsam book generate` run before the build?",
            key,
            FILE,
            len(values),
            location=self.get_location(),
        )
        return [nodes.inline(self.rawtext, f"[missing: {key}]", classes=["num"])], []


def _read(app: Sphinx) -> None:
    path = app.srcdir / FILE
    if not path.is_file():
        logger.warning("%s: no such file; run `allinsam book generate` before the build", path)
        return
    values = json.loads(path.read_text(encoding="utf-8"))
    wrong = [key for key, value in values.items() if not isinstance(value, str)]
    if wrong:
        logger.warning("%s: %s: expected text, formatted where it is computed", path, ", ".join(wrong))
    app.config.allinsam_numbers = values


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("allinsam_numbers", {}, "")
    app.add_role("num", Number())
    app.connect("builder-inited", _read)
    return {"parallel_read_safe": True}
