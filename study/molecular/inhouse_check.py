"""What an in-house folder still lacks: every image decoded, every fault on a line of its own."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL.PngImagePlugin import PngImageFile

from allinsam_core.data.errors import DataError
from study.datasets.image import ConversionWarning, read_array
from study.molecular.inhouse_folder import Layout, SlideRow, entries, read_slides, slide_of, stem
from study.molecular.patch import CELL_TYPES, CellType


def check(folder: Path) -> list[str]:
    """Everything that keeps `InHouse(folder)` from working, one line each, in the order to mend it. [] = ready."""
    folder = Path(folder)
    if not folder.is_dir():
        return [f"{folder}: no such folder"]
    layout = Layout.of(folder)
    slides, problems = read_slides(folder / "slides.csv")
    problems += _misplaced(folder, layout)
    for cell_type, files in layout.patches.items():
        if not files:
            problems.append(f"{folder / 'patches' / cell_type}: no PNG files, expected the {cell_type} patches")
    for cell_type, path in layout.pool():
        problems += _patch_problems(folder, layout, cell_type, path, slides)
    names = {stem(path) for _, path in layout.pool()}
    seen = {slide_of(name, slides) for name in names}
    problems += [f"{folder / 'slides.csv'}: slide {slide} has no patches" for slide in slides if slide not in seen]
    orphans = [path for name, path in layout.molecular.items() if name not in names]
    problems += [f"{path}: no patch of this name in patches/" for path in orphans]
    if not layout.masks:
        problems.append(f"{folder / 'masks'}: no annotator folders, expected masks/<annotator>/<type>/<patch>.png")
    for annotator, masks in layout.masks.items():
        if not any(masks.values()):
            wanted = f"{' or '.join(CELL_TYPES)}/<patch>.png"
            problems.append(f"{folder / 'masks' / annotator}: no masks, expected {wanted}")
        for cell_type, files in masks.items():
            strange = [path for name, path in files.items() if name not in layout.patches[cell_type]]
            problems += [f"{path}: no patch of this name in patches/{cell_type}" for path in strange]
    return problems


def _misplaced(folder: Path, layout: Layout) -> Iterator[str]:
    """Folders that are no cell type, files that are no PNG or in a wrong place: a misspelt name, another format."""
    types = " or ".join(CELL_TYPES)
    parents = [folder / "patches", *(folder / "masks" / annotator for annotator in layout.masks)]
    for parent in parents:
        for path in entries(parent):
            if not path.is_dir():
                yield f"{path}: expected in a folder of its cell type, {types}"
            elif path.name not in CELL_TYPES:
                missing = [cell_type for cell_type in CELL_TYPES if not (parent / cell_type).is_dir()]
                hint = f"; {' and '.join(missing)} missing" if missing else ""
                yield f"{path}: is no cell type, expected {types}{hint}"
    for path in entries(folder / "masks"):
        if not path.is_dir():
            yield f"{path}: expected annotator folders only"
    for place in (folder / "if", *(parent / cell_type for parent in parents for cell_type in CELL_TYPES)):
        taken: set[str] = set()
        for path in entries(place):
            if path.is_dir() or path.suffix.lower() != ".png":
                yield f"{path}: expected PNG files only; export it as PNG or move it away"
            elif stem(path) in taken:
                yield f"{path}: a second file of this name; keep one"
            taken.add(stem(path))


def _patch_problems(
    folder: Path, layout: Layout, cell_type: CellType, path: Path, slides: dict[str, SlideRow]
) -> Iterator[str]:
    if slides and slide_of(stem(path), slides) is None:
        yield f"{path}: name begins with no slide of slides.csv, expected <slide>_<rest>.png"
    size = yield from _image_problems(path, ("RGB",))
    if stem(path) in layout.molecular:
        yield from _image_problems(layout.molecular[stem(path)], ("RGB",), size)
    else:
        yield f"{folder / 'if' / path.name}: missing, expected the registered IF image of {path.name}"
    for annotator, masks in layout.masks.items():
        if cell_type not in masks:
            continue
        if stem(path) in masks[cell_type]:
            yield from _image_problems(masks[cell_type][stem(path)], ("1", "L"), size)
        else:
            missing = folder / "masks" / annotator / cell_type / path.name
            yield f"{missing}: missing, expected {annotator}'s {cell_type} mask (all zeros if there are none)"


def _image_problems(
    path: Path, modes: tuple[str, ...], size: tuple[int, int] | None = None
) -> Generator[str, None, tuple[int, int] | None]:
    """What is wrong with one image; returns its (width, height), None if that cannot be read.

    size: that of the patch; where it differs the pixels are not decoded.
    """
    try:
        with path.open("rb") as file:
            image = PngImageFile(file)  # unlike Image.open, without a bound on the size
            found, mode = image.size, image.mode
    except Exception as error:  # Pillow raises many types for a damaged header
        yield f"{path}: cannot be decoded ({error}); export it again"
        return None
    if size is not None and found != size:
        yield f"{path}: {found[0]}×{found[1]} px (width × height), expected {size[0]}×{size[1]} as its PAS patch"
        return found
    if mode not in modes:
        yield f"{path}: pixel mode {mode}, expected 8-bit {' or '.join(modes)}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConversionWarning)
        try:
            pixels = read_array(path)
        except DataError as error:
            yield str(error)
            return found
    if any(warning.category is ConversionWarning for warning in caught):
        yield f"{path}: is turned by its Orientation tag, expected pixels as stored; turn and export it again"
    if pixels.ndim == 3 and pixels.dtype != np.uint8:
        yield f"{path}: pixels are {pixels.dtype}, expected 8 bits per channel"
    if mode in modes and "L" in modes and not _is_binary(values := np.unique(pixels).tolist()):
        yield f"{path}: {len(values)} different values up to {max(values)}, expected only 0 and 255 (or 0 and 1)"
    return found


def _is_binary(values: Iterable[int]) -> bool:
    return set(values) <= {0, 255} or set(values) <= {0, 1}
