"""Audit of the ranking claims: the sentences of section 5 beside the printed values.

Only the printed order is examined. Two printed values one unit in the last place apart are "undecided";
whether a difference exceeds run-to-run noise cannot be read from the tables, which give one number a row and
no spread.
"""

from __future__ import annotations

from dataclasses import dataclass

from study.audit.published import CELLS, HALF_UNIT, Cell, Table1Row, Table3Row, printed, table1, table3
from study.audit.ranges import Range, Verdict

OURS = "All-in-SAM"
RIVAL = "nnUNet"
METRICS: dict[str, str] = {  # the paper's name → the field of Table3Row
    "Dice": "dice",
    "AUC": "auc",
    "Recall": "recall",
    "Precision": "precision",
    "bestF1": "best_f1",
    "IoU": "iou_printed",
    "ADJ": "adj_printed",
}
TABLE2_METRICS = ("Dice", "IoU", "ADJ")


@dataclass(frozen=True)
class Duel:
    """All-in-SAM against nnU-Net on one metric, same labels and amount of data."""

    label: str
    training_data: str
    metric: str
    ours: float
    rival: float

    @property
    def difference(self) -> Range:
        return printed(self.ours) - printed(self.rival)

    @property
    def verdict(self) -> Verdict:
        """Says "holds" where All-in-SAM is above whatever the rounding; see `decide`."""
        return decide(self.ours, self.rival)


def decide(ours: float, rival: float) -> Verdict:
    """Is ours above rival for every pair of values that rounds to these? Compared in whole printed units."""
    units = round((ours - rival) / (2 * HALF_UNIT))
    if abs(units) <= 1:
        return "undecided"
    return "holds" if units > 0 else "fails"


def duels(label: str, metrics: tuple[str, ...] = tuple(METRICS)) -> tuple[Duel, ...]:
    """Every comparison of Table 3 for "Complete" or "Weak" labels."""
    rows = {(row.method, row.training_data): row for row in table3() if row.label == label}
    amounts = [amount for method, amount in rows if method == OURS]
    return tuple(
        Duel(label, amount, metric, _value(rows[OURS, amount], metric), _value(rows[RIVAL, amount], metric))
        for amount in amounts
        for metric in metrics
    )


def _value(row: Table3Row, metric: str) -> float:
    return float(getattr(row, METRICS[metric]))


@dataclass(frozen=True)
class Leader:
    """Who has the highest F1 in one column of Table 1 among one annotator group."""

    annotator: str
    cell: Cell
    column: str
    best: Table1Row
    best_score: float
    ours_score: float

    @property
    def verdict(self) -> Verdict:
        """Says "holds" where All-in-SAM leads."""
        if self.best.method == OURS:
            return "holds"
        return "fails" if decide(self.best_score, self.ours_score) == "holds" else "undecided"


def leaders(column: str | None = None) -> tuple[Leader, ...]:
    """Table 1's columns "injured", "normal" and "average" (or one), per cell type and annotator group."""
    columns = (column,) if column else ("injured", "normal", "average")
    return tuple(
        _leader(annotator, cell, name) for annotator in ("Expert", "Students") for cell in CELLS for name in columns
    )


def _leader(annotator: str, cell: Cell, column: str) -> Leader:
    rows = {row: float(getattr(row.cell(cell), column)) for row in table1() if row.annotator == annotator}
    best = max(rows, key=lambda row: rows[row])
    ours = next(score for row, score in rows.items() if row.method == OURS)
    return Leader(annotator, cell, column, best, rows[best], ours)


@dataclass(frozen=True)
class LabelEffect:
    """Dice of All-in-SAM with weak labels beside complete labels."""

    training_data: str
    complete: float
    weak: float

    @property
    def difference(self) -> Range:
        return printed(self.weak) - printed(self.complete)


def label_effects() -> tuple[LabelEffect, ...]:
    """The paper: "maintains its effectiveness without any significant drop"."""
    dice = {(row.label, row.training_data): row.dice for row in table3() if row.method == OURS}
    amounts = [amount for label, amount in dice if label == "Complete"]
    return tuple(LabelEffect(amount, dice["Complete", amount], dice["Weak", amount]) for amount in amounts)
