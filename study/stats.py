"""Uncertainty of a mean over images, and paired comparison of methods.

Small results with named fields; the resampling and the signed-rank test are scipy's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

Verdict = Literal["better", "worse", "equivalent", "undecided"]


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


def nested_bootstrap_mean(
    values: ArrayLike,
    units: Sequence[Hashable],
    seeds: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean where images and training seeds both could have been others.

    Each resample draws units (images, or the slides or patients that hold them) with replacement and, apart from that,
    seeds; a value counts as often as its unit was drawn times its seed. All images of a seed thus share its draw, as
    they share its network: the pigeonhole bootstrap of crossed factors (Owen, Annals of Applied Statistics 2007), which
    errs on the wide side. With three seeds it can only see the spread of three. With one seed it is
    `clustered_bootstrap_mean`. values: (N,) finite; units, seeds: N names each. n counts units; a single unit has no
    interval (NaN).
    """
    values = _finite(values, "values")
    if not len(values) == len(units) == len(seeds):
        found = f"{len(values)} values, {len(units)} units and {len(seeds)} seeds"
        raise ValueError(f"{found}, expected one of each per value")
    rows, columns = ({name: at for at, name in enumerate(dict.fromkeys(names))} for names in (units, seeds))
    total, count = np.zeros((2, len(rows), len(columns)))
    at = [rows[name] for name in units], [columns[name] for name in seeds]
    np.add.at(total, at, values)
    np.add.at(count, at, 1)
    mean = float(values.mean())
    if len(rows) == 1:
        return Interval(mean, float("nan"), float("nan"), 1, confidence)
    rng = np.random.default_rng(seed)
    drawn = [rng.multinomial(n, np.full(n, 1 / n), resamples) for n in total.shape]
    sums, sizes = (np.einsum("ru,us,rs->r", drawn[0], table, drawn[1], optimize=True) for table in (total, count))
    means = sums[sizes > 0] / sizes[sizes > 0]  # an unbalanced table may leave a resample without a value
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high), len(rows), confidence)


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


def verdict(difference: Interval, p_holm: float, margin: float, *, alpha: float = 0.05) -> Verdict:
    """What a comparison shows, by one rule: its interval and its test must both say so.

    "equivalent": the whole interval lies within ±margin, so that whatever the difference is, it does not matter.
    "better", "worse": the interval leaves out zero and the test, adjusted for its family by Holm, has p < alpha.
    "undecided": neither, or no interval.
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}, expected a difference > 0 that would not matter")
    if -margin < difference.low and difference.high < margin:
        return "equivalent"
    if p_holm < alpha and difference.low > 0:
        return "better"
    if p_holm < alpha and difference.high < 0:
        return "worse"
    return "undecided"


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
