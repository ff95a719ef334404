"""One rule for verdicts: every sentence that says one row is ahead of another reads it here.

A comparison is made image by image, and seed by seed where both rows have the same seeds. Its interval is a bootstrap
over images and seeds, its test Wilcoxon's on the images' means over seeds, adjusted by Holm for all comparisons that
are asked at once. "better" needs both (`stats.verdict`).

    margin = equivalence_margin(scores)
    for found in compare(scores, [(ours, rival), …], margin=margin):
        print(found.verdict, found.difference)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from study.stats import Interval, PairedTest, Verdict, holm, nested_bootstrap_mean, paired_wilcoxon
from study.stats import verdict as by_rule

Cell = tuple[str, str, float]
"""Method, label and fraction: a row of Tables 2 and 3."""
FLOOR: Cell = ("otsu", "complete", 0.0)
CEILING: Cell = ("boxes", "complete", 0.0)
MARGIN_PART = 1 / 20


@dataclass(frozen=True)
class Comparison:
    """first − second by `metric`: interval over images and seeds, test with the family's Holm p, and what they show."""

    first: Cell
    second: Cell
    metric: str
    difference: Interval
    test: PairedTest
    seeds: int
    margin: float | None

    @property
    def verdict(self) -> Verdict:
        """ValueError where the comparison was made without a margin."""
        if self.margin is None:
            raise ValueError(f"{self.first} and {self.second} were compared without a margin; give compare one")
        return by_rule(self.difference, self.test.p_holm, self.margin)


def equivalence_margin(scores: pd.DataFrame, metric: str = "dice", part: float = MARGIN_PART) -> float:
    """A difference that would not matter: a twentieth of the range from the floor to the ceiling of these images.

    The floor is stain deconvolution with Otsu's threshold, which learns nothing; the ceiling mini-SAM given the true
    boxes. On MoNuSeg this is about 0.006 of Dice, as much as another seed changes a method trained on all images, and
    far less than a margin chosen by eye. scores: as `results.collect` gives them. ValueError where one is not there.
    """
    floor, ceiling = (_of(scores, cell)[metric].mean() for cell in (FLOOR, CEILING))
    if not ceiling > floor:
        raise ValueError(
            f"floor {floor} and ceiling {ceiling} of {metric}: expected runs of {FLOOR[0]} and {CEILING[0]}"
        )
    return float(part * (ceiling - floor))


def compare(
    scores: pd.DataFrame, pairs: Iterable[tuple[Cell, Cell]], metric: str = "dice", margin: float | None = None
) -> list[Comparison]:
    """Every pair that has images in common, first − second; Holm's adjustment is over all of them.

    scores: as `results.collect` gives them. margin: a difference that would not matter, as `equivalence_margin` gives
    it; without one there is no verdict. A row without training, of one seed, meets every seed of the other.
    """
    found = [_compared(scores, first, second, metric, margin) for first, second in pairs]
    made = [each for each in found if each is not None]
    adjusted = holm([each.test.p_value for each in made])
    return [replace(each, test=replace(each.test, p_holm=float(p))) for each, p in zip(made, adjusted, strict=True)]


def _compared(scores: pd.DataFrame, first: Cell, second: Cell, metric: str, margin: float | None) -> Comparison | None:
    one, other = (_of(scores, cell).dropna(subset=[metric]) for cell in (first, second))
    untrained = 0.0 in (first[2], second[2])
    both = one.merge(other, on=["image"] if untrained else ["image", "seed"], suffixes=("", "_other"))
    if not len(both):
        return None
    if untrained and first[2] == 0:
        both = both.rename(columns={"seed": "seed_own", "seed_other": "seed"})
    gaps = both[metric] - both[f"{metric}_other"]
    interval = nested_bootstrap_mean(gaps, both["image"].tolist(), both["seed"].tolist())
    means = both.groupby("image")[[metric, f"{metric}_other"]].mean()
    test = paired_wilcoxon(means[metric], means[f"{metric}_other"])
    return Comparison(first, second, metric, interval, test, both["seed"].nunique(), margin)


def _of(scores: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    method, label, fraction = cell
    return scores[(scores["method"] == method) & (scores["label"] == label) & (scores["fraction"] == fraction)]


def table(comparisons: Iterable[Comparison]) -> pd.DataFrame:
    """Comparisons in long form, one line each."""
    return pd.DataFrame(
        {
            "first": each.first,
            "second": each.second,
            "metric": each.metric,
            "difference": each.difference.mean,
            "low": each.difference.low,
            "high": each.difference.high,
            "images": each.difference.n,
            "seeds": each.seeds,
            "p": each.test.p_value,
            "p Holm": each.test.p_holm,
            "margin": each.margin,
            "verdict": None if each.margin is None else each.verdict,
        }
        for each in comparisons
    )
