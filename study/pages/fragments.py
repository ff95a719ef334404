"""What package code hands to the book: formatted numbers, Markdown tables, figures in two modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from allinsam_core.metrics.stats import Interval


@dataclass(frozen=True)
class Palette:
    """Colours of a figure on a light or a dark page. Text and marks reach 4.5:1 on the page's background."""

    name: str
    ink: str
    faint: str
    shade: str
    first: str
    second: str


LIGHT = Palette("light", ink="#1f2328", faint="#c9ced6", shade="#f3e3d7", first="#0b62a4", second="#b54708")
DARK = Palette("dark", ink="#e6e8eb", faint="#4a515c", shade="#3b2c22", first="#6cb6ff", second="#ffa657")
PALETTES = (LIGHT, DARK)

Draw = Callable[[Palette], Figure]


@dataclass(frozen=True)
class Fragments:
    """One page's share. Keys of `numbers` are what {num} names; `tables` and `figures` are file stems.

    files: other files, whole names (.png or .jpg) and their bytes.
    """

    numbers: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Draw] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def score(value: float, digits: int = 4) -> str:
    """A score: 0.8254."""
    return signed(value, digits).lstrip("+")


def signed(value: float, digits: int = 4) -> str:
    """A difference, always with its sign; a true minus sign: +0.0015, −0.0037. What rounds to zero is +0.0000."""
    text = f"{round(value, digits) + 0.0:+.{digits}f}"
    return text.replace("-", "−")


def with_interval(found: Interval, show: Callable[[float, int], str] = score) -> str:
    """A mean and its interval: **0.825** [0.801, 0.846]. show: `score`, or `signed` for a difference."""
    return f"**{show(found.mean, 3)}** [{show(found.low, 3)}, {show(found.high, 3)}]"


def stacked(found: Interval, show: Callable[[float, int], str] = score) -> str:
    """`with_interval` in two lines, for tables of many columns."""
    return with_interval(found, show).replace(" [", "<br>[")


def p_value(value: float) -> str:
    """Of a test; a dash where there was none to do."""
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else score(value, 3)


def not_run(profile: str) -> str:
    """What stands where results would, while they are absent."""
    return f":::{{note}}\nNot run yet: `make study PROFILE={profile}`.\n:::\n"


def table_block(caption: str, name: str, table: str) -> str:
    """A whole numbered table, for a fragment that may also be `not_run`."""
    return f"::::{{table}} {caption}\n:name: {name}\n\n{table}::::\n"


def figure_block(file: str, name: str, alt: str, caption: str) -> str:
    """A whole figure of a page one folder below the book's root, for a fragment that may also be `not_run`."""
    return f"```{{themed-figure}} ../_generated/{file}\n:name: {name}\n:alt: {alt}\n\n{caption}\n```\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """A pipe table: the first `text_columns` columns to the left, numbers to the right."""
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"table row {row}: {len(row)} cells, expected {len(header)}")
    rule = [":--" if index < text_columns else "--:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)) + "\n"
