"""Leaves out two scripts that every page would load and none needs: Font Awesome, and sphinx-thebe (of the network)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def _drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    def is_thebe(script: Any) -> bool:
        body = getattr(script, "attributes", {}).get("body") or ""
        return "thebe" in str(getattr(script, "filename", None) or script) or "THEBE_JS_URL" in body

    context["script_files"] = [script for script in context["script_files"] if not is_thebe(script)]


def _blank_font_awesome(app: Sphinx, exception: Exception | None) -> None:
    """Half of a page's bytes would be this script; the theme's style sheet has the same icons as a web font."""
    script = Path(app.outdir, "_static", "scripts", "fontawesome.js")
    if exception is None and script.is_file():
        script.write_text("// The icons come from the theme's web font.\n", encoding="utf-8")
        script.with_name(f"{script.name}.map").unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", _drop_thebe, priority=900)
    app.connect("build-finished", _blank_font_awesome)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
