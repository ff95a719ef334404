"""Quality against label errors, from run records: every loss at every error rate, and its lead on plain training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from study import results as collected
from study.stats import Interval, clustered_bootstrap_mean

METRIC = "dice"
SOURCES = {
    "monuseg_20x": "MoNuSeg at 20×",
    "glomerulus": "Simulated cohort, podocytes",
    "simulated": "Simulated tissue",
}
VARIANTS = ("none", "paper_eq5", "paper_eq5_dice", "molecular_el", "ours")  # losses; the first is plain training


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


def verdict(gaps: Sequence[Point]) -> str:
    """Does a corrective loss help against label errors? One sentence. gaps: of `differences`."""
    noisy = [gap for gap in gaps if gap.rate > 0]  # what a loss does on clean labels is no help against errors
    better, worse = (sum(gap.verdict == found for gap in noisy) for found in ("better", "worse"))
    extent = "in every cell" if better == len(noisy) else "in some of the cells"
    answer = f"MOCL helps {extent}" if better else "MOCL does not help here"
    return (
        f"{answer}: with label errors, {better} of {len(noisy)} comparisons with plain training are better, "
        f"{worse} worse, and in the rest no difference is shown."
    )


def _order(point: Point) -> tuple[int, float, int]:
    return list(SOURCES).index(point.source), point.rate, VARIANTS.index(point.variant)
