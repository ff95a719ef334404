"""Pixel metrics: a vector by hand, edge cases by definition, then scikit-learn on random maps."""

from __future__ import annotations

import math
import time
from dataclasses import asdict

import numpy as np
import pytest
from sklearn import metrics as sk

from allinsam_core.metrics.pixel import evaluate

P = np.array([[1, 0, 1], [1, 1, 0]])
G = np.array([[1, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("prob", [P, P == 1, P.astype(float), P.astype(np.uint8) * 255, P.astype(np.float32)])
@pytest.mark.parametrize("truth", [G, G == 1, G.astype(np.uint16) * 700, G.astype(float)])
def test_hand_computed_vector(prob: np.ndarray, truth: np.ndarray) -> None:
    scores = evaluate(prob, truth)
    assert scores.dice == 4 / 7
    assert scores.jaccard == 2 / 5
    assert scores.iou_column == pytest.approx(1 / 3)  # columns: 2/2, 0/2, 0/1
    assert scores.precision == 2 / 4
    assert scores.recall == 2 / 3
    # 3 nucleus and 3 background pixels; true positives 2, false positives 2: AUC = (recall + specificity) / 2
    assert scores.auc == (2 / 3 + 1 / 3) / 2
    assert scores.best_f1 == pytest.approx(2 / 3)  # everything foreground: 2·3 / (6 + 3)
    assert scores.f1_pixel_macro == pytest.approx((4 / 7 + 2 / 5) / 2)  # background: 1 of 2 and 3


def test_auc_and_best_f1_by_hand() -> None:
    prob = np.array([[0.9, 0.8, 0.8, 0.1]])
    truth = np.array([[1, 1, 0, 0]])
    scores = evaluate(prob, truth, threshold=0.85)
    assert scores.auc == 3.5 / 4  # the tie at 0.8 counts half
    assert scores.best_f1 == 4 / 5  # at 0.8: 2 hits among 3
    assert scores.dice == 2 / 3


def test_eight_bit_rounds_half_up_and_then_compares() -> None:
    prob = np.array([[0.5, 127.4 / 255, 127.5 / 255, 0.0]])
    truth = np.array([[1, 0, 1, 0]])
    assert evaluate(prob, truth, eight_bit=True).dice == 1.0
    assert evaluate(prob.astype(np.float32), truth, eight_bit=True).recall == 1.0
    # 0.499 is below one half but rounds to 127; 0.4999 × 255 = 127.47 too
    assert evaluate(np.array([[0.499, 0.4999]]), np.array([[1, 1]]), eight_bit=True).recall == 0.0
    # the rounding merges values and so changes the ranking: 0.7000 and 0.7001 tie at level 179
    near = np.array([[0.7000, 0.7001]])
    assert evaluate(near, np.array([[0, 1]])).auc == 1.0
    assert evaluate(near, np.array([[0, 1]]), eight_bit=True).auc == 0.5
    levels = np.array([[127, 128]], dtype=np.uint8)
    assert evaluate(levels, np.array([[1, 1]])).recall == 0.5
    assert evaluate(levels, np.array([[1, 1]]), threshold=127 / 255).recall == 1.0  # the threshold is foreground


def test_column_iou_is_per_column_not_per_image_or_row() -> None:
    pred, truth = np.zeros((2, 4, 4), dtype=bool)
    truth[:, 0], pred[0, 0], truth[0, 1], pred[0, 1] = True, True, True, True
    scores = evaluate(pred, truth)
    assert scores.iou_column == pytest.approx((1 / 4 + 1 + 0 + 0) / 4)
    assert scores.jaccard == 2 / 5
    assert evaluate(pred.T, truth.T).iou_column == pytest.approx((2 / 2 + 0 + 0 + 0) / 4)


def test_empty_prediction_truth_and_both() -> None:
    nothing, some = np.zeros((3, 3)), np.eye(3)
    both = evaluate(nothing, nothing > 0)
    assert (both.dice, both.jaccard, both.precision, both.recall, both.f1_pixel_macro) == (1.0,) * 5
    assert both.iou_column == 0.0  # the floored union of the paper's evaluator
    assert math.isnan(both.auc)
    assert math.isnan(both.best_f1)

    no_pred = evaluate(nothing, some > 0)
    assert (no_pred.dice, no_pred.jaccard, no_pred.precision, no_pred.recall) == (0.0,) * 4
    assert (no_pred.auc, no_pred.best_f1) == (0.5, 6 / 12)
    assert no_pred.f1_pixel_macro == pytest.approx(12 / 15 / 2)

    no_truth = evaluate(some, nothing > 0)
    assert (no_truth.dice, no_truth.jaccard, no_truth.precision, no_truth.recall) == (0.0,) * 4
    assert math.isnan(no_truth.auc)
    assert math.isnan(no_truth.best_f1)

    full = evaluate(np.ones((3, 3)), np.ones((3, 3), dtype=bool))
    assert (full.dice, full.iou_column, full.f1_pixel_macro, full.best_f1) == (1.0,) * 4
    assert math.isnan(full.auc)


def cases() -> list[tuple[str, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(7)
    truth = rng.uniform(size=(37, 53)) < 0.3
    smooth = np.clip(truth * 0.3 + rng.normal(0.35, 0.2, truth.shape), 0, 1)  # many exact 0 and 1
    return [
        ("float64", smooth, truth),
        ("float32", smooth.astype(np.float32), truth),
        ("float16", smooth.astype(np.float16), truth),
        ("big-endian", smooth.astype(">f4"), truth),
        ("uint8", (smooth * 255).astype(np.uint8), truth),
        ("bool", smooth > 0.5, truth),
        ("negative zero", np.where((smooth == 0) & truth, -0.0, smooth), truth),
        ("strided", np.repeat(smooth, 2, axis=1)[:, ::2], np.asfortranarray(truth)),
        ("labels as truth", smooth, truth * rng.integers(1, 900, truth.shape)),
    ]


@pytest.mark.parametrize("threshold", [0.5, 0.3])
@pytest.mark.parametrize(("prob", "truth"), [c[1:] for c in cases()], ids=[c[0] for c in cases()])
def test_agrees_with_scikit_learn(prob: np.ndarray, truth: np.ndarray, threshold: float) -> None:
    scores = asdict(evaluate(prob, truth, threshold))
    values = (prob / 255 if prob.dtype == np.uint8 else prob).ravel().astype(float)
    g, p = truth.ravel() > 0, values >= threshold
    precision, recall, _ = sk.precision_recall_curve(g, values)
    expected = {
        "dice": sk.f1_score(g, p),
        "jaccard": sk.jaccard_score(g, p),
        "precision": sk.precision_score(g, p),
        "recall": sk.recall_score(g, p),
        "auc": sk.roc_auc_score(g, values),
        "best_f1": np.max(2 * precision * recall / (precision + recall + 1e-10)),
        "f1_pixel_macro": sk.f1_score(g, p, average="macro"),
        "iou_column": np.mean(
            [
                sk.jaccard_score(a, b, zero_division=0)
                for a, b in zip(truth.T > 0, p.reshape(truth.shape).T, strict=True)
            ]
        ),
    }
    assert scores == pytest.approx(expected, abs=1e-9)
    assert scores["best_f1"] >= scores["dice"]


@pytest.mark.parametrize(
    ("prob", "truth", "message"),
    [
        (
            np.full((2, 2), 1.5),
            G[:, :2],
            "prob is float64 with values from 1.5 to 1.5, expected finite values in",
        ),
        (np.full((2, 2), np.nan), G[:, :2], "expected finite values"),
        (np.full((2, 2), -0.1), G[:, :2], "values from -0.1"),
        (np.full((2, 2), 7), G[:, :2], "pass a label map as bool"),
        (np.ones((2, 2), np.uint8), G[:, :2], "uint8 with maximum 1"),
        (np.ones((2, 2)), np.full((2, 2), 0.5), "truth is float64 with values other than 0 and 1"),
        (np.ones((2, 3)), G[:, :2], r"prob is \(2, 3\) and truth \(2, 2\)"),
        (np.ones((1, 2, 3)), G, r"prob has shape \(1, 2, 3\)"),
    ],
)
def test_bad_input_is_named(prob: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(prob, truth)
    with pytest.raises(ValueError, match="threshold is 2"):
        evaluate(P, G, 2)


def test_a_megapixel_of_distinct_floats_is_exact_and_quick() -> None:
    rng = np.random.default_rng(8)
    prob = rng.permutation(1_000_000).reshape(1000, 1000) / 1_000_000
    truth = prob >= 0.6
    start = time.perf_counter()
    scores = evaluate(prob, truth)
    assert time.perf_counter() - start < 2.0  # about 0.05 s
    assert scores.auc == 1.0
    assert scores.best_f1 == 1.0
    assert scores.dice == 2 * 400_000 / 900_000
