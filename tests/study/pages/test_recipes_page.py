"""The recipes of pre-training, from results written by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from study.pages import recipes_page


def test_each_recipe_meets_the_runs_on_its_own_weights(write_run: Callable[..., Path]) -> None:
    results = write_run("allinsam", 1.0, 0, {"x": 0.8})
    shutil.copytree(results / "mini", results / "superseded" / "mini")
    write_run("allinsam", 1.0, 1, {"x": 0.8})
    write_run("allinsam", 0.04, 0, {"x": 0.8})
    (results / "mini_sam" / "quality").mkdir(parents=True)
    rows = [
        {"image": image, "prompt": prompt, "mean_instance_iou": iou, "dice": dice}
        for image, prompt, iou, dice in (
            ("a", "tight boxes", 0.7, 0.9),
            ("b", "tight boxes", 0.8, 0.9),
            ("a", "none", None, 0.6),
            ("b", "none", None, 0.7),
        )
    ]
    pd.DataFrame(rows).to_csv(results / "mini_sam" / "quality" / "rows.csv", index=False)
    first, second, third = recipes_page.fragments(results).tables["minisam_recipes"].splitlines()[2:]
    assert first.endswith("| – | – | 0.600 (1) | – | – |")
    assert second.endswith("| – | – | – | – | – |")
    assert third.endswith("| 0.750 | 0.650 | 0.600 (2) | 0.600 (1) | – |")
