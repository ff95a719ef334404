import numpy as np
import pytest

from study.audit.aji_names import NAMES, aji_greedy, five

# Two true nuclei of 4 px. Prediction 1 covers the top row (5 px), prediction 3 the last pixel.
TRUTH = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
PRED = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 3]])


def test_the_toy_of_the_specification_has_five_values() -> None:
    # published: 1 and 2 both take prediction 1: I = 2 + 2, U = 7 + 7, and prediction 3 adds 1
    # used once: 1 takes prediction 1, 2 is left with prediction 3: I = 2 + 1, U = 7 + 4
    # components: predictions 1 and 3 touch, so one nucleus of 6 px: I = 2 + 3, U = 8 + 7
    expected = {
        "jaccard": 5 / 9,
        "aji_kumar": 4 / 15,
        "aji_greedy": 3 / 11,
        "aji_plus": 3 / 11,
        "aji_components": 5 / 15,
    }
    assert five(PRED, TRUTH) == pytest.approx(expected)
    assert list(five(PRED, TRUTH)) == list(NAMES)


def test_greedy_depends_on_the_order_of_labels() -> None:
    truth = np.array([[1, 1, 1, 2, 2, 2, 2, 2, 2]])
    pred = np.array([[5, 5, 5, 5, 5, 5, 5, 5, 6]])
    assert aji_greedy(pred, truth) == pytest.approx((3 + 1) / (8 + 6))  # 1 takes 5; 2 is left with 6
    assert aji_greedy(pred, 3 - truth) == pytest.approx(5 / (9 + 3 + 1))  # 2 takes 5; 1 has nothing, 6 is spare


def test_agreement_and_emptiness() -> None:
    assert five(TRUTH, TRUTH) == pytest.approx(dict.fromkeys(NAMES, 1.0))
    empty = np.zeros((2, 5), int)
    assert five(empty, empty) == pytest.approx(dict.fromkeys(NAMES, 1.0))
    assert five(empty, TRUTH) == pytest.approx(dict.fromkeys(NAMES, 0.0))
