"""Fractions by hand-counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError
from study.datasets.fractions import subset


def make(count: int, side: int = 1000, label: int = 1) -> list[Case]:
    image, labels = np.zeros((side, side, 3), np.uint8), np.full((side, side), label, np.uint16)
    return [Case(f"case{i:02}", image, labels, 0.25, "simulated", patient=f"p{i}") for i in range(count)]


def parents(cases: list[Case]) -> list[str]:
    return [case.name.partition("@")[0] for case in cases]


def test_four_percent_is_one_crop_of_each_of_24_images() -> None:
    part = subset(make(24), 0.04, seed=0)
    assert sorted(parents(part)) == [f"case{i:02}" for i in range(24)]
    assert {case.image.shape for case in part} == {(200, 200, 3)}
    assert sum(case.mask.size for case in part) == 0.04 * 24 * 1000**2


def test_half_a_percent_is_three_crops_of_three_images() -> None:
    part = subset(make(24), 0.005, seed=0)
    assert len(set(parents(part))) == len(part) == 3
    assert sum(case.mask.size for case in part) == 0.005 * 24 * 1000**2


def test_everything_is_everything_under_both_rules() -> None:
    cases = make(3, side=250)
    assert subset(cases, 1.0, seed=0) == cases == subset(cases, 1, seed=0, rule="whole_image")


def test_more_crops_than_images_are_spread_evenly_and_never_overlap() -> None:
    cases = make(4, side=410)  # 4 cells each; 0.6 × 4 × 410² / 200² = 10.086 crops
    part = subset(cases, 0.6, seed=3)
    assert len(part) == 10
    assert sorted(parents(part).count(name) for name in set(parents(part))) == [2, 2, 3, 3]
    for name in set(parents(part)):
        covered = np.zeros((410, 410), int)
        for case in part:
            if case.name.startswith(name):
                top, left, size = map(int, case.name.partition("@")[2].split(","))
                covered[top : top + size, left : left + size] += 1
        assert covered.max() == 1


def test_the_seed_decides_and_small_parts_are_inside_larger_ones() -> None:
    cases = make(24)
    names = [{case.name for case in subset(cases, f, seed=7)} for f in (0.005, 0.04, 0.2)]
    assert [len(found) for found in names] == [3, 24, 120]
    assert names[0] < names[1] < names[2]
    assert names[1] == {case.name for case in subset(cases, 0.04, seed=7)}
    assert names[1] != {case.name for case in subset(cases, 0.04, seed=8)}
    assert len({tuple(parents(subset(cases, 0.005, seed))) for seed in range(5)}) == 5  # other images, too


def test_whole_images() -> None:
    cases = make(24, side=20)
    assert [len(subset(cases, f, 0, rule="whole_image")) for f in (0.04, 0.005, 0.25, 0.5)] == [1, 1, 6, 12]
    assert subset(cases, 0.04, 0, rule="whole_image")[0] in cases


def test_crops_keep_patient_and_split() -> None:
    cases = [replace(case, split="val") for case in make(2)]
    assert {(case.patient, case.split) for case in subset(cases, 0.04, 0)} == {("p0", "val"), ("p1", "val")}


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_impossible_fractions(fraction: float) -> None:
    with pytest.raises(ValueError, match="more than 0 and at most 1"):
        subset(make(2), fraction, 0)


def test_parts_that_teach_nothing_or_do_not_exist_are_refused() -> None:
    with pytest.raises(DataError, match="holds no nucleus"):
        subset(make(24, label=0), 0.04, 0)
    with pytest.raises(DataError, match="less than half a 200 px crop"):
        subset(make(1), 0.01, 0)
    with pytest.raises(DataError, match="needs 2 crops of 200 px, only 1 fit"):
        subset(make(1, side=390), 0.5, 0)
    with pytest.raises(DataError, match="no case"):
        subset([], 0.04, 0)
    with pytest.raises(ValueError, match="'tiles'"):
        subset(make(1), 0.04, 0, rule="tiles")  # type: ignore[arg-type]


def test_a_patient_is_taken_with_all_images_or_not_at_all() -> None:
    """Eight images of four patients, two each: a quarter is one patient, 4 % still one; a half holds the quarter."""
    cases = [replace(case, patient=f"p{i // 2}") for i, case in enumerate(make(8))]
    half, quarter, least = (subset(cases, part, seed=3, rule="patients") for part in (0.5, 0.25, 0.04))
    assert [len(part) for part in (half, quarter, least)] == [4, 2, 2]
    for part in (half, quarter, least):
        taken = {case.patient for case in part}
        assert {case.name for case in part} == {case.name for case in cases if case.patient in taken}
    assert {c.name for c in least} == {c.name for c in quarter} < {c.name for c in half}
    with pytest.raises(ValueError, match="expected one of crops, whole_image, patients"):
        subset(cases, 0.5, seed=0, rule="organs")  # type: ignore[arg-type]
