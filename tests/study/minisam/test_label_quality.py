"""Quality of weak labels by hand: a square shifted, grown, shrunk and lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allinsam_core.data.case import Case
from study.minisam.label_quality import by_size, nuclei, quality


@pytest.fixture
def truth() -> Case:
    """Three 10×10 squares, labels 1, 4 and 6, the first two touching."""
    instances = np.zeros((40, 60), np.uint16)
    instances[5:15, 5:15], instances[5:15, 15:25], instances[20:30, 40:50] = 1, 4, 6
    return Case("t", np.zeros((40, 60, 3), np.uint8), instances, 0.25, "made")


def weakened(truth: Case, instances: np.ndarray) -> Case:
    return replace(truth, instances=instances.astype(np.uint16), source="weak")


def test_equal_labels_are_perfect(truth: Case) -> None:
    found = quality(truth, truth)
    assert (found.dice, found.jaccard, found.mean_instance_iou) == (1, 1, 1)
    assert found.nuclei["label"].tolist() == [1, 4, 6]
    assert (found.nuclei[["excess", "missing"]] == 0).all(axis=None)


def test_moved_grown_and_lost_nuclei(truth: Case) -> None:
    weak = np.zeros_like(truth.instances)
    weak[5:15, 0:10] = 1  # moved by half: 50 / 150
    weak[18:32, 38:52] = 6  # 14×14 around 10×10: 100 / 196; label 4 is lost
    found = quality(truth, weakened(truth, weak))
    table = found.nuclei.set_index("label")
    assert table["instance_iou"].tolist() == pytest.approx([1 / 3, 0, 100 / 196])
    assert table["area_ratio"].tolist() == [1, 0, 1.96]
    assert table["excess"].tolist() == [0.5, 0, 0.96]
    assert table["missing"].tolist() == [0.5, 1, 0]
    assert found.mean_instance_iou == pytest.approx((1 / 3 + 100 / 196) / 3)
    assert found.dice == pytest.approx(2 * 150 / (300 + 296))
    assert found.jaccard == pytest.approx(150 / (300 + 296 - 150))


def test_a_mask_on_the_neighbour_is_a_miss(truth: Case) -> None:
    swapped = np.array([0, 4, 2, 3, 1, 5, 6])[truth.instances]
    found = quality(truth, weakened(truth, swapped))
    assert found.dice == 1
    assert found.nuclei["instance_iou"].tolist() == [0, 0, 1]


def test_components_are_compared_with_components(truth: Case) -> None:
    joined = np.zeros_like(truth.instances)
    joined[5:15, 5:25], joined[20:30, 40:50] = 1, 2
    found = quality(truth, weakened(truth, joined), "components")
    assert found.nuclei["instance_iou"].tolist() == [1, 1]
    assert found.nuclei["truth_area"].tolist() == [200, 100]


def test_without_nuclei_there_is_no_mean(truth: Case) -> None:
    empty = weakened(truth, np.zeros_like(truth.instances))
    found = quality(empty, empty)
    assert len(found.nuclei) == 0
    assert np.isnan(found.mean_instance_iou)


def test_by_size_groups_from_small_to_large() -> None:
    truth, weak = np.zeros((40, 40), np.uint16), np.zeros((40, 40), np.uint16)
    for label, side in enumerate((8, 2, 6, 4), start=1):
        truth[10 * label - 10 : 10 * label - 10 + side, :side] = label
        weak[10 * label - 10 : 10 * label - 10 + side, : side if side > 4 else side // 2] = label
    table = by_size(nuclei(truth, weak), groups=2)
    assert table["smallest"].tolist() == [4, 36]
    assert table["largest"].tolist() == [16, 64]
    assert table["nuclei"].tolist() == [2, 2]
    assert table["instance_iou"].tolist() == [0.5, 1]
    assert table["missing"].tolist() == [0.5, 0]
    assert table["lost"].tolist() == [0, 0]  # 0.5 is not under 0.5


def test_by_size_of_fewer_nuclei_than_groups_and_of_none() -> None:
    one = np.ones((2, 2), np.uint16)
    assert by_size(nuclei(one, one))["nuclei"].tolist() == [1]
    assert len(by_size(nuclei(one * 0, one * 0))) == 0


def test_labels_and_sizes_must_belong_together(truth: Case) -> None:
    with pytest.raises(ValueError, match=r"weak labels \[5\] are not in the truth"):
        nuclei(np.array([[1, 6]]), np.array([[1, 5]]))
    smaller = replace(truth, image=truth.image[:9], instances=truth.instances[:9])
    with pytest.raises(ValueError, match="expected the same image"):
        quality(truth, smaller)
