"""What annotating took: the annotator's log, a row for each nucleus, boxes against outlines (paper, §1 and §3.1)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import shapely

from study.names import readable
from study.numbers import number
from study.tools.formats.outline import outlines

_COLUMNS = ["image", "id", "kind", "seconds", "clicks", "keys", "kept"]


def read(logs: Iterable[Path]) -> pd.DataFrame:
    """A row for each nucleus drawn: image, id, kind, active seconds, clicks, keys; kept: it was not deleted.

    Its cost is that of drawing it and of every later change of it, its deletion too. Undoing is nobody's.
    Raises ValueError that names file and line.
    """
    rows: dict[tuple[str, str], dict[str, object]] = {}
    for path in logs:
        for at, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                entry = json.loads(line)
                spent = {name: number(entry[name]) for name in ("seconds", "clicks", "keys")}
                action, key = entry["action"], (readable(path.name), str(entry["id"]))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}: line {at} is no entry of the annotator's log ({error!r})") from None
            if action == "draw":
                rows[key] = {"image": key[0], "id": key[1], "kind": entry["kind"], "kept": True, **spent}
            elif key in rows:
                row = rows[key]
                row.update({name: float(str(row[name])) + value for name, value in spent.items()})
                row["kept"] = action != "delete"
    return pd.DataFrame(list(rows.values()), columns=_COLUMNS)


def compare(drawn: pd.DataFrame) -> pd.DataFrame:
    """By kind: nuclei kept, quartiles of their seconds, mean clicks; each: seconds of all work per nucleus kept."""
    kept = drawn[drawn["kept"]]
    seconds = kept.groupby("kind")["seconds"]
    return pd.DataFrame(
        {
            "nuclei": seconds.size(),
            "median": seconds.median(),
            "lower": seconds.quantile(0.25),
            "upper": seconds.quantile(0.75),
            "clicks": kept.groupby("kind")["clicks"].mean(),
            "each": drawn.groupby("kind")["seconds"].sum() / seconds.size(),
        }
    )


def corners(instances: np.ndarray, within: float = 1.0) -> list[int]:
    """Corners of the polygon (Douglas and Peucker 1973) that stays within so many pixels of each nucleus' outline.

    instances: (H, W) integers, 0 = background. The fewest clicks with which a polygon tool can outline it.
    """
    found = []
    for area in outlines(instances).values():
        part = max(shapely.get_parts(area), key=lambda piece: piece.area)
        found.append(len(shapely.Polygon(part.exterior).simplify(within).exterior.coords) - 1)
    return found
