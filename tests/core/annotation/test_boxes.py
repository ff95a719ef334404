"""Boxes by hand: half-open sides, the declared random law, the released script's components, every refusal."""

from __future__ import annotations

import numpy as np
import pytest

from allinsam_core.annotation import boxes


@pytest.fixture
def instances() -> np.ndarray:
    """Labels 2 (rows 1-3, columns 2-5) and 7 (the last pixel) of a 10×12 image."""
    labels = np.zeros((10, 12), np.uint16)
    labels[1:4, 2:6] = 2
    labels[9, 11] = 7
    return labels


def test_tight_is_half_open_and_ordered_by_label(instances: np.ndarray) -> None:
    found = boxes.tight(instances)
    assert found.dtype == np.float32
    assert found.tolist() == [[2, 1, 6, 4], [11, 9, 12, 10]]


def test_no_instances_no_boxes() -> None:
    empty = np.zeros((4, 4), np.uint16)
    assert boxes.tight(empty).shape == (0, 4)
    assert boxes.components(empty).shape == (0, 4)
    assert boxes.random(empty, np.random.default_rng(0)).shape == (0, 4)


def test_random_moves_every_side_outwards_uniformly_from_0_to_spread() -> None:
    labels = np.zeros((100, 100), np.uint16)
    labels[40:60, 40:60] = 1
    rng = np.random.default_rng(0)
    moved = np.concatenate([boxes.random(labels, rng, 3) for _ in range(400)])
    outwards = (moved - boxes.tight(labels)) * [-1, -1, 1, 1]
    for side in outwards.T:
        values, counts = np.unique(side, return_counts=True)
        assert values.tolist() == [0, 1, 2, 3]
        assert counts.min() > 60  # 100 expected, sd 8.7
    assert np.abs(np.corrcoef(outwards.T) - np.eye(4)).max() < 0.2  # sd 0.05: the sides move independently


def test_random_is_clipped_reproducible_and_tight_without_spread(instances: np.ndarray) -> None:
    first, again = (boxes.random(instances, np.random.default_rng(3), 50) for _ in range(2))
    assert (first == again).all()
    boxes.validate(first, (10, 12), "random")
    assert (boxes.random(instances, np.random.default_rng(0), 0) == boxes.tight(instances)).all()
    with pytest.raises(ValueError, match="spread is -1"):
        boxes.random(instances, np.random.default_rng(0), -1)


def test_components_join_touching_nuclei_and_drop_single_pixels() -> None:
    mask = np.zeros((8, 8), np.uint16)
    mask[0:2, 0:2] = 1
    mask[2:4, 2:4] = 2  # touches the first at a corner: 8-connected
    mask[0, 7] = 3  # one pixel
    mask[6, 5:7] = 4  # two pixels
    assert boxes.components(mask).tolist() == [[0, 0, 4, 4], [5, 6, 7, 7]]
    assert np.unique(boxes.component_labels(mask)).tolist() == [0, 1, 2]


def test_validate_returns_float32_and_allows_the_whole_image() -> None:
    checked = boxes.validate(np.array([[0, 0, 12, 10]]), (10, 12), "f")
    assert checked.dtype == np.float32


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([0, 0, 12.5, 10], "leaves the image"),
        ([0, 0, 12, 11], "leaves the image"),
        ([-1, 0, 3, 3], "leaves the image"),
        ([5, 5, 4, 6], "is inverted"),
        ([5, 5, 5, 6], "is empty"),
        ([np.nan, 0, 1, 1], "is not finite"),
        ([0, 0, np.inf, 1], "is not finite"),
    ],
)
def test_validate_names_source_index_found_and_expected(box: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.csv: box 1 of 2 \[.*\] {said}.*expected"):
        boxes.validate(np.array([[0, 0, 1, 1], box]), (10, 12), "a.csv")


def test_validate_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\), expected \(N, 4\)"):
        boxes.validate(np.zeros((2, 3)), (5, 5), "x")
