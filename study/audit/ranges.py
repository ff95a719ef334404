"""Ranges of values that a printed number stands for, so that a verdict drawn from it survives its rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Literal

Verdict = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True)
class Range:
    """All values from low to high, both included. A mean's confidence interval is `stats.Interval`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"range [{self.low}, {self.high}]: the lower end is above the upper end")

    @property
    def centre(self) -> float:
        return (self.low + self.high) / 2

    def __sub__(self, other: Range) -> Range:
        return Range(self.low - other.high, self.high - other.low)

    def overlaps(self, other: Range) -> bool:
        return self.low <= other.high and other.low <= self.high

    def at_least(self, bound: float) -> Verdict:
        """Is every value in the range ≥ bound ("holds"), none ("fails"), or only some ("undecided")?"""
        if self.low >= bound:
            return "holds"
        return "fails" if self.high < bound else "undecided"


def image(function: Callable[..., float], *arguments: Range) -> Range:
    """Range of a function over a box of ranges.

    Exact when the function is monotone in each argument on the box, whatever the directions: the extremes
    then lie at corners. That is the caller's duty to check.
    """
    corners = product(*((argument.low, argument.high) for argument in arguments))
    values = [function(*corner) for corner in corners]
    return Range(min(values), max(values))


def intersection(ranges: Iterable[Range]) -> Range | None:
    """The values common to all ranges; None when there are none."""
    many = list(ranges)
    low, high = max(i.low for i in many), min(i.high for i in many)
    return Range(low, high) if low <= high else None
