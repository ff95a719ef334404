"""Uncertainty of a mean over images, and paired comparison of methods.

Small results with named fields; the resampling and the signed-rank test are scipy's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval (NaN if n = 1); n counts what was resampled, images or clusters."""

    mean: float
    low: float
    high: float
    n: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Two one-sided t tests of a mean difference against ±margin; p_value is the larger of the two.

    low, high: the interval of confidence 1 − 2α (α = 0.05: 90 %); equivalent: it lies within ±margin, the same as
    p_value < α. n: differences. With fewer than two, p_value and the interval are NaN and nothing is equivalent.
    """

    margin: float
    difference: float
    low: float
    high: float
    p_value: float
    equivalent: bool
    n: int


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two-sided Wilcoxon signed-rank test of first − second over n pairs, n_nonzero of which differ.

    statistic: the smaller of the two rank sums. difference: mean of first − second. p_holm: p_value adjusted
    for the family of tests it was part of, equal to p_value for a test on its own.
    """

    statistic: float
    p_value: float
    p_holm: float
    difference: float
    n: int
    n_nonzero: int


def bootstrap_mean(values: ArrayLike, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean over images (Efron & Tibshirani 1993, chapter 13).

    values: (n,) one finite score per image; drop undefined ones knowingly, a NaN is an error. One image has
    no interval (NaN); equal scores have one of width zero. The same seed gives the same interval.
    """
    values = _finite(values, "values")
    return clustered_bootstrap_mean(values, range(len(values)), confidence=confidence, resamples=resamples, seed=seed)


def clustered_bootstrap_mean(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean when values come in clusters that stay together.

    Whole clusters are drawn with replacement, each with all its values: images with one value per training
    seed, or patients with several images, where treating every value as independent would make the interval
    too narrow. values: (N,) finite. clusters: N names, one per value. The mean is over values, so a larger
    cluster weighs more. n counts clusters; a single cluster has no interval (NaN).
    """
    values = _finite(values, "values")
    if len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} cluster names, expected one name per value")
    number = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    member = np.array([number[name] for name in clusters])
    total, size = np.bincount(member, values), np.bincount(member)
    mean = float(values.mean())
    if len(number) == 1:
        return Interval(mean, float("nan"), float("nan"), 1, confidence)

    def mean_over(index: np.ndarray, axis: int) -> np.ndarray:
        return total[index].sum(axis) / size[index].sum(axis)

    result = stats.bootstrap(
        (np.arange(len(number)),),
        mean_over,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(number)),
        vectorized=True,
        axis=0,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return Interval(mean, float(low), float(high), len(number), confidence)


def paired_wilcoxon(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """Wilcoxon's signed-rank test on pairs (same image, two methods), zero differences left out.

    first, second: (n,) finite, in the same order. Exact for up to 50 pairs without ties or zeros, as scipy's
    method="auto" decides. When no pair differs there is no evidence either way: p_value = 1, statistic = 0.
    """
    first, second = _finite(first, "first"), _finite(second, "second")
    if len(first) != len(second):
        raise ValueError(f"first has {len(first)} values and second {len(second)}, expected pairs")
    difference = first - second
    n_nonzero = int(np.count_nonzero(difference))
    statistic, p_value = 0.0, 1.0
    if n_nonzero:
        result = stats.wilcoxon(difference, zero_method="wilcox", method="auto")
        statistic, p_value = float(result.statistic), float(result.pvalue)
    return PairedTest(statistic, p_value, p_value, float(difference.mean()), len(first), n_nonzero)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down adjusted p values (Scandinavian Journal of Statistics 1979), (m,) in the order given.

    The i-th smallest of m is multiplied by m − i + 1, made monotone, and capped at 1.
    """
    p_values = np.asarray(p_values, dtype=float)
    if p_values.ndim != 1 or not np.all((p_values >= 0) & (p_values <= 1)):
        raise ValueError(f"p_values are {p_values}, expected a flat sequence in [0, 1]")
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted


def rank_biserial(first: ArrayLike, second: ArrayLike) -> float:
    """Matched-pairs rank-biserial correlation, −1 … 1: (R₊ − R₋) / (R₊ + R₋) of Wilcoxon's ranks of first − second.

    Kerby (Comprehensive Psychology 2014): the share of rank sums in favour of first less that against it. Zero
    differences are left out; 0 where no pair differs. Arguments as in `paired_wilcoxon`.
    """
    difference = _finite(first, "first") - _finite(second, "second")
    difference = difference[difference != 0]
    if not len(difference):
        return 0.0
    ranks = stats.rankdata(np.abs(difference))
    return float(np.sign(difference) @ ranks / ranks.sum())


def equivalence(differences: ArrayLike, margin: float, *, alpha: float = 0.05) -> Equivalence:
    """Schuirmann's two one-sided tests (J Pharmacokinet Biopharm 1987) that a mean difference lies within ±margin.

    differences: (n,) finite, independent units: where images come in clusters, pass one mean per cluster. Equal
    differences have an interval of width zero.
    """
    differences = _finite(differences, "differences")
    if not margin > 0:
        raise ValueError(f"margin is {margin}, expected a difference > 0 that would not matter")
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return Equivalence(margin, mean, float("nan"), float("nan"), float("nan"), False, n)
    error = float(differences.std(ddof=1) / np.sqrt(n))
    reach = float(stats.t.ppf(1 - alpha, n - 1)) * error
    if error == 0:
        p_value = 0.0 if abs(mean) < margin else 1.0
    else:
        p_value = float(stats.t.sf((margin - abs(mean)) / error, n - 1))
    return Equivalence(margin, mean, mean - reach, mean + reach, p_value, p_value < alpha, n)


def wilcoxon_against_number(values: ArrayLike, number: float) -> PairedTest:
    """Wilcoxon's signed-rank test of values against one fixed number.

    Not a comparison of two methods: the number's own uncertainty is ignored and nothing is paired. It is here because
    the paper's Table 1 describes it; a method with skewed scores can differ "significantly" from its own mean.
    """
    values = _finite(values, "values")
    return paired_wilcoxon(values, np.full(len(values), float(number)))


def _finite(values: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"{name} has shape {values.shape}, expected a non-empty (n,)")
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise ValueError(f"{name} has {bad} of {len(values)} not finite; leave those images out and report n")
    return values
