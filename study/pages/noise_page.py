"""What the page on label noise substitutes: quality against the error rate, each loss against plain training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from allinsam_core.metrics.stats import Interval, clustered_bootstrap_mean
from study import results as collected
from study.pages.fragments import Fragments, Palette, markdown_table, score, signed, with_interval

METRIC = "dice"
SOURCES = {
    "monuseg_20x": "MoNuSeg at 20×",
    "glomerulus": "Simulated cohort, podocytes",
    "simulated": "Simulated tissue",
}
MARKERS = {"none": "o", "paper_eq5": "s", "paper_eq5_dice": "D", "molecular_el": "^", "ours": "v"}
# after Okabe & Ito: blind to hue, they still differ in lightness and mark
COLOURS = {
    "light": {
        "none": "#3d3d3d",
        "paper_eq5": "#7a3b73",
        "paper_eq5_dice": "#8a6d00",
        "molecular_el": "#b54708",
        "ours": "#0b62a4",
    },
    "dark": {
        "none": "#d0d0d0",
        "paper_eq5": "#e29bd6",
        "paper_eq5_dice": "#e8cf5a",
        "molecular_el": "#ffa657",
        "ours": "#6cb6ff",
    },
}


@dataclass(frozen=True)
class Point:
    """One loss at one error rate of one data set: a mean with its interval, over `seeds` seeds."""

    source: str
    rate: float
    variant: str
    interval: Interval
    seeds: int

    @property
    def verdict(self) -> str:
        """Of a difference to plain training: does its interval leave out zero?"""
        if self.interval.low > 0:
            return "better"
        return "worse" if self.interval.high < 0 else "no difference shown"


def collect(results: Path, profile: str) -> pd.DataFrame:
    """All rows of the profile's noise runs, one line per run and test image; see `results.collect`."""
    scores = collected.collect(results, profile, "noise").rename(columns={"method": "variant", "fit s": "fit_seconds"})
    return scores.assign(patient=scores["patient"].fillna(scores["image"]))


def points(scores: pd.DataFrame, metric: str = METRIC) -> list[Point]:
    """Mean and 95 % bootstrap interval of every cell; a patient's (or slide's) images and seeds stay together."""
    found = []
    for _, group in scores.groupby(["source", "rate", "variant"], sort=False):
        interval = clustered_bootstrap_mean(group[metric].to_numpy(), group["patient"].tolist())
        first = group.iloc[0]
        place = str(first["source"]), float(first["rate"]), str(first["variant"])
        found.append(Point(*place, interval, group["seed"].nunique()))
    return sorted(found, key=_order)


def differences(scores: pd.DataFrame, metric: str = METRIC) -> list[Point]:
    """Every loss minus plain training, image by image and seed by seed, with intervals as in `points`."""
    plain = scores[scores["variant"] == "none"]
    rest = scores[scores["variant"] != "none"]
    paired = rest.merge(plain, on=["source", "rate", "seed", "image", "patient"], suffixes=("", "_plain"))
    return points(paired.assign(difference=paired[metric] - paired[f"{metric}_plain"]), "difference")


def _order(point: Point) -> tuple[int, float, int]:
    return list(SOURCES).index(point.source), point.rate, list(MARKERS).index(point.variant)


def fragments(results: Path) -> Fragments:
    """Numbers `noise:…`, tables and the figure `noise_…`: of the `mini` profile, or of `smoke` where it has no runs."""
    profile = "mini" if any((results / "mini" / "noise").glob("*/run.json")) else "smoke"
    scores = collect(results, profile)
    cells, gaps = points(scores), differences(scores)
    runs = scores.groupby(["source", "rate", "variant", "seed"])["fit_seconds"].first()
    numbers = {
        "noise:profile": profile,
        "noise:runs": str(len(runs)),
        "noise:seeds": str(scores["seed"].nunique()),
        "noise:fit_seconds": f"{runs.mean():.0f}",
        "noise:comparisons": str(len(gaps)),
    }
    return Fragments(
        numbers=numbers,
        tables={
            "noise_status": _status(profile),
            "noise_verdict": _verdict(profile, gaps),
            "noise_cells": _cells(cells, scores),
            "noise_differences": _differences(profile, gaps),
        },
        figures={"noise_curve": partial(curve, cells)},
    )


def _status(profile: str) -> str:
    if profile == "mini":
        return ""
    return (
        ":::{warning}\nOnly the `smoke` runs are here: simulated data, a dozen training steps, one seed. Everything "
        "below shows that the parts work and says **nothing** about MOCL. `allinsam noise --profile mini` makes the "
        "runs that this page is for.\n:::\n"
    )


def _verdict(profile: str, gaps: list[Point]) -> str:
    """Does MOCL help? One sentence in all, and one per loss."""
    if profile != "mini":
        return "Does MOCL help? These runs cannot tell.\n"
    noisy = [g for g in gaps if g.rate > 0]
    better = [g for g in noisy if g.verdict == "better"]
    head = "**MOCL does not help here**" if not better else "**MOCL helps in some of the cells**"
    if len(better) == len(noisy):
        head = "**MOCL helps in every cell**"
    lines = [
        f"{head}: with label errors, {len(better)} of {len(noisy)} comparisons with plain training are better, "
        f"{sum(g.verdict == 'worse' for g in noisy)} worse, and in the rest no difference is shown.\n"
    ]
    for variant in dict.fromkeys(g.variant for g in noisy):
        own = [g for g in noisy if g.variant == variant]
        told = "; ".join(f"{SOURCES[g.source]}, {g.rate:.0%}: {_shown(g)}, {g.verdict}" for g in own)
        lines.append(f"- `{variant}`: {told}.")
    return "\n".join(lines).replace("%:", " %:") + "\n"


def _shown(gap: Point) -> str:
    interval = gap.interval
    return f"{signed(interval.mean, 3)} [{signed(interval.low, 3)}, {signed(interval.high, 3)}]"


def _cells(cells: list[Point], scores: pd.DataFrame) -> str:
    images = scores.groupby("source")["image"].nunique()
    labels = scores.groupby(["source", "rate"])["label_dice"].mean()
    header = ["Data", "Errors per nucleus", "Dice of the labels", "Loss", f"`{METRIC}`", "images × seeds", "clusters"]
    lines = []
    for c in cells:
        n = f"{images[c.source]} × {c.seeds}"
        errors = [f"{c.rate:g}", score(labels[c.source, c.rate], 2)]
        lines.append([SOURCES[c.source], *errors, f"`{c.variant}`", with_interval(c.interval), n, str(c.interval.n)])
    return markdown_table(header, lines, text_columns=4)


def _differences(profile: str, gaps: list[Point]) -> str:
    header = ["Data", "Errors per nucleus", "Loss", "difference to `none`", "verdict"]
    lines = [[SOURCES[g.source], f"{g.rate:g}", f"`{g.variant}`", _shown(g), _told(profile, g)] for g in gaps]
    return markdown_table(header, lines, text_columns=3)


def _told(profile: str, gap: Point) -> str:
    return gap.verdict if profile == "mini" else "–"


def curve(cells: list[Point], palette: Palette) -> Figure:
    """Quality against the error rate, one panel per data set, a line with its 95 % band per loss."""
    sources = list(dict.fromkeys(c.source for c in cells))
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    panels: Any = figure.subplots(1, len(sources), squeeze=False)[0]
    for axes, source in zip(panels, sources, strict=True):
        own = [c for c in cells if c.source == source]
        for variant in dict.fromkeys(c.variant for c in own):
            line = [c for c in own if c.variant == variant]
            x, colour = [c.rate for c in line], COLOURS[palette.name][variant]
            label = variant if source == sources[0] else None
            axes.plot(x, [c.interval.mean for c in line], MARKERS[variant] + "-", color=colour, label=label)
            low, high = [c.interval.low for c in line], [c.interval.high for c in line]
            axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
        axes.set_title(SOURCES[source], fontsize=9.5, color=palette.ink)
        axes.set_xlabel("label errors per nucleus")
        axes.set_xticks(sorted({c.rate for c in own}))
    panels[0].set_ylabel("Dice, mean over test images")
    figure.legend(loc="outside lower center", fontsize=8, frameon=False, ncols=5, labelcolor=palette.ink)
    return figure
