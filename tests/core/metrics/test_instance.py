"""Instance metrics: values by hand first, then invariances, then a slow and obvious second implementation."""

from __future__ import annotations

import time
from dataclasses import astuple
from itertools import permutations

import numpy as np
import pytest

from allinsam_core.metrics import instance
from allinsam_core.metrics.instance import evaluate


def strip(text: str) -> np.ndarray:
    """Rows of digits separated by spaces → label map."""
    return np.array([[int(c) for c in row] for row in text.split()])


def test_kumar_lets_a_prediction_serve_two_nuclei_and_aji_plus_does_not() -> None:
    truth = strip("11022 11022")
    pred = strip("11111 00003")
    scores = evaluate(pred, truth)
    assert scores.aji_kumar == 4 / 15  # both take prediction 1: I = 2 + 2, U = 7 + 7, prediction 3 adds 1
    assert scores.aji_plus == 3 / 11  # 1–1 and 2–3: I = 2 + 1, U = 7 + 4
    assert (scores.true_positives, scores.pq, scores.ap_50) == (0, 0.0, 0.0)


def test_every_field_by_hand() -> None:
    truth = strip("1111000222 1111000222 0000000000 3300000000")
    pred = strip("1110000222 1110000222 0000000000 0000044000")
    # IoU(1, 1) = 6/8, IoU(2, 2) = 1, nucleus 3 (2 px) missed, prediction 4 (2 px) invented
    scores = evaluate(pred, truth)
    assert scores.aji_kumar == scores.aji_plus == (6 + 6) / (8 + 6 + 2 + 2)
    assert scores.dq == pytest.approx(2 / (2 + 0.5 + 0.5))
    assert scores.sq == pytest.approx(1.75 / 2, abs=1e-6)
    assert scores.pq == scores.dq * scores.sq
    assert scores.f1_instance_50 == pytest.approx(2 / 3)
    assert scores.ap_50 == 2 / 4
    assert (scores.n_truth, scores.n_pred, scores.true_positives) == (3, 3, 2)


def test_equal_iou_goes_to_the_lower_label_which_decides_who_stays_unused() -> None:
    # Nucleus 1 overlaps predictions 1 and 2 alike (1 px of 3 each: IoU 1/5); nucleus 2's only overlap is
    # prediction 2.
    truth = strip("0111000 0000002")
    pred = strip("1100000 1000002")
    pred[0, 3:5], pred[1, 4] = 2, 0
    pred[1, 6] = 2  # prediction 2: columns 3, 4 of the top row and the corner pixel: 3 px
    scores = evaluate(pred, truth)
    # 1→1 (I 1, U 5), 2→2 (I 1, U 3), every prediction used
    assert scores.aji_kumar == 2 / 8
    # with the labels exchanged nucleus 1 takes the other one, and the 3 px of the prediction left over are
    # added
    exchanged = np.choose(pred, [0, 2, 1])
    assert evaluate(exchanged, truth).aji_kumar == 2 / 11


def test_iou_of_one_half_counts_for_f1_but_not_for_dq_and_only_once() -> None:
    truth = strip("1111")
    halves = strip("1122")
    scores = evaluate(halves, truth)
    assert (scores.dq, scores.true_positives) == (0.0, 1)
    assert scores.f1_instance_50 == 2 / 3
    assert scores.ap_50 == 1 / 2
    assert evaluate(truth, halves).true_positives == 1
    assert evaluate(strip("1100"), truth).f1_instance_50 == 1.0


def test_two_squares_offset_by_five() -> None:
    truth, pred = np.zeros((2, 20, 20), dtype=np.uint8)
    truth[2:12, 2:12], pred[2:12, 7:17] = 1, 1
    scores = evaluate(pred, truth)
    assert scores.aji_kumar == scores.aji_plus == 50 / 150
    assert scores.dq == 0.0


def test_identical_maps_score_one() -> None:
    labels = strip("1102 1102 0330")
    scores = evaluate(labels, labels)
    assert (scores.aji_kumar, scores.aji_plus, scores.dq, scores.f1_instance_50, scores.ap_50) == (1.0,) * 5
    assert scores.sq == 3 / (3 + 1e-6)


def test_empty_maps() -> None:
    nothing, one = strip("000 000"), strip("110 110")
    assert astuple(evaluate(nothing, nothing)) == (1.0,) * 7 + (0, 0, 0)
    assert astuple(evaluate(nothing, one)) == (0.0,) * 7 + (1, 0, 0)
    assert astuple(evaluate(one, nothing)) == (0.0,) * 7 + (0, 1, 0)


def test_map_without_background_keeps_its_lowest_label() -> None:
    full = strip("12 12")
    scores = evaluate(full, full)
    assert (scores.n_truth, scores.true_positives, scores.aji_kumar) == (2, 2, 1.0)
    huge = full.astype(np.uint32) + np.uint32(4_000_000_000)
    assert evaluate(huge, full) == scores


def random_pair(rng: np.random.Generator, size: int = 24, values: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Truth of random blocks and a prediction that differs from it in about a third of the pixels."""
    truth = np.kron(rng.integers(0, values, (size // 4, size // 4)), np.ones((4, 4), dtype=int))
    pred = np.where(rng.uniform(size=truth.shape) < 0.35, rng.integers(0, values, truth.shape), truth)
    return pred, truth


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_dtype_gaps_and_memory_order_do_not_matter(dtype: type) -> None:
    pred, truth = random_pair(np.random.default_rng(3))
    expected = evaluate(pred, truth)
    top = min(int(np.iinfo(dtype).max), 2**63)
    for last in {20, min(top, 60_000), min(top, 2**32 - 1), top}:
        table = np.array([0, 2, 3, 7, 11, 13, last], dtype=dtype)
        assert evaluate(table[pred], table[truth]) == expected
    wide = np.zeros((24, 72), dtype=dtype)
    wide[:, ::3] = truth
    assert evaluate(np.asfortranarray(pred.astype(dtype)), wide[:, ::3]) == expected
    assert evaluate(pred.T.astype(dtype), truth.T.astype(dtype)) == expected


def test_all_ways_of_counting_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    pred, truth = random_pair(np.random.default_rng(4))
    expected = evaluate(pred, truth)
    monkeypatch.setattr(instance, "DENSE_CELLS", 0)  # forces ranks and the sorted table
    assert evaluate(pred, truth) == expected
    assert evaluate(pred + 10_000_000 * (pred > 0), truth) == expected


def brute_force(pred: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The definitions as sets of pixels, every pairing tried."""
    nuclei = [set(np.flatnonzero(truth == v)) for v in np.unique(truth[truth > 0])]
    found = [set(np.flatnonzero(pred == v)) for v in np.unique(pred[pred > 0])]
    iou = np.array([[len(a & b) / len(a | b) for b in found] for a in nuclei])

    def aggregated(pairs: list[tuple[int, int]]) -> float:
        inter = sum(len(nuclei[i] & found[j]) for i, j in pairs)
        union = sum(len(nuclei[i] | found[j]) for i, j in pairs)
        union += sum(len(a) for i, a in enumerate(nuclei) if i not in {p[0] for p in pairs})
        union += sum(len(b) for j, b in enumerate(found) if j not in {p[1] for p in pairs})
        return inter / union

    kumar = [(i, int(row.argmax())) for i, row in enumerate(iou) if row.max() > 0]
    padded = np.zeros((max(iou.shape),) * 2)
    padded[: iou.shape[0], : iou.shape[1]] = iou
    best = max(permutations(range(len(padded))), key=lambda order: sum(padded[range(len(order)), order]))
    plus = [(i, j) for i, j in enumerate(best) if padded[i, j] > 0]
    half = max(int((padded[range(len(o)), o] >= 0.5).sum()) for o in permutations(range(len(padded))))
    strict = iou[iou > 0.5]
    n = (len(nuclei) + len(found)) / 2
    return {
        "aji_kumar": aggregated(kumar),
        "aji_plus": aggregated(plus),
        "dq": len(strict) / n,
        "pq": strict.sum() / n,
        "f1_instance_50": half / n,
        "ap_50": half / (2 * n - half),
    }


def test_agrees_with_the_definitions_tried_out_in_full() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        pred, truth = random_pair(rng, size=16, values=int(rng.integers(3, 7)))
        scores = evaluate(pred, truth)
        for name, expected in brute_force(pred, truth).items():
            assert getattr(scores, name) == pytest.approx(expected, abs=2e-6), name


@pytest.mark.parametrize(
    ("pred", "truth", "message"),
    [
        (np.zeros((4, 4)), np.zeros((4, 4), int), "pred is float64, expected an integer label map"),
        (np.zeros((4, 4), int), np.zeros((4, 4), bool), "truth is bool"),
        (np.full((4, 4), -1), np.zeros((4, 4), int), "pred has the negative label -1"),
        (np.zeros((4, 5), int), np.zeros((4, 4), int), r"pred is \(4, 5\) and truth \(4, 4\)"),
        (np.zeros((4, 4, 3), int), np.zeros((4, 4), int), r"pred has shape \(4, 4, 3\)"),
    ],
)
def test_bad_input_is_named(pred: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(pred, truth)


def test_a_thousand_pixels_square_takes_milliseconds() -> None:
    truth = np.kron(np.arange(441, dtype=np.int32).reshape(21, 21), np.ones((47, 47), dtype=np.int32))
    pred = np.roll(truth, 9, axis=(0, 1))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        evaluate(pred, truth)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1  # about 0.01 s; a loop over nuclei takes seconds
