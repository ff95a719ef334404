"""What labels of different making are worth: their own quality beside that of the U-Net trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from allinsam_core.metrics.stats import Interval, bootstrap_mean, clustered_bootstrap_mean
from study import results as tables
from study.pages.figures import COLOURS, MARKERS, WIDTH
from study.pages.fragments import (
    Fragments,
    Palette,
    figure_block,
    markdown_table,
    not_run,
    score,
    table_block,
    with_interval,
)


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


ALT = (
    "Four points with error bars: the Dice of the labels on the horizontal axis, the Dice of the U-Net trained on them "
    "on the vertical axis."
)
CAPTION = "Bars are 95 % intervals over images; for the networks, seeds are kept within an image."


def fragments(results: Path) -> Fragments:
    """Fragment `labels` and figure `labels_worth`; without all of the runs the page says how to make them."""
    try:
        found = measured(results)
    except ValueError:
        return Fragments(tables={"labels": not_run("labels")})
    block = table_block("Quality of the labels, and of the U-Net trained on them", "tab-labels-worth", _table(found))
    picture = figure_block("labels_worth", "fig-labels-worth", ALT, CAPTION)
    low = min(found, key=lambda w: w.label_dice.mean)
    gap = found[0].final["dice"].mean - min(w.final["dice"].mean for w in found)
    said = (
        f"The worst labels ({low.source.name}) have a Dice of {score(low.label_dice.mean, 3)} with the truth; the "
        f"network that ends lowest ends {score(gap, 3)} below the one that learned from the truth.\n"
    )
    return Fragments(
        tables={"labels": "\n".join((block, said, picture))}, figures={"labels_worth": partial(_figure, found)}
    )


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
    return with_interval(found)


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
