"""The page of trainings to convergence, on results written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WriteRun = Callable[..., Path]
RunPage = Callable[..., Any]
IMAGES = [f"i{k}" for k in range(6)]


def around(middle: float) -> dict[str, float]:
    """Dice of six images, none alike."""
    return {image: middle + 0.01 * (k - 2.5) for k, image in enumerate(IMAGES)}


@pytest.fixture
def results(write_run: WriteRun) -> Path:
    for seed in (0, 1):
        write_run("allinsam", 1.0, seed, around(0.83), profile="converged")
        write_run("unet", 1.0, seed, around(0.80), profile="converged")
        write_run("allinsam", 0.04, seed, around(0.80), profile="converged")
    write_run("otsu", 0.0, 0, around(0.6), profile="converged")
    return write_run("boxes", 0.0, 0, around(0.9), profile="converged")


def test_scores_verdicts_and_goals_follow_from_the_runs(results: Path, run_page: RunPage) -> None:
    page = run_page("converged", results=str(results))
    assert page.text("conv_state").startswith("8 of the profile's ")
    lines = {(row[0], row[1]): row for row in page.rows("conv_scores")[1:]}
    assert lines["All-in-SAM (mini-SAM)", "100 %, complete"][2].startswith("0.830 | ")
    assert lines["All-in-SAM (mini-SAM)", "100 %, complete"][6] == "0.8254"  # the paper's
    verdicts = {(row[0], row[1]): row for row in page.rows("conv_verdicts")[1:]}
    assert set(verdicts) == {
        ("U-Net", "100 %, complete"),
        ("Stain deconvolution + Otsu", "100 %, complete"),
        ("Stain deconvolution + Otsu", "4 %, complete"),
    }
    assert verdicts["U-Net", "100 %, complete"][2].startswith("+0.030 | ")
    goals = {row[0]: row[1:] for row in page.rows("conv_goals")[1:]}
    assert goals["dice, 100 %"] == ["≥ 0.825", "0.830", "reached"]
    assert goals["dice, 4 %"] == ["≥ 0.81", "0.800", "not reached"]
    assert goals["dice, 0.5 %"] == ["≥ 0.79", "–", "not run"]


def test_curves_show_every_validation(results: Path, run_page: RunPage) -> None:
    page = run_page("converged", results=str(results))
    assert page["conv_curves"].markup.count("<img") == page["conv_pixels"].markup.count("<img") == 2
    assert page.text("conv_pixels_paper") == "12,000"


def test_without_runs_the_page_says_what_makes_them(tmp_path: Path, run_page: RunPage) -> None:
    page = run_page("converged", results=str(tmp_path))
    assert "make study PROFILE=converged" in page["conv_scores"].markup
