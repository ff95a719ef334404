"""Boxes as CSV: a header with x0, y0, x1, y1 and optionally class and name; further columns are left alone."""

from __future__ import annotations

import csv
from pathlib import Path

from allinsam_core.atomic import replacing
from study.tools.formats.entries import Boxes, Entry, at_most, collect

SIDES = ("x0", "y0", "x1", "y1")


def read_csv(path: Path) -> Boxes:
    """The boxes of a CSV file, UTF-8, half-open XYXY pixels. Raises ValueError naming the line."""
    entries: list[Entry] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            missing = [c for c in SIDES if c not in (rows.fieldnames or ())]
            if missing:
                raise ValueError(
                    f"{path}: line 1: no column {', '.join(missing)}; expected x0,y0,x1,y1[,class][,name], "
                    f"found {','.join(rows.fieldnames or ())[:120]!r}"
                )
            for row in rows:
                entries.append(_entry(row, path, rows.line_num))
                at_most(len(entries), path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error}); save it again as CSV") from error
    return collect(entries, path)


def _entry(row: dict[str, str | None], path: Path, line: int) -> Entry:
    try:
        sides = [float(row[c] or "") for c in SIDES]
    except ValueError:
        found = [row[c] for c in SIDES]
        raise ValueError(f"{path}: line {line}: sides are {found}, expected four numbers in pixels") from None
    return Entry(sides, row.get("name") or "", row.get("class") or "")


def write_csv(path: Path | str, boxes: Boxes) -> None:
    """Write boxes so that `read_boxes` gives the same back."""
    with replacing(Path(path)) as file, file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([*SIDES, "class", "name"])
        for sides, kind, name in zip(boxes.xyxy.tolist(), boxes.classes, boxes.names, strict=True):
            writer.writerow([*(f"{v:.9g}" for v in sides), kind, name])
