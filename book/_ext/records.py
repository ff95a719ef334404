"""Copies run records and rows beside the pages, for the page of all runs to link to wherever the book is read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def _copy(app: Sphinx, exception: Exception | None) -> None:
    """results/**/*.json and *.csv of the repository, into the folder results/ of the built book."""
    if exception is not None:
        return
    results = Path(app.srcdir).parent / "results"
    for path in (path for kind in ("*.json", "*.csv") for path in results.rglob(kind)):
        copy = Path(app.outdir) / "results" / path.relative_to(results)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
