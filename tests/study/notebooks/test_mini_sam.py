"""The page on mini-SAM: its recipes meet the runs on their own weights; its numbers come from its records."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def test_each_recipe_meets_the_runs_on_its_own_weights(
    write_run: Callable[..., Path], run_page: Callable[..., Any]
) -> None:
    results = write_run("allinsam", 1.0, 0, {"x": 0.8})
    shutil.copytree(results / "mini", results / "superseded" / "mini")
    write_run("allinsam", 1.0, 1, {"x": 0.8})
    write_run("allinsam", 0.04, 0, {"x": 0.8})
    shutil.copytree(ROOT / "results" / "mini_sam", results / "mini_sam")
    page = run_page("mini_sam", results=str(results))
    first, second, third = (row[1:] for row in page.rows("recipes")[1:])
    assert first == ["–", "–", "0.600 (1)", "–", "–"]
    assert second == ["–", "–", "–", "–", "–"]
    assert third[0] == page.text("tight_iou")
    assert third[2:] == ["0.600 (2)", "0.600 (1)", "–"]
    assert (page.text("parameters"), page.text("vit_h_parameters")) == ("6.5", "641")
    assert len(page.rows("quality")) == 1 + 5
    assert len(page.rows("sizes")) == 1 + 2 * 4
