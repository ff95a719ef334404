"""Labels beside what is learned from them, from results written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

RunPage = Callable[..., Any]


@pytest.fixture
def results(write_run: Callable[..., Path]) -> Path:
    write_run("unet", 1.0, 0, {"x": 0.70, "y": 0.80})
    write_run("unet", 0.04, 0, {"x": 0.1, "y": 0.1})  # another amount of data does not count
    write_run("unet", 1.0, 0, {"x": 0.60, "y": 0.70}, label="weak")
    write_run("unet_random", 1.0, 0, {"x": 0.5, "y": 0.5}, label="weak", profile="labels")
    folder = write_run("unet_ellipse", 1.0, 0, {"x": 0.6, "y": 0.6}, label="weak", profile="labels")
    prompts = {"tight boxes": 0.9, "random boxes": 0.8, "ellipses of tight boxes": 0.88, "none": 0.7}
    rows = [
        {"image": image, "split": split, "prompt": p, "dice": dice - 0.1 * (split == "val"), "mean_instance_iou": 0.7}
        for image, split in (("a", "train"), ("b", "train"), ("c", "val"))
        for p, dice in prompts.items()
    ]
    (folder / "mini_sam" / "quality").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "mini_sam" / "quality" / "rows.csv", index=False)
    return folder


def test_each_kind_of_label_meets_its_own_runs_and_the_training_images(results: Path, run_page: RunPage) -> None:
    page = run_page("labels", results=str(results))
    truth, tight, random, ellipse = page.rows("worth")[1:]
    assert truth[:4] == ["true masks", "1.000", "1.000", "0.750 | [0.700, 0.800]"]
    assert (tight[1], tight[3]) == ("0.900 | [0.900, 0.900]", "0.650 | [0.600, 0.700]")
    assert (random[1], random[3]) == ("0.800 | [0.800, 0.800]", "0.500 | [0.500, 0.500]")
    assert (ellipse[1], ellipse[3]) == ("0.880 | [0.880, 0.880]", "0.600 | [0.600, 0.600]")
    assert [page.text(key) for key in ("worst", "worst_dice", "loss")] == ["mini-SAM, random boxes", "0.800", "0.250"]
    assert page["worth-dice"].markup.count("<img") == 2


def test_missing_runs_are_said_and_a_duplicated_run_is_an_error(
    results: Path, run_page: RunPage, write_run: Callable[..., Path]
) -> None:
    for path in (results / "labels").glob("unet_random*/run.json"):
        path.unlink()
    assert "make study PROFILE=labels" in run_page("labels", results=str(results))["worth"].markup
    write_run("unet", 1.0, 0, {"x": 0.70, "y": 0.80}, version="another")
    with pytest.raises(ValueError, match="same cell and seed"):
        run_page("labels", results=str(results))
