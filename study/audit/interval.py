"""Closed intervals, so that a verdict drawn from printed numbers survives their rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Literal

Verdict = Literal["holds", "fails", "undecided"]


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"interval [{self.low}, {self.high}]: the lower end is above the upper end")

    @property
    def centre(self) -> float:
        return (self.low + self.high) / 2

    def __sub__(self, other: Interval) -> Interval:
        return Interval(self.low - other.high, self.high - other.low)

    def overlaps(self, other: Interval) -> bool:
        return self.low <= other.high and other.low <= self.high

    def at_least(self, bound: float) -> Verdict:
        """Is every value in the interval ≥ bound ("holds"), none ("fails"), or only some ("undecided")?"""
        if self.low >= bound:
            return "holds"
        return "fails" if self.high < bound else "undecided"


def image(function: Callable[..., float], *arguments: Interval) -> Interval:
    """Range of a function over a box of intervals.

    Exact when the function is monotone in each argument on the box, whatever the directions: the extremes
    then lie at corners. That is the caller's duty to check.
    """
    corners = product(*((argument.low, argument.high) for argument in arguments))
    values = [function(*corner) for corner in corners]
    return Interval(min(values), max(values))


def intersection(intervals: Iterable[Interval]) -> Interval | None:
    """The values common to all intervals; None when there are none."""
    many = list(intervals)
    low, high = max(i.low for i in many), min(i.high for i in many)
    return Interval(low, high) if low <= high else None
