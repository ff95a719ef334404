"""What lies in an in-house folder: the files by cell type and annotator, and the rows of slides.csv."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from study.molecular.patch import CELL_TYPES, MARKER_OF, SPACING, CellType, Marker
from study.names import readable
from study.numbers import number

COLUMNS = ("slide", "injured", "spacing", "wt1_threshold", "gata3_threshold")
_INJURED = {"yes": True, "no": False}
_JUNK = {"thumbs.db", "desktop.ini", "__macosx"}  # what file managers leave behind


def entries(folder: Path) -> list[Path]:
    """What is in a folder, without the hidden files of file managers; nothing if there is no such folder."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if not path.name.startswith(".") and path.name.lower() not in _JUNK]


def stem(path: Path) -> str:
    """The name of a patch: its file's without suffix, as text."""
    return readable(path.stem)


def pngs(folder: Path) -> dict[str, Path]:
    """The PNG files of a folder by name without suffix, which may be in capitals."""
    return {stem(path): path for path in entries(folder) if path.suffix.lower() == ".png" and path.is_file()}


@dataclass(frozen=True)
class Layout:
    """The files by name without suffix: patches by cell type, IF images, masks by annotator and cell type.

    An annotator has an entry for a cell type only where there is such a folder.
    """

    patches: dict[CellType, dict[str, Path]]
    molecular: dict[str, Path]
    masks: dict[str, dict[CellType, dict[str, Path]]]

    @classmethod
    def of(cls, folder: Path) -> Layout:
        """List the folder once."""
        annotators = [path for path in entries(folder / "masks") if path.is_dir()]
        return cls(
            patches={cell_type: pngs(folder / "patches" / cell_type) for cell_type in CELL_TYPES},
            molecular=pngs(folder / "if"),
            masks={
                readable(path.name): {
                    cell_type: pngs(path / cell_type) for cell_type in CELL_TYPES if (path / cell_type).is_dir()
                }
                for path in annotators
            },
        )

    def pool(self) -> list[tuple[CellType, Path]]:
        """Every patch with its cell type, in order."""
        return [(cell_type, path) for cell_type, files in self.patches.items() for path in files.values()]


@dataclass(frozen=True)
class SlideRow:
    """One row of slides.csv; thresholds: marker → grey level, without the empty ones."""

    name: str
    injured: bool
    spacing: float
    thresholds: dict[Marker, float]


def read_slides(path: Path) -> tuple[dict[str, SlideRow], list[str]]:
    """The rows that can be read, and what is wrong with the file."""
    if not path.is_file():
        return {}, [f"{path}: no such file, expected columns {','.join(COLUMNS)}"]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except (UnicodeDecodeError, csv.Error) as error:
        return {}, [f"{path}: not a CSV file in UTF-8 ({error}); save it again as CSV UTF-8"]
    header = [name.casefold() for name in lines[0]] if lines else []
    if absent := [column for column in COLUMNS if header.count(column) != 1]:
        found = ",".join(header)[:120]
        return {}, [f"{path}: no column {', '.join(absent)}, or twice; expected {','.join(COLUMNS)}, found {found!r}"]
    slides: dict[str, SlideRow] = {}
    problems = [] if any(map(any, lines[1:])) else [f"{path}: no slides"]
    for line, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        if any(cells[len(header) :]):
            problems.append(f"{path}:{line}: {len(cells)} values for {len(header)} columns; decimal commas?")
            continue
        row = dict(zip(header, cells + [""] * len(header), strict=False))
        slide, trouble = _slide(row, slides)
        problems += [f"{path}:{line}: {what}" for what in trouble]
        if slide is not None:
            slides[slide.name] = slide
    return slides, problems


def _slide(row: dict[str, str], slides: dict[str, SlideRow]) -> tuple[SlideRow | None, list[str]]:
    """One row, if its numbers can be read, and what is wrong with it."""
    name, injured, problems = row["slide"], row["injured"].lower(), []
    if not name or name in slides:
        return None, [f"slide is {name!r}, expected a new, non-empty id"]
    if injured not in _INJURED:
        problems.append(f"injured is {row['injured']!r}, expected yes or no")
    try:
        spacing = number(row["spacing"])
        levels = {m: row[f"{m.lower()}_threshold"] for m in MARKER_OF.values()}
        thresholds = {marker: number(value) for marker, value in levels.items() if value}
    except ValueError as error:
        return None, [*problems, f"{error} (thresholds may be empty)"]
    if not 0.9 * SPACING <= spacing <= 1.1 * SPACING:
        problems.append(f"spacing is {spacing}, expected {SPACING} µm/px (20×); resample the slide")
    if wrong := {m: t for m, t in thresholds.items() if not 0 <= t <= 255}:
        problems.append(f"thresholds {wrong}, expected grey levels 0 … 255")
    return SlideRow(name, _INJURED.get(injured, False), spacing, thresholds), problems


def slide_of(name: str, slides: Iterable[str]) -> str | None:
    """The longest slide id that the name begins with."""
    return max((slide for slide in slides if name.startswith(f"{slide}_")), key=len, default=None)
