"""Page notebooks, run in this process on results written by hand: what they glue, as text."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from study import report

ROOT = Path(__file__).parents[3]


class Glued(dict[str, Any]):
    """Key → what the notebook glued: `text` of a number, `rows` of a table, all its cells as plain text."""

    def text(self, key: str) -> str:
        return str(self[key].text)

    def rows(self, key: str) -> list[list[str]]:
        lines = re.findall(r"<tr[^>]*>(.*?)</tr>", self[key].markup)
        return [[_plain(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)] for line in lines]


def _plain(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup.replace("<br>", " | "))).replace("\u00a0", " ").strip()


RunPage = Callable[..., Glued]


@pytest.fixture
def run_page(monkeypatch: pytest.MonkeyPatch) -> RunPage:
    """Run the code cells of notebooks/NAME.ipynb, the parameters replaced after their cell as papermill does."""

    def run(name: str, **parameters: object) -> Glued:
        glued = Glued()

        def glue(key: str, shown: Any, display: bool = True) -> None:
            assert key not in glued, f"{name} glues {key} twice"
            glued[key] = shown

        monkeypatch.setattr(report, "glue", glue)
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        space: dict[str, Any] = {}
        for index, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
            exec(compile(cell.source, f"{name}[{index}]", "exec"), space)
            if index == 0:
                assert parameters.keys() <= space.keys()
                space.update(parameters)
        return glued

    return run
