"""The paper's in-house data (§4.1) as a folder, so that a laboratory can drop in its own slides.

    slides.csv                          slide,injured,spacing,wt1_threshold,gata3_threshold
    patches/<type>/<slide>_<rest>.png   PAS, 8-bit RGB; <type> is podocyte or mesangial
    if/<slide>_<rest>.png               registered IF, 8-bit RGB: red = WT1, green = GATA3, blue = DAPI
    masks/<annotator>/<type>/<slide>_<rest>.png    binary, 0 and 255 (or 0 and 1), one file per patch

slides.csv has one row per slide: `slide` is the id with which the names of its patches begin, `injured` is yes or
no, `spacing` µm per pixel (0.5 at 20×), the thresholds are grey levels 0 … 255 above which a nucleus counts as
positive on that slide, set by a pathologist (leave empty for Otsu's, `registration.marker_threshold`). The paper has
11 slides (3 injured), 1147 podocyte and 789 mesangial patches of 512×512 px; other numbers are welcome. An annotator
is any folder name ("expert", "student1", …); an empty mask file says "looked, found none". `check` names everything
that is missing; `InHouse` reads.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import imageio.v3 as imageio
import numpy as np
from PIL import Image

from allinsam_core.data.errors import DataError, MissingData
from allinsam_core.data.image import read_array, read_rgb
from study.molecular import slide_split
from study.molecular.patch import CELL_TYPES, MARKER_OF, SPACING, CellType, Marker, Patch

COLUMNS = ("slide", "injured", "spacing", "wt1_threshold", "gata3_threshold")
_INJURED = {"yes": True, "no": False}


@dataclass(frozen=True)
class SlideRow:
    """One row of slides.csv; thresholds: marker → grey level, without the empty ones."""

    name: str
    injured: bool
    spacing: float
    thresholds: dict[Marker, float]


def check(folder: Path) -> list[str]:
    """Everything that keeps `InHouse(folder)` from working, one line each, in the order to mend it. [] = ready."""
    folder = Path(folder)
    if not folder.is_dir():
        return [f"{folder}: no such folder"]
    slides, problems = _slides(folder / "slides.csv")
    for cell_type in CELL_TYPES:
        if not _files(folder / "patches" / cell_type):
            problems.append(f"{folder / 'patches' / cell_type}: no PNG files, expected the {cell_type} patches")
    names: set[str] = set()
    for cell_type, path in _patches(folder):
        names.add(path.stem)
        problems += _patch_problems(folder, cell_type, path, slides)
    seen = {slide for name in names if (slide := _slide_of(name, slides))}
    problems += [f"{folder / 'slides.csv'}: slide {slide} has no patches" for slide in slides if slide not in seen]
    if not _annotators(folder):
        problems.append(f"{folder / 'masks'}: no annotator folders, expected masks/<annotator>/<type>/<patch>.png")
    for path in _files(folder / "if"):
        if path.stem not in names:
            problems.append(f"{path}: no patch of this name in patches/")
    for annotator in _annotators(folder):
        for cell_type in CELL_TYPES:
            own = {path.stem for path in _files(folder / "patches" / cell_type)}
            for path in _files(annotator / cell_type):
                if path.stem not in own:
                    problems.append(f"{path}: no patch of this name in patches/{cell_type}")
    return problems


def _slides(path: Path) -> tuple[dict[str, SlideRow], list[str]]:
    """The rows that can be read, and what is wrong with the file."""
    if not path.is_file():
        return {}, [f"{path}: no such file, expected columns {','.join(COLUMNS)}"]
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if absent := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            return {}, [f"{path}: no column {', '.join(absent)}; expected {','.join(COLUMNS)}"]
        rows = list(reader)
    slides: dict[str, SlideRow] = {}
    problems = [] if rows else [f"{path}: no slides"]
    for line, row in enumerate(rows, start=2):
        name, injured = (row["slide"] or "").strip(), (row["injured"] or "").strip().lower()
        if not name or name in slides:
            problems.append(f"{path}:{line}: slide is {name!r}, expected a new, non-empty id")
            continue
        if injured not in _INJURED:
            problems.append(f"{path}:{line}: injured is {row['injured']!r}, expected yes or no")
        try:
            spacing = float(row["spacing"])
            levels = {m: row[f"{m.lower()}_threshold"] for m in MARKER_OF.values()}
            thresholds = {marker: float(value) for marker, value in levels.items() if (value or "").strip()}
        except (TypeError, ValueError) as error:
            problems.append(f"{path}:{line}: {error}; expected numbers (thresholds may be empty)")
            continue
        if not 0.9 * SPACING <= spacing <= 1.1 * SPACING:
            problems.append(f"{path}:{line}: spacing is {spacing}, expected {SPACING} µm/px (20×); resample the slide")
        if wrong := {m: t for m, t in thresholds.items() if not 0 <= t <= 255}:
            problems.append(f"{path}:{line}: thresholds {wrong}, expected grey levels 0 … 255")
        slides[name] = SlideRow(name, _INJURED.get(injured, False), spacing, thresholds)
    return slides, problems


def _patch_problems(folder: Path, cell_type: CellType, path: Path, slides: dict[str, SlideRow]) -> Iterator[str]:
    if slides and _slide_of(path.stem, slides) is None:
        yield f"{path}: name begins with no slide of slides.csv, expected <slide>_<rest>.png"
    size, trouble = _size(path, ("RGB",))
    if trouble:
        yield trouble
        return
    molecular = folder / "if" / path.name
    if not molecular.is_file():
        yield f"{molecular}: missing, expected the registered IF image of {path.name}"
    else:
        found, trouble = _size(molecular, ("RGB",))
        if trouble or found != size:
            yield trouble or f"{molecular}: {found} px (width, height), expected {size} as its PAS patch"
    for annotator in _annotators(folder):
        if not (annotator / cell_type).is_dir():
            continue
        mask = annotator / cell_type / path.name
        if not mask.is_file():
            yield f"{mask}: missing, expected {annotator.name}'s {cell_type} mask (all zeros if there are none)"
            continue
        found, trouble = _size(mask, ("1", "L"))
        if trouble or found != size:
            yield trouble or f"{mask}: {found} px (width, height), expected {size} as its PAS patch"
        elif not _is_binary(values := np.unique(read_array(mask)).tolist()):
            yield f"{mask}: {len(values)} different values up to {max(values)}, expected only 0 and 255 (or 0 and 1)"


def _size(path: Path, modes: tuple[str, ...]) -> tuple[tuple[int, int], str]:
    """(width, height) and what is wrong, "" for nothing. Reads the header only."""
    try:
        with Image.open(path) as image:
            if image.mode not in modes:
                return image.size, f"{path}: pixel mode {image.mode}, expected 8-bit {' or '.join(modes)}"
            return image.size, ""
    except OSError as error:
        return (0, 0), f"{path}: cannot be decoded ({error}); export it again"


def _is_binary(values: Iterable[int]) -> bool:
    return set(values) <= {0, 255} or set(values) <= {0, 1}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.png") if not path.name.startswith("."))


def _patches(folder: Path) -> list[tuple[CellType, Path]]:
    return [(cell_type, path) for cell_type in CELL_TYPES for path in _files(folder / "patches" / cell_type)]


def _annotators(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "masks").glob("*") if path.is_dir() and not path.name.startswith("."))


def _slide_of(name: str, slides: Iterable[str]) -> str | None:
    """The longest slide id that the name begins with."""
    return max((slide for slide in slides if name.startswith(f"{slide}_")), key=len, default=None)


class InHouse(Sequence[Patch]):
    """The patches of a folder, read when they are asked for, podocyte pool first.

    Splits are by slide (`slide_split.by_slide`). Raises MissingData or DataError with all of `check`'s lines.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = Path(folder)
        if problems := check(self.folder):
            shown = "\n  ".join(problems[:20]) + (f"\n  … and {len(problems) - 20} more" if len(problems) > 20 else "")
            kind = MissingData if not self.folder.is_dir() else DataError
            raise kind(f"{self.folder}: {len(problems)} problems, see `study.molecular.inhouse`:\n  {shown}")
        self.slides, _ = _slides(self.folder / "slides.csv")
        self.entries = tuple(_patches(self.folder))
        counts = dict.fromkeys(self.slides, 0)
        for _, path in self.entries:
            counts[str(_slide_of(path.stem, self.slides))] += 1
        self.splits = slide_split.by_slide({s.name: s.injured for s in self.slides.values()}, counts, seed)

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, at: int) -> Patch: ...
    @overload
    def __getitem__(self, at: slice) -> list[Patch]: ...
    def __getitem__(self, at: int | slice) -> Patch | list[Patch]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        cell_type, path = self.entries[at]
        slide = self.slides[str(_slide_of(path.stem, self.slides))]
        drawn = {each.name: each / cell_type / path.name for each in _annotators(self.folder)}
        return Patch(
            name=path.stem,
            slide=slide.name,
            cell_type=cell_type,
            pas=read_rgb(path),
            molecular=read_rgb(self.folder / "if" / path.name),
            injured=slide.injured,
            simulated=False,
            masks={who: {cell_type: read_array(mask) > 0} for who, mask in drawn.items() if mask.is_file()},
            thresholds=slide.thresholds,
            spacing=slide.spacing,
            split=self.splits[slide.name],
        )


def write(folder: Path, patches: Iterable[Patch]) -> None:
    """Patches as such a folder: an example to compare one's own with. What is there is overwritten.

    Only the masks of the patch's own cell type are written. DataError for a patch without IF.
    """
    folder, rows = Path(folder), {}
    for patch in patches:
        if patch.molecular is None or patch.molecular.dtype != np.uint8 or patch.molecular.shape[2] != 3:
            raise DataError(f"{patch.name}: expected an IF image (H, W, 3) uint8 to write")
        if not patch.name.startswith(f"{patch.slide}_"):
            raise DataError(f"{patch.name}: expected a name that begins with its slide, {patch.slide}_…")
        levels = [patch.thresholds.get(marker, "") for marker in MARKER_OF.values()]
        rows[patch.slide] = [patch.slide, "yes" if patch.injured else "no", patch.spacing, *levels]
        _save(folder / "patches" / patch.cell_type / f"{patch.name}.png", patch.pas)
        _save(folder / "if" / f"{patch.name}.png", patch.molecular)
        for annotator, drawn in patch.masks.items():
            if patch.cell_type in drawn:
                mask = drawn[patch.cell_type].astype(np.uint8) * 255
                _save(folder / "masks" / annotator / patch.cell_type / f"{patch.name}.png", mask)
    with (folder / "slides.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *(rows[slide] for slide in sorted(rows))])


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(path, image)
