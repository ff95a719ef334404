"""Table 1's page, from the records of a tiny grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.molecular import examples

RunPage = Callable[..., Any]


@pytest.fixture
def page(tiny_results: Path, run_page: RunPage, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(examples, "from_boxes", lambda cases, settings, cache: cases)  # no SAM here
    return run_page("table1", results=str(tiny_results), profile="smoke")


def test_rows_stand_beside_the_papers_and_n_is_said(page: Any) -> None:
    header, *rows = page.rows("pixel")
    assert [row[:2] for row in rows] == [["MOCL", "Expert"], ["MOCL", "Students"]]
    assert header[4].startswith("podocyte, average (n = ")
    assert rows[0][4].endswith("| paper 0.7321")
    assert not any("paper" in cell for row in page.rows("instance") for cell in row)
    assert [row[0] for row in page.rows("lay")[1:3]] == ["MOCL, students − MOCL, expert"] * 2
    assert "| paper +0.0090" in page.rows("lay")[1][3]
    assert page["means"].markup.count("<img") == 2


def test_answers_count_the_verdicts(page: Any) -> None:
    verdicts = [cell.split(" | ")[0] for cell in page.rows("answers-lay")[1][1:5]]
    counted = page.text("lay_f1_pixel_macro")
    for verdict in set(verdicts[:2]):
        assert f"{verdict} in {verdicts[:2].count(verdict)}" in counted
    assert counted.endswith("of 2 comparisons")


def test_comparisons_that_these_runs_do_not_hold_are_said_so(page: Any) -> None:
    for key in ("guidance", "answers-guidance", "reference", "procedure"):
        assert "Not run yet" in page[key].markup
    assert page.text("guidance_f1_pixel_macro") == "not run"
    assert page.text("registration_patches") == "12"


def test_both_kinds_of_patch_are_shown(page: Any, tiny_results: Path) -> None:
    assert page["examples"].markup.startswith('<img alt="For one normal and one injured')
    found = examples.examples(tiny_results, "smoke")
    assert [example.patch.injured for example in found] == [False, True]
    assert all("mocl" in example.predictions for example in found)
