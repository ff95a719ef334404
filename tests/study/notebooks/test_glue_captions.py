"""Glued figures and tables reach the page with number and caption; a missing one fails the build."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
JUPYTER_BOOK = Path(sys.executable).with_name("jupyter-book")
CONFIG = """title: t
execute: {execute_notebooks: "off"}
sphinx:
  local_extensions: {glue_captions: _ext}
  config:
    numfig: true
    numfig_format: {figure: "Book figure %s", table: "Book table %s"}
"""
pytestmark = pytest.mark.skipif(not JUPYTER_BOOK.is_file(), reason="jupyter-book is not installed")


def glued(key: str, markup: str) -> dict[str, object]:
    data = {"text/html": markup, "text/plain": f"plain {key}"}
    return {"output_type": "display_data", "data": data, "metadata": {"scrapbook": {"name": key, "mime_prefix": ""}}}


def build(tmp_path: Path, page: str, intro: str = "") -> tuple[subprocess.CompletedProcess[str], Path]:
    """A book of a notebook that glues the table t, the figure f and the number n, and of a start page."""
    shutil.copytree(ROOT / "book" / "_ext", tmp_path / "_ext")
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters:\n- file: page\n")
    (tmp_path / "intro.md").write_text(f"# Start\n\n{intro}\n")
    outputs = [
        glued("t", "<table><tr><td>cell</td></tr></table>"),
        glued("f", "<img alt='x' src='data:,'>"),
        glued("n", "0.8"),
    ]
    code = {"cell_type": "code", "id": "1", "metadata": {"tags": ["remove-output"]}, "source": "1", "outputs": outputs}
    words = {"cell_type": "markdown", "id": "0", "metadata": {}, "source": f"# Page\n\n{page}"}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [words, {**code, "execution_count": 1}]
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "page.ipynb").write_text(json.dumps(notebook))
    command = [str(JUPYTER_BOOK), "build", str(tmp_path), "-W", "-n", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done, tmp_path / "_build" / "html"


def test_what_is_glued_is_numbered_and_can_be_shown_elsewhere(tmp_path: Path) -> None:
    page = "```{glue:table} t\n:name: tab-t\n:class: full-width\n\nA *table*.\n```\n\n"
    page += "```{glue:figure} f\n:name: fig-f\n\nA figure of {glue:text}`n`.\n```\n\n{numref}`tab-t`, {numref}`fig-f`"
    intro = "```{glue:table} t\n:doc: page.ipynb\n:name: tab-again\n\nAgain.\n```\n\n{glue:text}`page.ipynb::n:s`"
    done, html = build(tmp_path, page, intro)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (html / "page.html").read_text(encoding="utf-8")
    table = text[text.index('<figure class="table-figure full-width') :]
    assert 'id="tab-t"' in table
    assert table.index("Book table 2") < table.index(
        "<td>cell</td>"
    )  # the caption stands above; table 1 is on the start page
    assert table.index("alt='x'") < table.index("Book figure 1")
    assert 'A figure of <span class="pasted-text">plain n</span>' in text
    assert 'href="#tab-t"' in text
    start = (html / "intro.html").read_text(encoding="utf-8")
    assert start.index("Book table 1") < start.index("<td>cell</td>") < start.index("plain n")


def test_what_is_missing_fails_the_build(tmp_path: Path) -> None:
    page = "{glue:text}`absent-number`\n\n```{glue:table} absent-table\n:name: tab-a\n\nA.\n```\n\n"
    page += "```{glue:table} t\n:name: tab-b\n```"
    intro = (
        "```{glue:figure} absent-figure\n:doc: page.ipynb\n:name: fig-a\n\nA.\n```\n\n{glue:text}`page.ipynb::gone:s`"
    )
    done, _ = build(tmp_path, page, intro)
    assert done.returncode != 0
    told = done.stdout + done.stderr
    for key in ("absent-number", "absent-table", "absent-figure", "gone"):
        assert f"'{key}'" in told
    assert "needs a :name: and a caption" in told
