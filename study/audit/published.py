"""Tables 1-3 of the paper as data: the numbers exactly as printed (JMI 12(5):057501, 2025).

The CSV files in `published/` beside this module hold them; nothing here is computed. "IoU" and "ADJ" keep the
paper's column names with the suffix `_printed`, because what they measure is a question the audit asks
(`study.audit`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from study.audit.ranges import Range

Cell = Literal["podocyte", "mesangial"]
CELLS: tuple[Cell, ...] = ("podocyte", "mesangial")
HALF_UNIT = 5e-5  # the tables print four decimals

_FOLDER = Path(__file__).parent / "published"


@dataclass(frozen=True)
class CellScores:
    """One cell type in one row of Table 1: F1 on injured and normal glomeruli, and the printed average."""

    injured: float
    normal: float
    average: float


@dataclass(frozen=True)
class Table1Row:
    method: str
    annotator: str
    podocyte: CellScores
    mesangial: CellScores

    @property
    def name(self) -> str:
        return f"{self.method}, {self.annotator.lower()}"

    def cell(self, cell: Cell) -> CellScores:
        return self.podocyte if cell == "podocyte" else self.mesangial


@dataclass(frozen=True)
class Table2Row:
    """None where the paper leaves the cell empty."""

    label: str
    method: str
    training_data: str
    dice: float | None
    iou_printed: float | None
    adj_printed: float | None


@dataclass(frozen=True)
class Table3Row:
    label: str
    method: str
    training_data: str
    dice: float
    auc: float
    recall: float
    precision: float
    best_f1: float
    iou_printed: float
    adj_printed: float

    @property
    def name(self) -> str:
        return f"{self.label}, {self.method}, {self.training_data}"


def printed(value: float) -> Range:
    """Every value that rounds to the printed four decimals."""
    return Range(value - HALF_UNIT, value + HALF_UNIT)


@cache
def table1() -> tuple[Table1Row, ...]:
    """F1 per cell type on the in-house data, 8 rows in the paper's order."""

    def scores(row: dict[str, str], short: str) -> CellScores:
        return CellScores(*(_score(row[f"{kind}_{short}_f1"]) for kind in ("injured", "normal", "avg")))

    return tuple(
        Table1Row(row["method"], row["annotator"], scores(row, "pod"), scores(row, "mes"))
        for row in _read("table1.csv")
    )


@cache
def table2() -> tuple[Table2Row, ...]:
    """Comparison with other methods on MoNuSeg, 14 rows in the paper's order."""

    def maybe(text: str) -> float | None:
        return _score(text) if text else None

    return tuple(
        Table2Row(
            row["label"],
            row["method"],
            row["training_data"],
            *(maybe(row[k]) for k in ("dice", "iou", "adj")),
        )
        for row in _read("table2.csv")
    )


@cache
def table3() -> tuple[Table3Row, ...]:
    """nnU-Net and All-in-SAM by label and amount of data, 12 rows in the paper's order."""
    names = ("dice", "auc", "recall", "precision", "best_f1", "iou", "adj")
    return tuple(
        Table3Row(row["label"], row["method"], row["training_data"], *(_score(row[name]) for name in names))
        for row in _read("table3.csv")
    )


def _read(name: str) -> list[dict[str, str]]:
    with (_FOLDER / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _score(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{_FOLDER}: found {text}, expected a score in [0, 1]; compare with the paper's table")
    return value
