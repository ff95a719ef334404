"""Audit of Table 1's averages: which weights turn "injured" and "normal" into the printed average?

The average of a row is a mean over test patches, so average = w · injured + (1 − w) · normal, where w is the
share of test patches from injured glomeruli. The test patches are the same for every row, so w must be too
(per cell type).
"""

from __future__ import annotations

from dataclasses import dataclass

from study.audit.published import Cell, CellScores, Table1Row, printed, table1
from study.audit.ranges import Range, image, intersection

REFERENCE_METHODS = ("SAM-L tight", "SAM-L random")


def injured_weight(injured: float, normal: float, average: float) -> float:
    """w in average = w · injured + (1 − w) · normal."""
    return (average - normal) / (injured - normal)


def _combine(weight: float, injured: float, normal: float) -> float:
    return weight * injured + (1 - weight) * normal


@dataclass(frozen=True)
class WeightCheck:
    """The weight of "injured" that one row implies, with rounding."""

    row: Table1Row
    cell: Cell
    weight: Range

    @property
    def scores(self) -> CellScores:
        return self.row.cell(self.cell)

    @property
    def possible(self) -> bool:
        """Some weight in [0, 1] gives the printed average."""
        return self.weight.overlaps(Range(0.0, 1.0))


def implied_weights(cell: Cell) -> tuple[WeightCheck, ...]:
    """One check a row. w is monotone in each score, as injured and normal differ beyond rounding."""
    checks = []
    for row in table1():
        scores = row.cell(cell)
        arguments = (printed(scores.injured), printed(scores.normal), printed(scores.average))
        if arguments[0].overlaps(arguments[1]):
            raise ValueError(f"Table 1, {row.name}, {cell}: injured equals normal within rounding: any weight fits")
        checks.append(WeightCheck(row, cell, image(injured_weight, *arguments)))
    return tuple(checks)


def common_weight(cell: Cell) -> Range:
    """The weights that all four SAM-L rows allow at once."""
    checks = [check for check in implied_weights(cell) if check.row.method in REFERENCE_METHODS]
    common = intersection(check.weight for check in checks)
    if common is None:
        raise ValueError(f"Table 1, {cell}: no weight fits all {len(checks)} SAM-L rows")
    return common


@dataclass(frozen=True)
class AverageFit:
    """A row's printed average beside the one that the SAM-L rows' common weight gives."""

    check: WeightCheck
    expected: Range

    @property
    def printed(self) -> Range:
        return printed(self.check.scores.average)

    @property
    def fits(self) -> bool:
        return self.printed.overlaps(self.expected)

    @property
    def difference(self) -> float:
        return self.printed.centre - self.expected.centre


def average_fits(cell: Cell) -> tuple[AverageFit, ...]:
    """All eight rows against the common weight. Bilinear, so the extremes lie at the corners."""
    common = common_weight(cell)
    fits = []
    for check in implied_weights(cell):
        arguments = (common, printed(check.scores.injured), printed(check.scores.normal))
        fits.append(AverageFit(check, image(_combine, *arguments)))
    return tuple(fits)


def outside_inputs() -> tuple[WeightCheck, ...]:
    """Rows whose average lies outside its two inputs, so that no weighting can give it."""
    cells: tuple[Cell, ...] = ("podocyte", "mesangial")
    return tuple(check for cell in cells for check in implied_weights(cell) if not check.possible)
