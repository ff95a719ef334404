"""The audit's figures, one colour mode at a time, sized to stay legible on a phone."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from study.audit import audit, averages
from study.audit.column_average import Summary
from study.audit.published import CELLS
from study.pages.fragments import Palette

WIDTH = 4.2  # inches; 403 CSS pixels


def jensen(palette: Palette) -> Figure:
    """Printed IoU and ADJ minus the smallest mean Jaccard that the printed Dice allows, one line a row."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.add_subplot()
    checks = {"IoU": audit.jensen("IoU"), "ADJ": audit.jensen("ADJ")}
    rows = range(len(checks["IoU"]))
    axes.axvspan(-0.02, 0, color=palette.shade, linewidth=0)
    axes.axvline(0, color=palette.ink, linewidth=1)
    for column, marker, colour in (("IoU", "D", palette.second), ("ADJ", "o", palette.first)):
        slack = [check.slack.centre for check in checks[column]]
        axes.plot(slack, rows, marker, color=colour, markersize=6, label=f"printed {column}")
    names = [check.row.name for check in checks["IoU"]]
    axes.set_yticks(rows, names, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(-0.0135, 0.0045)
    axes.set_xticks([-0.01, -0.005, 0])
    axes.set_xlabel("printed − smallest mean Jaccard")
    axes.text(-0.0002, -0.75, "impossible ", ha="right", fontsize=9)
    axes.text(0.0002, -0.75, " possible", ha="left", fontsize=9)
    axes.set_ylim(len(names) - 0.5, -1.2)
    figure.legend(loc="outside lower right", ncols=2, handletextpad=0.2, fontsize=9)
    return figure


def weights(palette: Palette) -> Figure:
    """The weight of "injured" that each printed average implies; the band fits all four SAM-L rows."""
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    panels = figure.subplots(len(CELLS), 1, sharex=True)
    for axes, cell in zip(panels, CELLS, strict=True):
        checks, common = averages.implied_weights(cell), averages.common_weight(cell)
        fits = {fit.check.row: fit.fits for fit in averages.average_fits(cell)}
        axes.axvspan(-0.1, 0, color=palette.shade, linewidth=0)
        axes.axvspan(1, 1.75, color=palette.shade, linewidth=0)
        axes.axvline(common.centre, color=palette.first, linewidth=1.2)
        for position, check in enumerate(checks):
            good = fits[check.row]
            axes.plot(
                check.weight.centre,
                position,
                "o" if good else "D",
                color=palette.first if good else palette.second,
                markersize=6,
            )
        axes.set_yticks(range(len(checks)), [check.row.name for check in checks], fontsize=9)
        axes.set_ylim(len(checks) - 0.5, -0.6)
        axes.set_xlim(-0.1, 1.75)
        axes.set_title(f"{cell.capitalize()}, line at {common.centre:.3f}", fontsize=10, loc="left")
    panels[-1].set_xlabel("implied weight of “injured”")
    return figure


def columns(palette: Palette, summaries: Sequence[Summary]) -> Figure:
    """Gap between the Jaccard of the image and of its columns: measured here, and ADJ − IoU as printed."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=True, axis="y")
    printed = audit.adj_minus_iou()
    axes.plot(
        [row.dice for row, _ in printed],
        [gap.centre for _, gap in printed],
        "D",
        color=palette.second,
        markersize=6,
        label="printed ADJ − IoU",
    )
    axes.plot(
        [summary.dice for summary in summaries],
        [summary.gap for summary in summaries],
        "o",
        color=palette.first,
        markersize=7,
        label="image − column Jaccard, measured",
    )
    axes.axhline(0, color=palette.ink, linewidth=1)
    top = max(summary.gap for summary in summaries)
    axes.set_ylim(-0.0005, 1.45 * top)
    axes.set_xlabel("mean Dice")
    axes.set_ylabel("gap")
    axes.legend(loc="upper left", fontsize=9, handletextpad=0.2)
    return figure
