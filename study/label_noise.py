"""Quality against label errors, from run records: every loss at every error rate, and its lead on plain training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from allinsam_core.metrics.stats import Interval, clustered_bootstrap_mean
from study import records
from study.results import NotRun

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
    """All rows of the profile's noise runs, one line per run and test image.

    Raises NotRun, saying what to do, when there is none; ValueError when two records stand for one cell and seed, and
    when runs on one data set were scored on different test images.
    """
    frames: list[pd.DataFrame] = []
    seen: dict[tuple[Any, ...], Path] = {}
    tests: dict[str, str] = {}
    for path in sorted((results / profile / "noise").glob("*/run.json")):
        record = records.read(path)
        config = record["config"]
        source, rate = config["data"]["source"], config["noise"]["rate"]
        place = {"source": source, "rate": rate, "variant": config["method"], "seed": config["seed"]}
        if (first := seen.setdefault(tuple(place.values()), path.parent)) != path.parent:
            raise ValueError(f"{first} and {path.parent} are runs of the same cell and seed; delete the outdated one")
        if (other := tests.setdefault(source, record["data"]["test"]["sha256"])) != record["data"]["test"]["sha256"]:
            raise ValueError(f"{path}: scored on other test images than {other[:10]}…; delete the outdated runs")
        own = pd.read_csv(path.with_name("rows.csv"), dtype={"patient": str})
        own["patient"] = own["patient"].fillna(own["image"])
        frames.append(own.assign(**place, fit_seconds=record["fit_seconds"], label_dice=record["label_dice"]))
    if not frames:
        raise NotRun(f"{results / profile / 'noise'}: no finished run; `allinsam noise --profile {profile}`")
    return pd.concat(frames, ignore_index=True)


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
    return list(SOURCES).index(point.source), point.rate, VARIANTS.index(point.variant)
