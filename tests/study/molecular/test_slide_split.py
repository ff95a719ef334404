"""6:1:3 by slide: the numbers by hand, both kinds in every split, no slide twice."""

from __future__ import annotations

import pytest

from allinsam_core.data.errors import DataError
from study.molecular import slide_split

ELEVEN = {f"S{i:02d}": i in (2, 5, 9) for i in range(1, 12)}  # 3 injured


@pytest.mark.parametrize(
    ("slides", "train", "val", "test"),
    [(0, 0, 0, 0), (1, 1, 0, 0), (2, 1, 0, 1), (3, 1, 1, 1), (8, 5, 1, 2), (20, 12, 2, 6)],
)
def test_quota_by_hand(slides, train, val, test):
    assert slide_split.quota(slides) == {"train": train, "val": val, "test": test}


def test_eleven_slides_three_injured():
    splits = slide_split.by_slide(ELEVEN)
    assert set(splits) == set(ELEVEN)
    count = {s: sum(1 for each in splits.values() if each == s) for s in ("train", "val", "test")}
    assert count == {"train": 6, "val": 2, "test": 3}
    sick = sorted(splits[slide] for slide, injured in ELEVEN.items() if injured)
    assert sick == ["test", "train", "val"]
    assert slide_split.missing(splits, ELEVEN) == []


def test_equal_seeds_give_equal_splits_and_others_differ():
    drawn = [slide_split.by_slide(ELEVEN, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len({tuple(each.values()) for each in drawn}) > 1


def test_patch_counts_decide_which_slide_goes_where():
    # Shares are met exactly by only one assignment: 60 → train, 30 → test, 10 → val, in both kinds.
    injured = {"a": True, "b": True, "c": True, "d": False, "e": False, "f": False}
    patches = {"a": 10, "b": 60, "c": 30, "d": 30, "e": 10, "f": 60}
    wanted = {"a": "val", "b": "train", "c": "test", "d": "test", "e": "val", "f": "train"}
    assert slide_split.by_slide(injured, patches) == wanted


def test_too_few_slides_are_named_not_split_by_patch():
    injured = {"a": True, "b": False, "c": False, "d": False}
    splits = slide_split.by_slide(injured)
    assert splits["a"] == "train"
    assert slide_split.missing(splits, injured) == ["test has no injured slide", "val has no injured slide"]


def test_no_slides():
    with pytest.raises(DataError, match="no slides"):
        slide_split.by_slide({})
