"""What the results pages substitute: Table 3 beside the paper, instance metrics, costs, figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from statistics import mean

from study import records
from study import results as tables
from study.pages import figures
from study.pages.fragments import (
    Draw,
    Fragments,
    figure_block,
    markdown_table,
    not_run,
    score,
    signed,
    stacked,
    table_block,
)
from study.results import METHOD_NAMES, TABLE3_METRICS, Cell, Row, fraction_name


def fragments(results: Path, profile: str = "mini", without: Collection[str] = ()) -> Fragments:
    """Numbers `<profile>:…`, tables and figures `<profile>_…` of one profile. Raises ValueError without runs.

    without: methods that tables and figures leave to another page.
    """
    scores = tables.collect(results, profile)
    pixel = tables.rows(scores, tuple(TABLE3_METRICS))
    instances = tables.rows(scores, tables.INSTANCE_METRICS)
    runs = tables.run_table(results, profile)
    seconds: dict[str, list[float]] = {}
    numbers = {
        f"{profile}:runs": str(len(runs)),
        f"{profile}:images": str(scores["image"].nunique()),
        f"{profile}:seeds": str(scores["seed"].nunique()),
        f"{profile}:peak_gib": f"{runs['peak MiB'].max() / 1024:.1f}",
    }
    for record in (records.read(path) for path in sorted((results / profile).glob("*/run.json"))):
        seconds.setdefault(record["config"]["method"], []).append(record["fit_seconds"])
    numbers |= {f"{profile}:{method}:fit_seconds": f"{mean(found):.0f}" for method, found in seconds.items()}
    for row in pixel + instances:
        stem = f"{profile}:{row.method}:{row.label}:{row.fraction:g}"
        for metric, cell in row.cells.items():
            numbers[f"{stem}:{metric}"] = score(cell.ours.mean, 3)
    pixel, instances = ([row for row in found if row.method not in without] for found in (pixel, instances))
    shown = scores[~scores["method"].isin(without)]
    labels = sorted({row.label for row in pixel})
    beside = {f"{profile}_table3_{la}": _table(pixel, la, TABLE3_METRICS, _cell) for la in labels}
    parted = {f"{profile}_instances_{la}": _table(instances, la, tables.INSTANCE_METRICS, _ours) for la in labels}
    drawn: dict[str, Draw] = {
        f"{profile}_dice": partial(figures.dice_by_fraction, shown),
        f"{profile}_per_image": partial(figures.per_image_by_method, shown, "dice"),
    }
    weak = not_run(profile)
    if "weak" in labels:
        drawn[f"{profile}_dice_weak"] = partial(figures.dice_by_fraction, shown, label="weak")
        weak = _weak(profile, beside[f"{profile}_table3_weak"], parted[f"{profile}_instances_weak"])
    return Fragments(
        numbers=numbers,
        tables={**beside, **parted, f"{profile}_weak": weak},
        figures=drawn,
    )


def _weak(profile: str, beside: str, instances: str) -> str:
    """All that the page shows of weak labels, where there are runs with them."""
    caption = f"Weak labels, `{profile}` profile, MoNuSeg test images"
    alt = "Mean test Dice against the share of the training images, learned from weak labels, one line per method."
    return "\n".join(
        (
            table_block(caption, f"tab-{profile}-weak", beside),
            figure_block(f"{profile}_dice_weak", f"fig-{profile}-dice-weak", alt, "The same with weak labels."),
            table_block("Instance metrics, weak labels", f"tab-{profile}-instances-weak", instances),
        )
    )


def _table(rows: list[Row], label: str, metrics: Iterable[str], cell: Callable[[Cell], str]) -> str:
    """One line per method and amount of data; a cell per metric; at the end how many images and seeds."""
    header = ["Method", "Training data", *(f"`{m}`" for m in metrics), "images × seeds"]
    lines = []
    for row in rows:
        if row.label != label:
            continue
        first = next(iter(row.cells.values()))
        cells = [cell(row.cells[m]) for m in metrics]
        n = f"{first.ours.n} × {first.seeds}"
        lines.append([METHOD_NAMES.get(row.method, row.method), fraction_name(row.fraction), *cells, n])
    return markdown_table(header, lines, text_columns=2)


def _cell(cell: Cell) -> str:
    """Ours with its interval; below it the paper's value and the difference."""
    if cell.paper is None or cell.difference is None:
        return _ours(cell)
    return f"{_ours(cell)}<br>paper {score(cell.paper)}<br>{signed(cell.difference, 3)}"


def _ours(cell: Cell) -> str:
    return stacked(cell.ours)
