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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import imageio.v3 as imageio
import numpy as np

from allinsam_core.data.errors import DataError, MissingData
from study.datasets.image import read_array, read_rgb
from study.molecular import slide_split
from study.molecular.inhouse_check import check
from study.molecular.inhouse_folder import COLUMNS, Layout, read_slides, slide_of, stem
from study.molecular.patch import MARKER_OF, Patch

__all__ = ["COLUMNS", "InHouse", "check", "write"]


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
        self.slides, _ = read_slides(self.folder / "slides.csv")
        self.layout = Layout.of(self.folder)
        self.entries = tuple(self.layout.pool())
        counts = dict.fromkeys(self.slides, 0)
        for _, path in self.entries:
            counts[str(slide_of(stem(path), self.slides))] += 1
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
        slide = self.slides[str(slide_of(stem(path), self.slides))]
        drawn = {who: masks[cell_type][stem(path)] for who, masks in self.layout.masks.items() if cell_type in masks}
        return Patch(
            name=stem(path),
            slide=slide.name,
            cell_type=cell_type,
            pas=read_rgb(path),
            molecular=read_rgb(self.layout.molecular[stem(path)]),
            injured=slide.injured,
            simulated=False,
            masks={who: {cell_type: read_array(mask) > 0} for who, mask in drawn.items()},
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
