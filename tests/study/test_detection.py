"""Detection by points, each case worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from study import detection
from study.detection import Points


def points(*rows: tuple[float, float, int, float]) -> Points:
    """(x, y, class, confidence) each."""
    table = np.array(rows, float).reshape(-1, 4)
    return Points(table[:, :2], table[:, 2].astype(int), table[:, 3])


def test_more_pairs_come_before_nearer_pairs() -> None:
    """On a line: truth at 0 and 4, predictions at 3 and 8. Only 0–3 and 4–8 make two pairs; the greedy rule finds one.

    In turn, truth 4 comes first there: it takes 3, one away, and leaves 0 without a partner.
    """
    truth, pred = np.array([[4.0, 0], [0, 0]]), np.array([[3.0, 0], [8, 0]])
    assert detection.pairs(pred, truth, 5).tolist() == [[1, 0], [0, 1]]
    assert detection.pairs(pred, truth, 5, "greedy").tolist() == [[0, 0]]
    assert detection.pairs(pred, truth[::-1], 5, "greedy").tolist() == [[0, 0], [1, 1]]


def test_of_as_many_pairs_the_nearest_are_taken() -> None:
    truth, pred = np.array([[0.0, 0], [2, 0]]), np.array([[2.5, 0], [0.5, 0]])
    assert detection.pairs(pred, truth, 10).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("rule", ["optimal", "greedy"])
def test_a_pair_is_closer_than_the_distance(rule: detection.Rule) -> None:
    truth, pred = np.array([[0.0, 0]]), np.array([[3.0, 4]])
    assert len(detection.pairs(pred, truth, 5, rule)) == 0
    assert len(detection.pairs(pred, truth, 5.01, rule)) == 1
    assert detection.pairs(np.zeros((0, 2)), truth, 5, rule).shape == (0, 2)
    assert detection.pairs(pred, np.zeros((0, 2)), 5, rule).shape == (0, 2)


def test_counts_by_hand() -> None:
    """Two classes, five true and four predicted nuclei, 10 px apart from each other.

    Class 0: truth at x 0, 10, 20; predicted at 1 (right) and at 31, where class 1 is. Class 1: truth at 30, 40;
    predicted at 11, where class 0 is, and at 60, where nothing is. Neither x 20 nor x 40 is found.
    """
    truth = points((0, 0, 0, 1), (10, 0, 0, 1), (20, 0, 0, 1), (30, 0, 1, 1), (40, 0, 1, 1))
    pred = points((1, 0, 0, 0.95), (31, 0, 0, 0.62), (11, 0, 1, 0.55), (60, 0, 1, 0.58))
    found = detection.count(pred, truth, 2, 6)
    assert found.truth.tolist() == [3, 2, 5]
    assert found.pred.tolist() == [2, 2, 4]
    assert found.hits.tolist() == [1, 0, 3]
    assert detection.f1(found.hits, found.truth, found.pred).tolist() == pytest.approx([2 / 5, 0, 6 / 9])
    assert found.confusion.tolist() == [[1, 1, 1], [1, 0, 1], [0, 1, 0]]
    assert found.reliability[0, 9].tolist() == [1, 0.95, 1]
    assert found.reliability[0, 6].tolist() == [1, 0.62, 0]
    assert found.reliability[1, 5].tolist() == pytest.approx([2, 1.13, 0])
    assert found.reliability.sum((0, 1))[0] == 4
    # class 0: two bins of one nucleus each, off by 0.05 and 0.62
    assert detection.calibration_error(found.reliability[0]) == pytest.approx((0.05 + 0.62) / 2)


def test_what_is_nowhere_has_no_f1_and_no_calibration() -> None:
    none = points()
    found = detection.count(none, none, 2, 6)
    assert np.isnan(detection.f1(found.hits, found.truth, found.pred)).all()
    assert np.isnan(detection.calibration_error(found.reliability[0]))
    only = detection.count(none, points((0, 0, 1, 1)), 2, 6)
    assert detection.f1(only.hits, only.truth, only.pred).tolist()[1:] == [0, 0]
    assert only.confusion.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_a_nucleus_is_at_its_centroid_and_of_its_likeliest_class() -> None:
    labels = np.zeros((4, 6), int)
    labels[0, 0:3], labels[2:4, 4:6] = 2, 5
    prob = np.zeros((2, 4, 6))
    prob[0, 0, 0:3] = 0.9, 0.3, 0.3  # the mean of class 0 is 0.5, that of class 1 0.6
    prob[1, 0, 0:3] = 0.6
    prob[0, 2:4, 4:6] = 0.8
    found = detection.points_of(labels, prob)
    assert found.xy.tolist() == [[1, 0], [4.5, 2.5]]
    assert found.kinds.tolist() == [1, 0]
    assert found.confidence.tolist() == pytest.approx([0.6, 0.8])
    empty = detection.points_of(np.zeros((3, 3), int), np.zeros((2, 3, 3)))
    assert empty.xy.shape == (0, 2)
    assert empty.kinds.dtype.kind == "i"


def test_true_points_are_the_pixels_that_were_marked() -> None:
    labels = np.zeros((5, 5), np.uint16)
    labels[3, 1], labels[0, 4] = 1, 2
    found = detection.true_points(labels, np.array([-1, 2, 0]))
    assert found.xy.tolist() == [[1, 3], [4, 0]]
    assert found.kinds.tolist() == [2, 0]


def test_points_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 2\), \(N,\) and \(N,\)"):
        Points(np.zeros((2, 2)), np.zeros(1, int), np.zeros(2))
