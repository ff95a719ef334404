"""Figures of the page of Table 2: all its rows at a glance, and the spread over draws of the smallest training set."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study import tables
from study.pages.figures import WIDTH
from study.pages.fragments import LIGHT, Palette
from study.table2 import Line


def beside(lines: list[Line], palette: Palette = LIGHT) -> Figure:
    """Dice of every row: ours with its 95 % interval, the paper's hollow; rows without either are left out."""
    shown = [line for line in lines if line.ours or line.printed("dice") is not None]
    figure = Figure(figsize=(WIDTH, 1.1 + 0.23 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    height = -np.arange(len(shown))
    ours = [(y, line.ours.cells["dice"].ours) for y, line in zip(height, shown, strict=True) if line.ours]
    if ours:
        spread = np.abs([[i.mean - i.low, i.high - i.mean] for _, i in ours]).T
        at = ([i.mean for _, i in ours], [y for y, _ in ours])
        axes.errorbar(*at, xerr=spread, fmt="o", color=palette.first, capsize=2, label="ours, 95 % interval")
    for quoted, marker, name in ((False, "D", "the paper"), (True, "s", "quoted by the paper")):
        printed = [(line.printed("dice"), y) for y, line in zip(height, shown, strict=True) if line.quoted == quoted]
        points = [point for point in printed if point[0] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker, mfc="none", color=palette.second, label=name)
    axes.set_yticks(height, [_named(line) for line in shown], fontsize=7)
    axes.set_ylim(-len(shown) + 0.4, 0.6)
    axes.set_xlabel("Dice, mean over test images")
    figure.legend(loc="outside lower center", fontsize=7.5, frameon=False, ncols=3, labelcolor=palette.ink)
    return figure


def _named(line: Line) -> str:
    """A row in few words: complete labels go without saying, and so does that nothing was learned."""
    parts = [line.name, *([] if line.training_data == "none" else [line.training_data])]
    return ", ".join([*parts, "weak"] if line.label == "weak" else parts)


def draws(means: pd.DataFrame, palette: Palette = LIGHT) -> Figure:
    """Mean test Dice of every draw, one column of dots per method; a line joins the methods on the same draw.

    means: index seed, a column per method.
    """
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    x = np.arange(len(means.columns))
    for _, values in means.iterrows():
        axes.plot(x, values, color=palette.faint, linewidth=0.8)
    for at, method, colour in zip(x, means.columns, (palette.first, palette.second) * len(x), strict=False):
        axes.plot(np.full(len(means), at), means[method], "o", color=colour, ms=4, alpha=0.75)
        axes.plot([at - 0.16, at + 0.16], [means[method].median()] * 2, color=palette.ink, linewidth=1.6)
    axes.set_xticks(x, [tables.METHOD_NAMES.get(m, m) for m in means.columns])
    axes.set_xlim(-0.5, len(x) - 0.5)
    axes.set_xlabel(f"method, {len(means)} draws each; a bar marks the median")
    axes.set_ylabel("Dice, mean over test images")
    return figure
