"""Boxes as CSV: a header with x0, y0, x1, y1 and optionally class and name; further columns are left alone."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from allinsam_core.atomic import replacing
from study.numbers import number
from study.tools.formats.entries import Boxes, Entry, at_most, collect

SIDES = ("x0", "y0", "x1", "y1")
COLUMNS = (*SIDES, "class", "name")


def read_csv(path: Path) -> Boxes:
    """The boxes of a CSV file, UTF-8, half-open XYXY pixels. Raises ValueError naming the line.

    Column names in any case; rows and cells that a spreadsheet leaves empty behind the table do not count.
    """
    entries: list[Entry] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, skipinitialspace=True)
            header = next(rows, [])
            columns = _columns(header, path)
            for row in rows:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    entries.append(_entry(cells, columns, len(header), path, rows.line_num))
                at_most(len(entries), path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error}); save it again as CSV") from error
    return collect(entries, path)


@contextmanager
def rows_of(path: Path) -> Iterator[csv.DictReader[str]]:
    """The lines of any table by column. Raises ValueError naming the file for what is no CSV in UTF-8."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield csv.DictReader(file, skipinitialspace=True)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error}); save it again as CSV") from error


def _columns(header: list[str], path: Path) -> dict[str, int]:
    """Where each column that is read stands."""
    names = [name.strip().casefold() for name in header]
    found = f"found {','.join(header)[:120]!r}"
    if missing := [column for column in SIDES if column not in names]:
        raise ValueError(
            f"{path}: line 1: no column {', '.join(missing)}; expected x0,y0,x1,y1[,class][,name] with commas, {found}"
        )
    if twice := [column for column in COLUMNS if names.count(column) > 1]:
        raise ValueError(f"{path}: line 1: column {', '.join(twice)} is there twice; expected each once, {found}")
    return {column: names.index(column) for column in COLUMNS if column in names}


def _entry(cells: list[str], columns: dict[str, int], width: int, path: Path, line: int) -> Entry:
    if any(cells[width:]):
        raise ValueError(
            f"{path}: line {line}: {len(cells)} values for {width} columns, expected one each; are there commas for "
            "decimal points, or in a text without quotes?"
        )
    given = {column: cells[at] if at < len(cells) else "" for column, at in columns.items()}
    try:
        sides = [number(given[column]) for column in SIDES]
    except ValueError:
        found = [given[column] for column in SIDES]
        raise ValueError(f"{path}: line {line}: sides are {found}, expected four numbers in pixels") from None
    return Entry(sides, given.get("name", ""), given.get("class", ""))


def write_csv(path: Path | str, boxes: Boxes) -> None:
    """Write boxes so that `read_boxes` gives the same back."""
    with replacing(Path(path)) as file, file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for sides, kind, name in zip(boxes.xyxy.tolist(), boxes.classes, boxes.names, strict=True):
            writer.writerow([*(f"{v:.9g}" for v in sides), kind, name])
