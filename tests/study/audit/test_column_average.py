from dataclasses import dataclass

import numpy as np
import pytest

from study.audit.column_average import BoundaryError, column_average_demo, read_rows, summarise, write_rows


@dataclass(frozen=True)
class Scores:
    dice: float
    jaccard: float
    iou_column: float


def evaluate(prob: np.ndarray, truth: np.ndarray) -> Scores:
    """The three definitions, written out for the test."""
    pred, truth = prob >= 0.5, truth.astype(bool)
    both, either = (pred & truth), (pred | truth)
    return Scores(
        2 * both.sum() / (pred.sum() + truth.sum()),
        both.sum() / either.sum(),
        float(np.mean(both.sum(0) / np.maximum(either.sum(0), 1e-8))),
    )


def disc(radius: float, size: int = 81) -> np.ndarray:
    y, x = np.indices((size, size)) - size // 2
    return np.hypot(x, y) <= radius


def test_the_papers_toy_vector() -> None:
    prob = np.array([[1, 0, 1], [1, 1, 0]], np.float32)
    truth = np.array([[1, 1, 0], [1, 0, 0]], bool)
    scores = evaluate(prob, truth)
    assert (scores.dice, scores.jaccard, scores.iou_column) == pytest.approx((4 / 7, 0.4, 1 / 3))


def test_a_shift_without_noise_grows_a_disc_by_that_radius() -> None:
    grown = BoundaryError(shift=5.0, amplitude=0.0, correlation=3.0)(disc(20), np.random.default_rng(0))
    assert grown.sum() == pytest.approx(np.pi * 25**2, rel=0.03)
    assert not (disc(20) & ~grown).any()


def test_noise_moves_the_outline_both_ways() -> None:
    truth = disc(20)
    moved = BoundaryError(shift=0.0, amplitude=3.0, correlation=4.0)(truth, np.random.default_rng(0))
    assert (moved & ~truth).any()
    assert (truth & ~moved).any()


def test_empty_mask_stays_empty() -> None:
    empty = np.zeros((8, 8), bool)
    assert not BoundaryError(1, 1, 1)(empty, np.random.default_rng(0)).any()


class Toy(BoundaryError):
    """Whatever the truth, the prediction of the toy vector."""

    def __call__(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.array([[1, 0, 1], [1, 1, 0]], bool)


def test_summary_of_hand_computed_images() -> None:
    # image a: the toy vector, Jaccard 0.4, columns 1/3; image b: truth equals the prediction, 1 and 1
    masks = {"a": np.array([[1, 1, 0], [1, 0, 0]], bool), "b": np.array([[1, 0, 1], [1, 1, 0]], bool)}
    (summary,) = summarise(column_average_demo(masks, [Toy(0, 0, 0)], evaluate, draws=4))
    assert (summary.images, summary.draws) == (2, 4)
    assert (summary.jaccard, summary.iou_column) == pytest.approx((0.7, 2 / 3))
    assert summary.gap == pytest.approx(0.7 - 2 / 3)
    assert not summary.below_bound  # D̄ = 11/14, bound 11/17 = 0.647


def test_same_seed_same_rows_and_the_record_reads_back(tmp_path) -> None:
    masks = {"a": disc(20), "b": disc(12)}
    settings = (BoundaryError(0.0, 2.0, 4.0),)
    rows = column_average_demo(masks, settings, evaluate, seed=3)
    assert rows == column_average_demo(masks, settings, evaluate, seed=3)
    assert rows != column_average_demo(masks, settings, evaluate, seed=4)
    path = tmp_path / "rows.csv"
    write_rows(rows, path)
    assert [row.draw for row in rows] == [0, 0, 1, 1, 2, 2]
    assert len({row.dice for row in rows}) == 6  # every draw is its own
    assert [row.dice for row in read_rows(path)] == pytest.approx([row.dice for row in rows], abs=1e-6)


def test_no_masks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no masks"):
        column_average_demo({}, evaluate=evaluate)


def test_missing_record_says_how_to_make_it(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="audit-columns"):
        read_rows(tmp_path / "none.csv")
