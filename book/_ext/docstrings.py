"""Docstrings of this project are plain sentences with `code` in backticks; autodoc expects reStructuredText."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx


def as_rst(line: str) -> str:
    """A line of a docstring with its `code` as literals and every other sign as it stands."""
    parts = re.split(r"(`+[^`]+`+)", line)
    return "".join(f"``{p.strip('`')}``" if p.startswith("`") else re.sub(r"([\\*_|])", r"\\\1", p) for p in parts)


def _convert(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    indented = re.compile(r"\s{2,}")
    found: list[str] = []
    for line in lines:
        example = bool(indented.match(line))
        if example and not (found and (indented.match(found[-1]) or not found[-1])):
            example = False
        if example and found and not indented.match(found[-1]):
            found += [".. code-block:: python", ""]
        found.append(line if example else as_rst(line))
    lines[:] = found


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", _convert)
    return {"parallel_read_safe": True}
