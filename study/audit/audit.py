"""Audit of Table 3 from the printed numbers alone: what any set of masks must satisfy.

Write D, J, P, R for one image's Dice, pixel Jaccard, precision and recall, and a bar for the mean over
images. Three inequalities hold whatever the images are:

1. J = D / (2 − D) is convex in D, so by Jensen  J̄ ≥ D̄ / (2 − D̄),  equivalently  D̄ ≤ 2J̄ / (1 + J̄).
2. D = 2PR / (P + R) is concave in (P, R), so  D̄ ≤ 2P̄R̄ / (P̄ + R̄).
3. bestF1 is, per image, the largest F1 over thresholds, so  its mean ≥ D̄.

Rounding is carried as a range: a verdict is "holds" or "fails" only when every value that rounds to the
printed four decimals agrees. A "fails" says that the two numbers cannot be per-image means over the same
masks; it does not say which of the two is off, nor why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from study.audit.published import Table3Row, printed, table2, table3
from study.audit.ranges import Range, Verdict, image

Column = Literal["IoU", "ADJ"]


def jaccard_of_dice(dice: float) -> float:
    """J = D / (2 − D): exact for one image, the lower bound of the mean for many."""
    return dice / (2 - dice)


def dice_of_jaccard(jaccard: float) -> float:
    """D = 2J / (1 + J): exact for one image, the upper bound of the mean for many."""
    return 2 * jaccard / (1 + jaccard)


def dice_of_precision_recall(precision: float, recall: float) -> float:
    """Harmonic mean: exact for one image, the upper bound of the mean for many."""
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True)
class Check:
    """One inequality on one row: holds where `slack` ≥ 0. `bound` follows from the other columns."""

    row: Table3Row
    value: Range
    bound: Range
    slack: Range

    @property
    def verdict(self) -> Verdict:
        return self.slack.at_least(0.0)


def printed_jaccard(row: Table3Row, column: Column) -> Range:
    return printed(row.iou_printed if column == "IoU" else row.adj_printed)


def jensen(column: Column) -> tuple[Check, ...]:
    """Inequality 1 on each row: can the column be the mean per-image Jaccard behind that Dice?"""
    checks = []
    for row in table3():
        value = printed_jaccard(row, column)
        bound = image(jaccard_of_dice, printed(row.dice))
        checks.append(Check(row, value, bound, value - bound))
    return tuple(checks)


def harmonic() -> tuple[Check, ...]:
    """Inequality 2 on each row: is the mean Dice within what mean precision and recall allow?"""
    checks = []
    for row in table3():
        value = printed(row.dice)
        bound = image(dice_of_precision_recall, printed(row.precision), printed(row.recall))
        checks.append(Check(row, value, bound, bound - value))
    return tuple(checks)


def oracle() -> tuple[Check, ...]:
    """Inequality 3 on each row: is bestF1 at least Dice?"""
    return tuple(
        Check(row, printed(row.best_f1), printed(row.dice), printed(row.best_f1) - printed(row.dice))
        for row in table3()
    )


def with_verdict(checks: Sequence[Check], verdict: Verdict) -> tuple[Check, ...]:
    return tuple(check for check in checks if check.verdict == verdict)


@dataclass(frozen=True)
class Contradiction:
    """A row whose Dice is above what its other columns allow, by two independent routes."""

    row: Table3Row
    ceiling_from_adj: Range
    ceiling_from_precision_recall: Range

    @property
    def excess(self) -> float:
        """Smallest amount by which the printed Dice is too high, rounding included."""
        ceiling = min(self.ceiling_from_adj.high, self.ceiling_from_precision_recall.high)
        return printed(self.row.dice).low - ceiling


def contradictions() -> tuple[Contradiction, ...]:
    """Rows that fail inequality 1 with ADJ, and inequality 2 as well."""
    by_adj = {check.row for check in with_verdict(jensen("ADJ"), "fails")}
    by_both = [check.row for check in with_verdict(harmonic(), "fails") if check.row in by_adj]
    return tuple(
        Contradiction(
            row,
            image(dice_of_jaccard, printed(row.adj_printed)),
            image(dice_of_precision_recall, printed(row.precision), printed(row.recall)),
        )
        for row in by_both
    )


def adj_minus_iou() -> tuple[tuple[Table3Row, Range], ...]:
    """The gap between the two columns, row by row."""
    return tuple((row, printed(row.adj_printed) - printed(row.iou_printed)) for row in table3())


def implied_dice_spread(check: Check) -> float:
    """Standard deviation of Dice over images that would explain the excess of J̄ over its bound.

    Second order: J̄ − f(D̄) ≈ ½ f″(D̄) Var(D) with f″(D) = 4 / (2 − D)³. A plausibility check, not a proof.
    """
    if check.slack.centre < 0:
        raise ValueError(f"{check.row.name}: the excess is {check.slack.centre:.4f}, expected ≥ 0")
    curvature = 4 / (2 - check.row.dice) ** 3
    return sqrt(2 * check.slack.centre / curvature)


def tables_agree() -> tuple[int, int]:
    """(rows of Table 2 that reappear in Table 3, those with identical Dice, IoU and ADJ)."""
    by_key = {(row.label, row.method, row.training_data): row for row in table3()}
    shared = [(row, by_key[key]) for row in table2() if (key := (row.label, row.method, row.training_data)) in by_key]
    same = [(a.dice, a.iou_printed, a.adj_printed) == (b.dice, b.iou_printed, b.adj_printed) for a, b in shared]
    return len(shared), sum(same)
