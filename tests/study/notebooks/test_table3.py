"""Table 3's page, on results written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study import records
from study.results import NotRun

WriteRun = Callable[..., Path]
RunPage = Callable[..., Any]


@pytest.fixture
def study(write_run: WriteRun) -> Path:
    for method in ("allinsam", "unet", "nnunet"):
        for fraction in (1.0, 0.04, 0.005):
            for seed in (0, 1):
                write_run(method, fraction, seed, {"a": 0.78, "b": 0.88})
    write_run("allinsam", 1.0, 0, {"a": 0.5, "b": 0.6}, label="weak")
    write_run("boxes", 0.0, 0, {"a": 0.9, "b": 0.9})  # of Table 2's page
    write_run("otsu", 0.0, 0, {"a": 0.4, "b": 0.5})
    return write_run("zeroshot", 0.0, 0, {"a": 0.5, "b": 0.6})


def choose(results: Path, method: str, fraction: float, seed: int, step: int) -> None:
    """Let the run keep the weights of another validation."""
    (path,) = (results / "mini").glob(f"{method}-complete-{fraction:g}-s{seed}-*/run.json")
    record = json.loads(path.read_text())
    record["training"]["best"] = step
    records.write(record, path)


def test_tables_stand_beside_the_paper(study: Path, run_page: RunPage) -> None:
    page = run_page("table3", results=str(study))
    assert [page.text(key) for key in ("runs", "images", "seeds", "peak_gib")] == ["22", "2", "2", "3.0"]
    assert page.text("allinsam_dice_all") == "0.830"
    assert page.text("zeroshot_dice") == "0.550"
    header, first, *rest = page.rows("complete")
    assert header[:3] == ["Method", "Data", "dice"]
    assert len(rest) == 2 + 3 + 3 + 2
    assert first[:3] == ["All-in-SAM (mini-SAM)", "100 %", "0.830 | [0.780, 0.880] | paper 0.8254 | +0.005"]
    assert first[-1] == "2"
    assert "paper" not in rest[-1][2]  # not trained
    assert "boxes" not in page["complete"].markup
    assert "paper 0.8246" in page.rows("weak")[1][2]
    assert page.rows("instances")[0][2] == "aji_kumar"
    for key in ("dice", "dice-weak", "per-image"):
        assert page[key].markup.count("<img") == 2


def test_weak_labels_and_controls_that_were_not_run_are_said_so(study: Path, run_page: RunPage) -> None:
    for path in (study / "mini").glob("*-weak-*/run.json"):
        path.unlink()
    page = run_page("table3", results=str(study))
    for key in ("weak", "dice-weak", "weak-instances", "control"):
        assert "Not run yet" in page[key].markup


def test_a_profile_without_runs_raises(study: Path, run_page: RunPage) -> None:
    with pytest.raises(NotRun, match="make study PROFILE=smoke"):
        run_page("table3", results=str(study), profile="smoke")


def test_controls_are_compared_at_the_weights_that_were_kept(
    study: Path, write_run: WriteRun, run_page: RunPage
) -> None:
    write_run("scratch", 1.0, 0, {"a": 0.68, "b": 0.58})  # seed 1 has no partner
    choose(study, "allinsam", 1.0, 1, step=5)
    ours, control = page_rows = run_page("table3", results=str(study)).rows("control")[1:3]
    assert ours[:5] == ["All-in-SAM (mini-SAM)", "100 %", "0.500", "0.400 to 0.600", "–"]
    assert control[:2] == ["the same network from random weights", "100 %"]
    assert control[4] == "+0.200 | [+0.100, +0.300]"
    assert [row[-1] for row in page_rows] == ["2", "1"]
