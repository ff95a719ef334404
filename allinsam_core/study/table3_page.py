"""What the results pages substitute: Table 3 beside the paper, instance metrics, costs, figures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from allinsam_core.study import figures, tables
from allinsam_core.study.fragments import Fragments, markdown_table, score, signed
from allinsam_core.study.tables import METHOD_NAMES, TABLE3_METRICS, Cell, Row, fraction_name


def fragments(results: Path, profile: str = "mini") -> Fragments:
    """Numbers `<profile>:…`, tables `<profile>-…` and figures `<profile>-…` of one profile."""
    scores = tables.collect(results, profile)
    pixel = tables.rows(scores, tuple(TABLE3_METRICS))
    instances = tables.rows(scores, tables.INSTANCE_METRICS)
    runs = tables.run_table(results, profile)
    numbers = {
        f"{profile}:runs": str(len(runs)),
        f"{profile}:images": str(scores["image"].nunique()),
        f"{profile}:seeds": str(scores["seed"].nunique()),
        f"{profile}:peak_gib": f"{runs['peak MiB'].max() / 1024:.1f}",
        f"{profile}:fit_minutes": f"{runs['fit s'].sum() / 60:.0f}",
    }
    for row in pixel + instances:
        stem = f"{profile}:{row.method}:{row.label}:{row.fraction:g}"
        for metric, cell in row.cells.items():
            numbers[f"{stem}:{metric}"] = score(cell.ours.mean, 3)
    return Fragments(
        numbers=numbers,
        tables={
            f"{profile}-table3": _beside_paper(pixel),
            f"{profile}-instances": _plain(instances),
            f"{profile}-runs": _runs(runs.astype(str)),
        },
        figures={
            f"{profile}-dice": partial(figures.dice_by_fraction, scores),
            f"{profile}-per-image": partial(figures.per_image_by_method, scores, "dice"),
        },
    )


def _beside_paper(rows: list[Row]) -> str:
    header = ["Label", "Method", "Training data", *(f"`{m}`" for m in TABLE3_METRICS), "images × seeds"]
    lines = []
    for row in rows:
        cells = [_cell(c) for c in row.cells.values()]
        lines.append(
            [row.label, METHOD_NAMES.get(row.method, row.method), fraction_name(row.fraction), *cells, _n(row)]
        )
    return markdown_table(header, lines, text_columns=3)


def _plain(rows: list[Row]) -> str:
    header = ["Label", "Method", "Training data", *(f"`{m}`" for m in tables.INSTANCE_METRICS), "images × seeds"]
    lines = []
    for row in rows:
        cells = [_ours(c) for c in row.cells.values()]
        lines.append(
            [row.label, METHOD_NAMES.get(row.method, row.method), fraction_name(row.fraction), *cells, _n(row)]
        )
    return markdown_table(header, lines, text_columns=3)


def _runs(runs: pd.DataFrame) -> str:
    return markdown_table(list(runs.columns), [[f"`{line[0]}`", *line[1:]] for line in runs.to_numpy().tolist()])


def _cell(cell: Cell) -> str:
    """Ours with its interval; below it the paper's value and the difference."""
    if cell.paper is None or cell.difference is None:
        return _ours(cell)
    return f"{_ours(cell)}<br>paper {score(cell.paper)}<br>{signed(cell.difference, 3)}"


def _ours(cell: Cell) -> str:
    return f"**{score(cell.ours.mean, 3)}** [{score(cell.ours.low, 3)}, {score(cell.ours.high, 3)}]"


def _n(row: Row) -> str:
    cell = next(iter(row.cells.values()))
    return f"{cell.ours.n} × {cell.seeds}"
