"""Errors of segmentations drawn by hand, one of each kind, and what putting them right gains."""

from __future__ import annotations

import numpy as np
import pytest

from study.errors import KINDS, classify, costs, repaired

EMPTY = np.zeros((12, 60), int)


def painted(*boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    """(value, top, left, height, width) each, on a ground of zeros."""
    labels = EMPTY.copy()
    for value, top, left, height, width in boxes:
        labels[top : top + height, left : left + width] = value
    return labels


TRUTH = painted(*((value, 2, left, 6, 6) for value, left in ((1, 2), (2, 10), (3, 16), (4, 26), (5, 36), (7, 46))))
PRED = painted(
    (9, 2, 2, 6, 5),  # 30 of nucleus 1's 36 px
    (2, 2, 10, 6, 13),  # nuclei 2 and 3 in one, and a column more: IoU 36/78 with each
    (3, 2, 26, 3, 6),  # the upper half of 4: IoU 1/2, found
    (4, 2, 36, 2, 6),  # two thirds of 5, in two parts
    (5, 4, 36, 2, 6),
    (6, 2, 54, 3, 3),  # on nothing; 7 is missed
)


def test_each_kind_of_error_is_told_from_the_others() -> None:
    errors = classify(PRED, TRUTH)
    assert errors.found.tolist() == [1, 4]
    assert errors.merged.tolist() == [2, 3]
    assert errors.split.tolist() == [5]
    assert errors.misshapen.tolist() == []
    assert errors.missed.tolist() == [7]
    assert errors.invented.tolist() == [6]


@pytest.mark.parametrize(
    ("kind", "pred"),
    [
        ("misshapen", painted((1, 2, 2, 10, 12))),  # far too large around nucleus 1 alone
        ("misshapen", painted((1, 2, 2, 2, 6))),  # a third of it
        ("misshapen", painted((1, 2, 5, 6, 6))),  # half of it, and as much beside it: IoU 1/3
        ("misshapen", painted((1, 2, 2, 3, 5), (2, 9, 2, 1, 1))),
        ("split", painted((1, 2, 2, 3, 5), (2, 5, 3, 3, 4))),
        ("misshapen", painted((1, 2, 2, 1, 6), (2, 4, 2, 1, 6))),  # two crumbs that do not make up half of it
        ("missed", painted((1, 0, 0, 4, 4))),  # touched by an object that lies elsewhere
        ("missed", EMPTY),
    ],
)
def test_what_a_lone_nucleus_suffers(kind: str, pred: np.ndarray) -> None:
    errors = classify(pred, painted((1, 2, 2, 6, 6)))
    assert getattr(errors, kind).tolist() == [1]
    assert not errors.found.size
    assert sum(getattr(errors, other).size for other in KINDS if other != "invented") == 1


def test_a_small_nucleus_swallowed_by_the_object_that_finds_its_neighbour_is_merged() -> None:
    errors = classify(painted((1, 2, 2, 6, 8)), painted((1, 2, 2, 6, 6), (2, 2, 8, 6, 2)))
    assert errors.found.tolist() == [1]
    assert errors.merged.tolist() == [2]


def test_an_object_that_is_two_nuclei_of_one_size_finds_one_of_them() -> None:
    errors = classify(painted((1, 2, 2, 6, 12)), painted((1, 2, 2, 6, 6), (2, 2, 8, 6, 6)))
    assert errors.found.tolist() == [1]
    assert errors.merged.tolist() == [2]


def test_an_object_with_a_third_of_a_neighbour_has_not_merged_it() -> None:
    errors = classify(painted((1, 2, 2, 6, 8)), painted((1, 2, 2, 6, 6), (2, 2, 8, 6, 6)))
    assert errors.found.tolist() == [1]
    assert errors.merged.tolist() == []
    assert errors.missed.tolist() == [2]


def test_a_repair_spares_the_object_that_finds_another() -> None:
    pred, truth = painted((1, 2, 2, 6, 9)), painted((1, 2, 2, 6, 6), (2, 2, 8, 6, 3))  # a third of it lies in 2
    assert classify(pred, truth).merged.tolist() == [2]
    assert classify(repaired(pred, truth, "merged"), truth).found.tolist() == [1, 2]


def test_an_object_is_invented_where_less_than_half_of_it_lies_on_nuclei() -> None:
    truth = painted((1, 2, 2, 6, 6))
    assert classify(painted((4, 2, 5, 4, 6)), truth).invented.tolist() == []  # 12 of 24 px
    assert classify(painted((4, 2, 5, 4, 7)), truth).invented.tolist() == [4]


def test_costs_by_hand() -> None:
    now = 2 * 2 / (6 + 6)
    expected = {"merged": 8 / 13, "split": 6 / 11, "misshapen": now, "missed": 6 / 13, "invented": 4 / 11}
    assert costs(PRED, TRUTH) == pytest.approx({kind: f1 - now for kind, f1 in expected.items()})


def test_a_repair_leaves_everything_else() -> None:
    for kind in KINDS:
        errors, after = classify(PRED, TRUTH), classify(repaired(PRED, TRUTH, kind), TRUTH)
        assert getattr(after, kind).size == 0
        for other in KINDS:
            if other != kind:
                assert getattr(after, other).size == getattr(errors, other).size


def test_empty_maps() -> None:
    assert classify(EMPTY, TRUTH).missed.tolist() == [1, 2, 3, 4, 5, 7]
    assert classify(PRED, EMPTY).invented.tolist() == [2, 3, 4, 5, 6, 9]
    assert set(costs(EMPTY, EMPTY).values()) == {0.0}
    with pytest.raises(ValueError, match="one shape"):
        classify(EMPTY, TRUTH[:5])
