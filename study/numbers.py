"""Numbers as programs write them into files and people type them: ASCII digits, a point, an exponent.

Python's own `float` and `int` also take 1_000, nan, infinity and digits of other scripts, NumPy takes text and truth
values for numbers: of a file that holds such a thing, something else was meant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
Kind = TypeVar("Kind", int, float)


def number(given: object) -> float:
    """A finite number from text, or a number as it is; blanks around it do not count. ValueError for anything else."""
    text = str(given).strip()
    if _NUMBER.fullmatch(text) is None or not math.isfinite(value := float(text)):
        raise ValueError(f"{str(given)[:40]!r} is no number, expected digits with or without a point, as 0.25")
    return value


def whole(given: object) -> int:
    """A whole number, as `number` does."""
    text = str(given).strip()
    if _WHOLE.fullmatch(text) is None:
        raise ValueError(f"{str(given)[:40]!r} is no whole number, expected digits alone, as 300")
    return int(text)


def within(kind: Callable[[object], Kind], low: Kind, high: Kind) -> Callable[[object], Kind]:
    """`kind` with bounds, both allowed."""

    def bounded(given: object) -> Kind:
        value = kind(given)
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range, expected {low} to {high}")
        return value

    bounded.__name__ = kind.__name__
    return bounded


def array(given: Any) -> np.ndarray:
    """Numbers in lists, of lists, …, as JSON holds them: float64. ValueError where one is text, null or true."""
    import numpy as np  # late: the commands' help needs none of it

    values = np.asarray(given)
    if values.dtype.kind not in "iuf":
        raise ValueError(f"not all are numbers: {str(given)[:60]}")
    return values.astype(np.float64)
