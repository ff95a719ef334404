"""What was tried in pre-training mini-SAM: each set of weights that shipped, by what could be built on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import pandas as pd

from study.pages import control_page
from study.pages.fragments import Fragments, markdown_table, score
from study.results import fraction_name

SHARES = (1.0, 0.04, 0.005)


@dataclass(frozen=True)
class Recipe:
    """One way of pre-training. results: the folder, under the study's, of the runs that stand on its weights."""

    name: str
    results: str


RECIPES = (
    Recipe("prompts of boxes and points, promptless objective beside them", "superseded"),
    Recipe("the same, then most boxes with their ellipse as mask prompt", "superseded/three_phases"),
    Recipe("the same, then simulated pale nuclei too, and a mask threshold chosen", ""),
)


def fragments(results: Path) -> Fragments:
    """The fragment `minisam_recipes`: a line per recipe, oldest first; a dash where something was not measured."""
    header = [
        "Recipe, one phase more each",
        "mean instance IoU, tight boxes",
        "`dice` without a prompt",
        *(f"adapter, validation `dice`, {fraction_name(share)}" for share in SHARES),
    ]
    lines = [[recipe.name, *_measured(results / recipe.results)] for recipe in RECIPES]
    return Fragments(tables={"minisam_recipes": markdown_table(header, lines)})


def _measured(folder: Path) -> list[str]:
    quality = folder / "mini_sam" / "quality" / "rows.csv"
    boxes = without = "–"
    if quality.is_file():
        rows = pd.read_csv(quality)
        boxes = score(float(rows.loc[rows["prompt"] == "tight boxes", "mean_instance_iou"].mean()), 3)
        without = score(float(rows.loc[rows["prompt"] == "none", "dice"].mean()), 3)
    looks = control_page.kept(folder, "mini", control_page.ADAPTER)
    adapted = [_mean_dice(looks.get(share, {})) for share in SHARES]
    return [boxes, without, *adapted]


def _mean_dice(looks: dict[int, control_page.Look]) -> str:
    """Mean over seeds, and in brackets how many."""
    if not looks:
        return "–"
    return f"{score(mean(look.dice for look in looks.values()), 3)} ({len(looks)})"
