"""What labels of different making are worth: their own quality beside that of the U-Net trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from allinsam_core.metrics.stats import Interval, bootstrap_mean, clustered_bootstrap_mean
from allinsam_core.study import tables
from allinsam_core.study.figures import COLOURS, MARKERS, WIDTH
from allinsam_core.study.fragments import Fragments, Palette, markdown_table, score


@dataclass(frozen=True)
class Source:
    """One way of making labels. prompt: its rows in `mini_sam/quality`; None for the truth. The rest: its runs."""

    name: str
    prompt: str | None
    profile: str
    method: str
    label: str


SOURCES = (
    Source("the truth", None, "mini", "unet", "complete"),
    Source("mini-SAM, tight boxes", "tight boxes", "mini", "unet", "weak"),
    Source("mini-SAM, random boxes", "random boxes", "labels", "unet_random", "weak"),
    Source("ellipses of tight boxes", "ellipses of tight boxes", "labels", "unet_ellipse", "weak"),
)
MEASURES = ("dice", "aji_kumar")


@dataclass(frozen=True)
class Worth:
    """A source's labels on the training images, and what was learned from them on the test images."""

    source: Source
    label_dice: Interval
    label_iou: Interval
    final: dict[str, Interval]
    seeds: int


def measured(results: Path) -> list[Worth]:
    """Every source with all its runs at full training data. Raises ValueError where runs are missing."""
    quality = pd.read_csv(results / "mini_sam" / "quality" / "rows.csv")
    quality = quality[quality["split"] == "train"]
    perfect = bootstrap_mean([1.0] * quality["image"].nunique())
    scores = {name: tables.collect(results, name) for name in {s.profile for s in SOURCES}}
    found = []
    for source in SOURCES:
        table = scores[source.profile]
        own = table[(table["method"] == source.method) & (table["label"] == source.label) & (table["fraction"] == 1.0)]
        if own.empty:
            raise ValueError(f"no run of {source.method} with {source.label} labels; `make study PROFILE=labels`")
        labels = quality[quality["prompt"] == source.prompt]
        found.append(
            Worth(
                source,
                bootstrap_mean(labels["dice"].to_numpy()) if source.prompt else perfect,
                bootstrap_mean(labels["mean_instance_iou"].to_numpy()) if source.prompt else perfect,
                {m: clustered_bootstrap_mean(own[m].to_numpy(), own["image"].tolist()) for m in MEASURES},
                own["seed"].nunique(),
            )
        )
    return found


def fragments(results: Path) -> Fragments:
    """Numbers `labels:…`, the table and the figure `labels_worth`."""
    found = measured(results)
    numbers = {}
    for key, worth in zip(("truth", "tight", "random", "ellipse"), found, strict=True):
        numbers[f"labels:{key}:final_dice"] = score(worth.final["dice"].mean, 3)
        numbers[f"labels:{key}:label_dice"] = score(worth.label_dice.mean, 3)
    return Fragments(numbers, {"labels_worth": _table(found)}, {"labels_worth": partial(_figure, found)})


def _table(found: list[Worth]) -> str:
    header = [
        "Labels",
        "their `dice`",
        "their mean instance IoU",
        *(f"U-Net, `{m}`" for m in MEASURES),
        "images × seeds",
    ]
    lines = []
    for worth in found:
        cells = [_interval(i) for i in (worth.label_dice, worth.label_iou, *worth.final.values())]
        lines.append([worth.source.name, *cells, f"{worth.final['dice'].n} × {worth.seeds}"])
    return markdown_table(header, lines)


def _interval(found: Interval) -> str:
    if found.low == found.high:
        return score(found.mean, 3)
    return f"**{score(found.mean, 3)}** [{score(found.low, 3)}, {score(found.high, 3)}]"


def _figure(found: list[Worth], palette: Palette) -> Figure:
    """Dice of the labels against Dice of the network trained on them, with 95 % intervals."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    names = ("unet", "allinsam", "zeroshot", "otsu")  # four colours and marks that tell apart
    for worth, name in zip(found, names, strict=True):
        final = worth.final["dice"]
        axes.errorbar(
            worth.label_dice.mean,
            final.mean,
            xerr=[[worth.label_dice.mean - worth.label_dice.low], [worth.label_dice.high - worth.label_dice.mean]],
            yerr=[[final.mean - final.low], [final.high - final.mean]],
            fmt=MARKERS[name],
            color=COLOURS[palette.name][name],
            label=worth.source.name,
            capsize=2,
        )
    axes.set_xlabel("Dice of the labels, mean over training images")
    axes.set_ylabel("Dice of the U-Net, mean over test images")
    figure.legend(loc="outside lower center", fontsize=7.5, frameon=False, ncols=2, labelcolor=palette.ink)
    return figure
