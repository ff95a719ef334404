"""Bootstrap intervals and paired tests: closed forms, small cases by hand, degenerate cases by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from study.stats import (
    Interval,
    bootstrap_mean,
    clustered_bootstrap_mean,
    equivalence,
    holm,
    nested_bootstrap_mean,
    paired_wilcoxon,
    rank_biserial,
    verdict,
    wilcoxon_against_number,
)


def test_interval_of_two_values_is_their_range() -> None:
    # the bootstrap mean of {0, 1} is 0, ½, 1 with probability ¼, ½, ¼: the outer 2.5 % lie inside the atoms 0
    # and 1
    interval = bootstrap_mean([0.0, 1.0])
    assert (interval.mean, interval.low, interval.high, interval.n) == (0.5, 0.0, 1.0, 2)
    # 40 % confidence leaves 30 % on each side, more than the atoms hold: the interval is the middle atom
    assert (
        bootstrap_mean([0.0, 1.0], confidence=0.4).low,
        bootstrap_mean([0.0, 1.0], confidence=0.4).high,
    ) == (
        0.5,
        0.5,
    )


def test_interval_approaches_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.1, 400)
    interval = bootstrap_mean(values)
    half_width = 1.96 * values.std() / math.sqrt(400)
    assert interval.high - interval.mean == pytest.approx(half_width, rel=0.05)
    assert interval.mean - interval.low == pytest.approx(half_width, rel=0.05)


def test_seed_decides() -> None:
    values = np.random.default_rng(1).uniform(size=14)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_one_image_has_no_interval_and_equal_images_a_point() -> None:
    one = bootstrap_mean([0.8])
    assert (one.mean, one.n) == (0.8, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    same = bootstrap_mean([0.25] * 5)
    assert (same.low, same.mean, same.high) == (0.25, 0.25, 0.25)


def test_clusters_stay_together() -> None:
    images = np.random.default_rng(2).uniform(size=10)
    repeated = np.repeat(images, 20)  # 20 seeds that agree add no information
    names = np.repeat([f"case {i}" for i in range(10)], 20).tolist()
    clustered = clustered_bootstrap_mean(repeated, names)
    expected = bootstrap_mean(images)
    assert clustered.n == 10
    assert (clustered.low, clustered.high) == pytest.approx((expected.low, expected.high))
    naive = bootstrap_mean(repeated)
    assert naive.high - naive.low < 0.4 * (clustered.high - clustered.low)  # 1/√20


def test_unequal_clusters_weigh_by_their_size() -> None:
    interval = clustered_bootstrap_mean([0.0, 1.0, 1.0, 1.0], ["a", "b", "b", "b"])
    assert (interval.mean, interval.low, interval.high, interval.n) == (0.75, 0.0, 1.0, 2)
    middle = clustered_bootstrap_mean([0.0, 1.0, 1.0, 1.0], ["a", "b", "b", "b"], confidence=0.4)
    assert middle.low == middle.high == 0.75
    alone = clustered_bootstrap_mean([0.0, 1.0], ["a", "a"])
    assert (alone.mean, alone.n) == (0.5, 1)
    assert math.isnan(alone.low)


def test_wilcoxon_by_hand() -> None:
    # differences 1, 2, 3, 4, −5: the negative rank sum is 5; of 32 signs, subsets of {1..5} with sum ≤ 5
    # number 10
    first, second = np.array([1, 2, 3, 4, 0.0]), np.array([0, 0, 0, 0, 5.0])
    test = paired_wilcoxon(first, second)
    assert (test.statistic, test.n, test.n_nonzero) == (5.0, 5, 5)
    assert test.p_value == test.p_holm == pytest.approx(2 * 10 / 32)
    assert test.difference == 1.0
    assert paired_wilcoxon(second, first).difference == -1.0
    # six pairs all one way: 2 / 2⁶
    assert paired_wilcoxon(np.arange(1.0, 7), np.zeros(6)).p_value == pytest.approx(2 / 64)


@pytest.mark.filterwarnings("error")
def test_wilcoxon_without_differences_and_with_one_pair() -> None:
    same = paired_wilcoxon([0.5, 0.6], [0.5, 0.6])
    assert (same.p_value, same.statistic, same.n, same.n_nonzero, same.difference) == (1.0, 0.0, 2, 0, 0.0)
    one = paired_wilcoxon([0.9], [0.1])
    assert (one.p_value, one.n) == (1.0, 1)


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04 × 4 3 2 1 = .04 .06 .06 .04, monotone: .04 .06 .06 .06
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.03]) == pytest.approx([0.03])
    assert len(holm([])) == 0


def test_rank_biserial_by_hand() -> None:
    # differences 3, −1, 2, 0: ranks of |d| without the zero are 3, 1, 2, so (3 + 2 − 1) / 6
    assert rank_biserial([3, 0, 2, 5], [0, 1, 0, 5]) == pytest.approx(4 / 6)
    assert rank_biserial([1, 2], [0, 0]) == 1.0
    assert rank_biserial([0.5], [0.5]) == 0.0


def test_equivalence_in_closed_form() -> None:
    # mean .01, standard error .01, one degree of freedom: t = (.05 − .01) / .01 = 4, P(T > 4) = ½ − atan(4) / π
    found = equivalence([0.0, 0.02], 0.05)
    assert found.p_value == pytest.approx(0.5 - math.atan(4) / math.pi)
    reach = 0.01 * math.tan(math.pi * 0.45)  # the 95 % point of Student's t with one degree of freedom
    assert (found.low, found.high) == pytest.approx((0.01 - reach, 0.01 + reach))
    assert not found.equivalent
    assert equivalence([-0.02, 0.0], 0.05).p_value == pytest.approx(found.p_value)  # either side
    assert equivalence([0.001, -0.001] * 10, 0.02).equivalent
    assert not equivalence([0.03, 0.031] * 10, 0.02).equivalent  # surely different is not equivalent


def test_equivalence_without_spread_and_of_one() -> None:
    assert equivalence([0.01, 0.01], 0.02).equivalent
    assert not equivalence([0.02, 0.02], 0.02).equivalent
    one = equivalence([0.0], 0.02)
    assert math.isnan(one.p_value)
    assert not one.equivalent
    with pytest.raises(ValueError, match="margin is 0"):
        equivalence([0.1], 0)


def test_a_skewed_sample_differs_from_its_own_mean() -> None:
    skewed = np.array([0.1, *np.linspace(0.80, 0.83, 19)])
    assert wilcoxon_against_number(skewed, float(skewed.mean())).p_value < 0.05  # the paper's procedure's defect
    assert paired_wilcoxon(skewed, skewed).p_value == 1.0


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="values has 1 of 2 not finite"):
        bootstrap_mean([0.5, float("nan")])
    with pytest.raises(ValueError, match="non-empty"):
        bootstrap_mean([])
    with pytest.raises(ValueError, match="2 values but 1 cluster names"):
        clustered_bootstrap_mean([0.1, 0.2], ["a"])
    with pytest.raises(ValueError, match="first has 2 values and second 1"):
        paired_wilcoxon([0.1, 0.2], [0.1])
    with pytest.raises(ValueError, match=r"expected a flat sequence in \[0, 1\]"):
        holm([0.5, float("nan")])


# ---- images and seeds together

IMAGE, SEED = (0.0, 0.4), (0.0, 0.2)  # what an image and what a seed add to a score
CROSSED = [image + seed for image in IMAGE for seed in SEED]
IMAGES, SEEDS = ["a", "a", "b", "b"], [0, 1, 0, 1]


def test_the_interval_over_images_and_seeds_by_hand() -> None:
    # means of the images drawn are 0, 0.2, 0.4 and of the seeds 0, 0.1, 0.2, each with probability ¼, ½, ¼; so the
    # smallest and the largest sum, 0 and 0.6, have probability 1/16 > 2.5 %, and the next, 0.1 and 0.5, 1/8 more
    found = nested_bootstrap_mean(CROSSED, IMAGES, SEEDS)
    assert found.mean == pytest.approx(0.3)
    assert (found.low, found.high, found.n) == (pytest.approx(0.0), pytest.approx(0.6), 2)
    narrower = nested_bootstrap_mean(CROSSED, IMAGES, SEEDS, confidence=0.8)  # 10 % on each side: beyond 1/16
    assert (narrower.low, narrower.high) == (pytest.approx(0.1), pytest.approx(0.5))
    kept = clustered_bootstrap_mean(CROSSED, IMAGES)  # seeds kept as they are
    assert (kept.low, kept.high) == (pytest.approx(0.1), pytest.approx(0.5))


def test_all_images_of_a_seed_share_its_draw() -> None:
    # images alike, seeds 0 and 1: were seeds drawn image by image, 50 images would leave an interval near 0.5
    values = [float(seed) for _ in range(50) for seed in (0, 1)]
    found = nested_bootstrap_mean(values, [i for i in range(50) for _ in (0, 1)], [0, 1] * 50)
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)


def test_with_one_seed_only_the_images_count() -> None:
    values = np.random.default_rng(0).uniform(size=14)
    nested = nested_bootstrap_mean(values, range(14), [0] * 14)
    plain = bootstrap_mean(values)
    assert (nested.low, nested.high) == (pytest.approx(plain.low, abs=0.01), pytest.approx(plain.high, abs=0.01))
    assert math.isnan(nested_bootstrap_mean([1.0, 2.0], ["a", "a"], [0, 1]).low)


def test_the_order_of_values_and_names_does_not_matter_but_their_number_does() -> None:
    order = [2, 0, 3, 1]
    moved = nested_bootstrap_mean(*([each[i] for i in order] for each in (CROSSED, IMAGES, SEEDS)))  # type: ignore[index]
    found = nested_bootstrap_mean(CROSSED, IMAGES, SEEDS)
    assert (moved.low, moved.high) == (pytest.approx(found.low), pytest.approx(found.high))
    with pytest.raises(ValueError, match="4 values, 4 units and 3 seeds"):
        nested_bootstrap_mean(CROSSED, IMAGES, SEEDS[:3])


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "expected"),
    [
        (0.02, 0.04, 0.01, "better"),
        (-0.04, -0.02, 0.01, "worse"),
        (0.02, 0.04, 0.05, "undecided"),  # the interval alone is not enough
        (-0.02, 0.04, 0.01, "undecided"),  # nor is the test
        (-0.009, 0.009, 0.9, "equivalent"),
        (0.001, 0.009, 0.001, "equivalent"),  # different, by less than matters
        (0.001, 0.01, 0.001, "better"),  # the margin itself is not within it
        (-0.01, 0.005, 0.9, "undecided"),
        (float("nan"), float("nan"), 0.001, "undecided"),
    ],
)
def test_a_verdict_needs_interval_and_test(low: float, high: float, p_holm: float, expected: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high, 14, 0.95), p_holm, 0.01) == expected


def test_a_margin_is_a_difference() -> None:
    with pytest.raises(ValueError, match="margin is 0"):
        verdict(Interval(0.0, -1.0, 1.0, 2, 0.95), 1.0, 0)
