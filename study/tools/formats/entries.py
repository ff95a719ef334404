"""What every reader returns, and the bounds that every reader keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allinsam_core.data.errors import DataError
from study.numbers import array
from study.tools.formats.outline import Area

MAX_BYTES = 256 * 2**20  # of a file, and of an archive once unpacked
MAX_ENTRIES = 200_000


@dataclass(frozen=True, eq=False)
class Boxes:
    """xyxy: (N, 4) float32, XYXY pixels, half-open. names, classes: a string per box, "" where there is none.

    areas: what each annotation encloses, None where the file holds its box only; () where none does.
    """

    xyxy: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]
    source: str = ""
    areas: tuple[Area | None, ...] = ()

    def __post_init__(self) -> None:
        if not (self.xyxy.shape == (len(self.names), 4) and len(self.names) == len(self.classes)) or (
            self.areas and len(self.areas) != len(self.names)
        ):
            raise ValueError(
                f"{self.source or 'boxes'}: {self.xyxy.shape} coordinates, {len(self.names)} names and "
                f"{len(self.classes)} classes; expected (N, 4), N and N"
            )

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, xyxy: np.ndarray, source: str = "") -> Boxes:
        """Boxes without names and classes."""
        return cls(np.asarray(xyxy, dtype=np.float32).reshape(-1, 4), ("",) * len(xyxy), ("",) * len(xyxy), source)


@dataclass(frozen=True)
class Entry:
    """One box of a file: sides XYXY, its name and class, and the area enclosed where the file holds an outline."""

    sides: Sequence[float]
    name: str = ""
    kind: str = ""
    area: Area | None = None


def collect(entries: Sequence[Entry], path: Path) -> Boxes:
    """The entries of one file as arrays; too many are an error."""
    at_most(len(entries), path)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        sides = np.array([e.sides for e in entries], dtype=np.float64).reshape(-1, 4).astype(np.float32)
    if not np.isfinite(sides).all():
        index = int(np.flatnonzero(~np.isfinite(sides).all(axis=1))[0])
        raise DataError(f"{path}: box {index} of {len(sides)} is not finite: {entries[index].sides}; expected pixels")
    names, kinds, areas = (tuple(getattr(e, field) for e in entries) for field in ("name", "kind", "area"))
    return Boxes(sides, names, kinds, str(path), areas)


def at_most(count: int, path: Path) -> None:
    """Refuse a file with more entries than `MAX_ENTRIES`."""
    if count > MAX_ENTRIES:
        raise DataError(f"{path}: {count:,} entries, expected at most {MAX_ENTRIES:,}; split the file by image")


def bounds(points: object, path: Path, entry: str) -> tuple[float, float, float, float]:
    """The box around (N, 2) points XY; anything else in `points` is an error that names file and entry."""
    try:
        xy = array(points)
    except ValueError as error:
        raise DataError(f"{path}: {entry}: coordinates are not numbers; expected pairs of x, y") from error
    if xy.ndim != 2 or xy.shape[1] < 2 or len(xy) < 3:
        raise DataError(f"{path}: {entry}: coordinates of shape {xy.shape}, expected at least three pairs of x, y")
    if not np.isfinite(xy).all():
        raise DataError(f"{path}: {entry}: a coordinate is not finite; expected pixels")
    (x0, y0), (x1, y1) = xy[:, :2].min(axis=0), xy[:, :2].max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)
