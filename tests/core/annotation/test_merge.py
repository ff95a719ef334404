"""One instance map out of overlapping masks, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from allinsam_core.annotation.merge import merge
from allinsam_core.annotation.predict import BoxMask


def square(top: int, left: int, side: int, score: float) -> BoxMask:
    return BoxMask(top, left, np.ones((side, side), bool), score)


def test_the_higher_score_wins_the_pixel_and_the_loss_is_told() -> None:
    instances, table = merge([square(0, 0, 4, 0.6), square(2, 2, 4, 0.9)], (8, 8))
    assert instances.dtype == np.uint16
    assert instances[1, 1] == 1
    assert instances[2, 2] == instances[3, 3] == 2
    assert table["area"].tolist() == [16, 16]
    assert table["kept"].tolist() == [12, 16]
    assert table["lost"].tolist() == [0.25, 0]
    assert table["score"].tolist() == [0.6, 0.9]


def test_of_equal_scores_the_smaller_then_the_earlier_wins() -> None:
    small_inside = merge([square(0, 0, 5, 0.5), square(1, 1, 2, 0.5)], (6, 6))[0]
    assert (small_inside == 2).sum() == 4
    assert (merge([square(0, 0, 2, 0.5), square(0, 0, 2, 0.5)], (3, 3))[0][:2, :2] == 1).all()


def test_order_of_the_boxes_does_not_matter_where_scores_differ() -> None:
    rng = np.random.default_rng(0)
    masks = [square(*rng.integers(0, 20, 2), int(rng.integers(2, 9)), float(rng.random())) for _ in range(12)]
    labels = list(range(1, 13))
    forward = merge(masks, (30, 30), labels)[0]
    assert (forward == merge(masks[::-1], (30, 30), labels[::-1])[0]).all()


def test_each_pixel_has_one_owner_and_only_covered_pixels_have_one() -> None:
    masks = [square(0, 0, 3, 0.1), square(1, 1, 3, 0.2), square(2, 0, 3, 0.3)]
    instances, table = merge(masks, (6, 6))
    assert ((instances > 0) == np.any([m.full((6, 6)) for m in masks], axis=0)).all()
    assert table["kept"].sum() == (instances > 0).sum()


def test_covered_and_empty_masks_leave_no_pixels_but_a_row() -> None:
    empty = BoxMask(0, 0, np.zeros((0, 0), bool), 0.9)
    instances, table = merge([square(0, 0, 2, 0.1), square(0, 0, 3, 0.8), empty], (4, 4), labels=[4, 9, 70_000])
    assert instances.dtype == np.int32  # 70,000 does not fit 16 bits
    assert np.unique(instances).tolist() == [0, 9]
    assert table["instance"].tolist() == [4, 9, 70_000]
    assert table["box"].tolist() == [0, 1, 2]
    assert table["kept"].tolist() == [0, 9, 0]
    assert table["lost"].tolist() == [1, 0, 1]


def test_no_masks() -> None:
    instances, table = merge([], (3, 4))
    assert instances.shape == (3, 4)
    assert not instances.any()
    assert len(table) == 0


@pytest.mark.parametrize("labels", [[1], [1, 1], [0, 1]])
def test_labels_must_tell_the_masks_apart(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="labels for 2 masks; expected one each, different and > 0"):
        merge([square(0, 0, 1, 0.5)] * 2, (3, 3), labels)
