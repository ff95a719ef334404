"""Expected values by hand: f(D) = D / (2 − D), e.g. f(0.75) = 0.6 and f(0.8) = 2/3."""

from dataclasses import replace

import numpy as np
import pytest

from study.audit import audit
from study.audit.published import table3


def test_the_two_conversions_by_hand() -> None:
    assert audit.jaccard_of_dice(0.75) == pytest.approx(0.6)
    assert audit.dice_of_jaccard(0.6) == pytest.approx(0.75)
    assert audit.dice_of_precision_recall(0.5, 1.0) == pytest.approx(2 / 3)


def test_jensen_on_random_masks_with_two_images_by_hand() -> None:
    # Dice 1 and 0.5: mean 0.75, bound 0.6; Jaccard 1 and 1/3: mean 2/3 ≥ 0.6
    dice = np.array([1.0, 0.5])
    assert np.mean(audit.jaccard_of_dice(dice)) == pytest.approx(2 / 3)
    rng = np.random.default_rng(0)
    for _ in range(100):
        precision, recall = rng.uniform(0.05, 1, (2, 14))
        dice = audit.dice_of_precision_recall(precision, recall)
        assert np.mean(audit.jaccard_of_dice(dice)) >= audit.jaccard_of_dice(np.mean(dice))
        assert np.mean(dice) <= audit.dice_of_precision_recall(precision.mean(), recall.mean())


def test_adj_is_possible_on_eleven_rows_and_iou_on_none() -> None:
    assert [check.verdict for check in audit.jensen("ADJ")].count("holds") == 11
    assert [check.verdict for check in audit.jensen("IoU")].count("fails") == 12


def test_excess_of_adj_and_shortfall_of_iou() -> None:
    # complete, nnUNet, All: 0.7028 − 0.8244/1.1756 = 0.001541; 0.6976 − the same = −0.003659
    adj, iou = audit.jensen("ADJ")[0], audit.jensen("IoU")[0]
    assert adj.slack.centre == pytest.approx(0.001541, abs=2e-6)
    assert iou.slack.centre == pytest.approx(-0.003659, abs=2e-6)
    # rounding: ± 0.00005 of ADJ and ± 0.00005 · f′(D), f′ = 2/(2 − D)² = 1.447
    assert (adj.slack.high - adj.slack.low) / 2 == pytest.approx(5e-5 * 2.447, rel=1e-3)


def test_the_one_contradictory_row() -> None:
    (only,) = audit.contradictions()
    assert (only.row.label, only.row.method, only.row.training_data) == ("Weak", "nnUNet", "0.5%")
    assert only.ceiling_from_adj.high == pytest.approx(2 * 0.59185 / 1.59185)  # 0.7436
    assert only.ceiling_from_precision_recall.centre == pytest.approx(
        2 * 0.6199 * 0.9336 / (0.6199 + 0.9336), abs=1e-6
    )  # 0.7451
    assert only.excess == pytest.approx(0.74995 - 0.743600, abs=2e-6)


def test_precision_and_recall_agree_with_dice_on_the_other_rows() -> None:
    verdicts = [check.verdict for check in audit.harmonic()]
    assert verdicts.count("holds") == 11
    assert verdicts[8] == "fails"


def test_the_oracle_threshold_is_never_below_dice() -> None:
    assert {check.verdict for check in audit.oracle()} == {"holds"}


def test_a_repaired_row_would_pass(monkeypatch) -> None:
    """The verdict follows the numbers: with Dice 0.7400 the row is consistent."""
    rows = tuple(replace(row, dice=0.74) if row.dice == 0.75 else row for row in table3())
    monkeypatch.setattr(audit, "table3", lambda: rows)
    assert audit.contradictions() == ()


def test_rounding_can_leave_a_verdict_open(monkeypatch) -> None:
    row = replace(table3()[0], dice=0.75, adj_printed=0.6)  # exactly on the bound
    monkeypatch.setattr(audit, "table3", lambda: (row,))
    assert audit.jensen("ADJ")[0].verdict == "undecided"


def test_gap_between_the_columns() -> None:
    gaps = [round(gap.centre, 4) for _, gap in audit.adj_minus_iou()]
    assert gaps == [
        0.0052,
        0.0040,
        0.0051,
        0.0062,
        0.0057,
        0.0051,
        0.0039,
        0.0035,
        0.0037,
        0.0051,
        0.0054,
        0.0045,
    ]


def test_implied_spread_recovers_a_known_one() -> None:
    # Dice 0.8244 ± s on half the images each: excess = mean f − f(mean)
    check, s = audit.jensen("ADJ")[0], 0.03
    mean = check.row.dice
    excess = np.mean([audit.jaccard_of_dice(mean - s), audit.jaccard_of_dice(mean + s)]) - audit.jaccard_of_dice(mean)
    fake = replace(check, slack=audit.Range(excess, excess))
    assert audit.implied_dice_spread(fake) == pytest.approx(s, rel=1e-3)
    with pytest.raises(ValueError, match="expected ≥ 0"):
        audit.implied_dice_spread(audit.jensen("IoU")[0])


def test_table_2_repeats_table_3() -> None:
    assert audit.tables_agree() == (8, 8)
