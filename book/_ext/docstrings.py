"""Docstrings of this project are plain sentences with `code` in backticks; autodoc expects reStructuredText."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx


def as_rst(line: str) -> str:
    """A line of a docstring with its `code` as literals and every other sign as it stands."""
    parts = re.split(r"`+([^`]+)`+", line)  # every second one is code
    return "".join(
        rf"\ ``{part}``\ " if index % 2 else re.sub(r"([\\*_|`])", r"\\\1", part) for index, part in enumerate(parts)
    )


def _convert(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Prose line by line; an indented block after an empty line is shown as it stands."""
    found: list[str] = []
    inside = False
    for line in lines:
        indented = line.startswith("  ")
        if indented and not inside and found and not found[-1]:
            found += [".. code-block:: text", ""]
            inside = True
        inside = inside and (indented or not line)
        found.append(line if inside else as_rst(line))
    lines[:] = found


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", _convert)
    return {"parallel_read_safe": True}
