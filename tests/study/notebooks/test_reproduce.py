"""Every table of a page that shows results says how to make it again."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
# words, the list of all runs, and two tables of mini-SAM's pre-training, whose page says how it was done
WITHOUT = {"quoted-rows", "all-runs", "held-out", "recipes"}


def tables(source: str) -> dict[str, bool]:
    """What a cell calls `report.table` with, and whether that call has `again`."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {
        ast.unparse(call.args[0]).strip("'"): any(word.arg == "again" for word in call.keywords)
        for call in calls
        if ast.unparse(call.func) == "report.table"
    }


def test_every_table_of_results_says_how_to_make_it_again() -> None:
    found: dict[str, bool] = {}
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                found |= {f"{path.stem}: {key}": said for key, said in tables(cell.source).items()}
    assert len(found) > 40
    assert {name for name, said in found.items() if not said and name.split(": ")[1] not in WITHOUT} == set()
