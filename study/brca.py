"""Tables of the fourth experiment, several classes on real tissue (BRCA-M2C): F1 of counts pooled over tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from study.datasets.brca_m2c import CLASSES
from study.detection import DISTANCE, f1
from study.point_columns import ANY, NONE, hits_column
from study.stats import Interval

NAMES = {
    "allinsam": "All-in-SAM (mini2), a binary map a class",
    "allinsam_mini": "All-in-SAM (mini-SAM), a binary map a class",
    "softmax": "All-in-SAM, one softmax",
    "mocl": "All-in-SAM with MOCL",
    "unet": "U-Net",
    "nnunet": "nnU-Net v2",
    "hue": "Otsu and hue of the stain",
}
TARGET = 0.03  # of mean F1 behind the best published value, with all patients
_PUBLISHED = Path(__file__).with_name("brca_m2c_published.csv")


@dataclass(frozen=True)
class Cell:
    """A method with a fraction of the patients: pooled F1 by class, MEAN and ANY."""

    method: str
    fraction: float
    seeds: int
    f1: dict[str, Interval]


MEAN = "mean"


def published() -> pd.DataFrame:
    """Figures of others, quoted with their source: one line a method."""
    return pd.read_csv(_PUBLISHED)


def cells(scores: pd.DataFrame) -> list[Cell]:
    """One cell per method and fraction, most data first. scores: as `results.collect` gives them."""
    found = []
    for _, group in scores.groupby(["method", "fraction"], sort=False):
        method, fraction = group["method"].iloc[0], float(group["fraction"].iloc[0])
        each = {name: pooled(group, [name]) for name in (*CLASSES, ANY)}
        found.append(Cell(method, fraction, group["seed"].nunique(), {MEAN: pooled(group, CLASSES), **each}))
    order = list(NAMES)
    return sorted(found, key=lambda c: (-c.fraction, order.index(c.method) if c.method in order else len(order)))


def pooled(
    scores: pd.DataFrame,
    classes: Sequence[str],
    distance: float = DISTANCE,
    greedy: bool = False,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """F1 of the counts added over all tiles and seeds, its mean over `classes`, and a bootstrap interval.

    scores: lines of one method and fraction. Tiles and seeds are drawn with replacement, apart from each other, as in
    `stats.nested_bootstrap_mean`; the counts are added anew each time.
    """
    rows, columns = ({name: at for at, name in enumerate(dict.fromkeys(scores[key]))} for key in ("image", "seed"))
    at = scores["image"].map(rows).to_numpy(), scores["seed"].map(columns).to_numpy()
    hits, truth, pred = np.zeros((3, len(rows), len(columns), len(classes)))
    for number, name in enumerate(classes):
        hits[*at, number] = scores[hits_column(name, distance) + ("_greedy" if greedy else "")]
        truth[*at, number], pred[*at, number] = scores[f"truth_{name}"], scores[f"pred_{name}"]
    value = float(f1(hits.sum((0, 1)), truth.sum((0, 1)), pred.sum((0, 1))).mean())
    rng = np.random.default_rng(0)
    drawn = [rng.multinomial(n, np.full(n, 1 / n), resamples) for n in hits.shape[:2]]
    summed = (np.einsum("ru,usc,rs->rc", drawn[0], table, drawn[1], optimize=True) for table in (hits, truth, pred))
    values = f1(*summed).mean(axis=1)
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high), len(rows), confidence)


def errors(confusions: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """By class: shares of the true nuclei found with the right class, a wrong one, or not at all, and extra nuclei.

    confusions: the tables of a cell's runs. `extra`: predictions of the class without a true nucleus, per true one.
    """
    total = np.sum([table.set_index("truth")[[*CLASSES, NONE]].to_numpy() for table in confusions], axis=0)
    truth = total[:-1].sum(axis=1)
    right = np.diag(total[:-1, :-1])
    lines = zip(CLASSES, truth, right, total[:-1, -1], total[-1, :-1], strict=True)
    return pd.DataFrame(
        {
            "class": name,
            "true nuclei": int(n),
            "right class": hit / n,
            "wrong class": (n - hit - missed) / n,
            "missed": missed / n,
            "extra": more / n,
        }
        for name, n, hit, missed, more in lines
    )


def reliability(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Class, bin, nuclei, mean confidence and precision of a cell's runs together; bins without nuclei left out."""
    whole = pd.concat(list(tables)).groupby(["class", "from"], sort=False, as_index=False).sum()
    whole = whole[whole["nuclei"] > 0]
    return whole.assign(confidence=whole["confidence"] / whole["nuclei"], precision=whole["hits"] / whole["nuclei"])
