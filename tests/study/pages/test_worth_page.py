"""Labels beside what is learned from them, from results written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from study.pages import worth_page
from study.pages.fragments import PALETTES


@pytest.fixture
def results(write_run: Callable[..., Path]) -> Path:
    images = {"x": 0.70, "y": 0.80}
    write_run("unet", 1.0, 0, images)
    write_run("unet", 0.04, 0, {"x": 0.1, "y": 0.1})  # another amount of data does not count
    write_run("unet", 1.0, 0, {"x": 0.60, "y": 0.70}, label="weak")
    write_run("unet_random", 1.0, 0, {"x": 0.5, "y": 0.5}, label="weak", profile="labels")
    folder = write_run("unet_ellipse", 1.0, 0, {"x": 0.6, "y": 0.6}, label="weak", profile="labels")
    prompts = {"tight boxes": 0.9, "random boxes": 0.8, "ellipses of tight boxes": 0.88, "none": 0.7}
    rows = [
        {
            "image": image,
            "split": split,
            "prompt": prompt,
            "dice": dice - 0.1 * (split == "val"),
            "mean_instance_iou": 0.7,
        }
        for image, split in (("a", "train"), ("b", "train"), ("c", "val"))
        for prompt, dice in prompts.items()
    ]
    (folder / "mini_sam" / "quality").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "mini_sam" / "quality" / "rows.csv", index=False)
    return folder


def test_each_source_meets_its_own_runs_and_the_training_images(results: Path) -> None:
    truth, tight, random, ellipse = worth_page.measured(results)
    assert (truth.label_dice.mean, truth.final["dice"].mean) == (1, pytest.approx(0.75))
    assert (tight.label_dice.mean, tight.final["dice"].mean) == (pytest.approx(0.9), pytest.approx(0.65))
    assert (random.label_dice.mean, random.final["dice"].mean) == (pytest.approx(0.8), pytest.approx(0.5))
    assert (ellipse.label_dice.mean, ellipse.final["dice"].mean) == (pytest.approx(0.88), pytest.approx(0.6))


def test_the_page_gets_four_lines_and_a_figure(results: Path) -> None:
    found = worth_page.fragments(results)
    table = found.tables["labels"]
    assert "| the truth | 1.000 | 1.000 | **0.750** [0.700, 0.800]" in table
    assert "The worst labels (mini-SAM, random boxes) have a Dice of 0.800" in table
    assert "ends 0.250 below" in table
    for palette in PALETTES:
        assert found.figures["labels_worth"](palette).axes


def test_missing_runs_are_named(results: Path) -> None:
    for path in (results / "labels").glob("unet_random*/*"):
        path.unlink()
    with pytest.raises(ValueError, match="unet_random with weak labels; `make study PROFILE=labels`"):
        worth_page.measured(results)
    assert "make study PROFILE=labels" in worth_page.fragments(results).tables["labels"]
