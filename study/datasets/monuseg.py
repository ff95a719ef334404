"""MoNuSeg 2018: haematoxylin-and-eosin images of 1000 × 1000 px at 40×, with every nucleus outlined.

Kumar et al., IEEE TMI 39(5), 2020. Licence CC BY-NC-SA 4.0 (non-commercial). The split is data_manifest.yaml's.

Two layouts are read, alone or mixed:
  train/images/*.tif, train/instances/*.png, train/annotations/*.xml, test/images/*.tif, test/annotations/*.xml
  MoNuSeg 2018 Training Data/{Tissue Images/*.tif, Annotations/*.xml}, MoNuSegTestData/*.{tif,xml} (as published)
The truth of a training or validation case is its instance image where there is one, else its XML; of a test case its
XML, else its instance image. Both follow one pixel convention (aperio.py).
"""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from allinsam_core.data.case import Case, Split
from allinsam_core.data.errors import DataError, MissingData
from study.datasets import aperio, manifest, splits
from study.datasets.image import read_labels, read_rgb
from study.root import data_root, dataset_folder

if TYPE_CHECKING:
    from study.data import DataSettings

NAME = "monuseg"
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Part = Literal["train", "test"]
Checksums = Literal["strict", "warn", "ignore"]

_IMAGES: Mapping[str, tuple[str, ...]] = {
    "train": ("train/images", "MoNuSeg 2018 Training Data/Tissue Images"),
    "test": ("test/images", "MoNuSegTestData"),
}
_INSTANCES: Mapping[str, tuple[str, ...]] = {"train": ("train/instances",), "test": ("test/instances",)}
_XML: Mapping[str, tuple[str, ...]] = {
    "train": ("train/annotations", "MoNuSeg 2018 Training Data/Annotations"),
    "test": ("test/annotations", "MoNuSegTestData"),
}
CHECKSUMS = "monuseg_pixels_sha256.csv"  # here; a manifest of one's own may have its own beside it


class MislabelledImage(DataError):
    """An image's pixels are those of another case: the mix-up of a copy in circulation."""


def names(split: Split) -> list[str]:
    """The case names of a split, sorted, from the manifest alone: nothing is read from the data."""
    if split not in ("train", "val", "test"):
        raise ValueError(f"split {split!r}, expected train, val or test")
    return manifest.load().datasets[NAME].names(split)


def load(root: Path, split: Split, checksums: Checksums = "warn") -> list[Case]:
    """All cases of a split, in the order of `names(split)`.

    root: the dataset's folder, or one that holds it as `monuseg/`. checksums: what to do about pixels that are not
    the official ones: "strict" refuses them; "warn" refuses an image that is known to be another case's (the
    mislabelled copy in circulation) and warns about any other; "ignore" does not look, for a deliberate study of
    such a copy. Raises DataError or a subclass; nothing is left out in silence.
    """
    folder, images = dataset_folder(Path(root), NAME), files(root, split)
    return [_load_case(folder, images[name], name, split, checksums) for name in names(split)]


def by_split(settings: DataSettings, root: Path | None) -> dict[Split, list[Case]]:
    """The images by split, at half their resolution for source `monuseg_20x`; no patient may be in two.

    root: the folder that holds `monuseg/`; None: `data_root()`.
    """
    folder = root if root is not None else data_root()
    found: dict[Split, list[Case]] = {split: load(folder, split) for split in SPLITS}
    splits.refuse_overlap(**found)
    if settings.source == "monuseg_20x":
        found = {split: [case.halved() for case in images] for split, images in found.items()}
    return found


def check(root: Path) -> None:
    """Raises MissingData where `root` does not hold every image; none of them is read."""
    for split in SPLITS:
        files(root, split)


def files(root: Path, split: Split) -> dict[str, Path]:
    """Where every image of a split lies, by case name; none is read. Raises MissingData where one is not there."""
    folder, part = dataset_folder(Path(root), NAME), part_of(split)
    images = image_files(folder, part)
    if absent := [name for name in names(split) if name not in images]:
        raise MissingData(
            f"{folder}: {len(absent)} of {len(names(split))} {split} images are missing ({', '.join(absent)}), "
            f"looked in {' and '.join(_IMAGES[part])}; `allinsam data fetch monuseg-{part}` gets them"
        )
    return {name: images[name] for name in names(split)}


def part_of(split: Split) -> Part:
    """Training and validation cases share the training archive."""
    return "test" if split == "test" else "train"


def image_files(folder: Path, part: Part) -> dict[str, Path]:
    """Image paths by case name. Raises DataError on a case that the manifest does not list for this part."""
    known = manifest.load().datasets[NAME].names(*(("test",) if part == "test" else ("train", "val", "unused")))
    found: dict[str, Path] = {}
    for place in _IMAGES[part]:
        for path in sorted((folder / place).glob("[!.]*")):  # hidden: resource forks that macOS puts in archives
            if path.suffix.lower() not in {".tif", ".tiff"}:
                continue
            if path.stem not in known:
                raise DataError(
                    f"{path}: case {path.stem} is not a MoNuSeg {part} case of {manifest.path().name}; "
                    "expected the official names only, move the file away"
                )
            if path.stem in found:
                raise DataError(f"{path}: case {path.stem} is also at {found[path.stem]}; keep one of the two")
            found[path.stem] = path
    return found


def xml_file(folder: Path, name: str, part: Part) -> Path | None:
    """The case's ImageScope annotation, if there is one."""
    return _first(folder, _XML[part], f"{name}.xml")


def instance_file(folder: Path, name: str, part: Part) -> Path | None:
    """The case's instance image, if there is one."""
    return _first(folder, _INSTANCES[part], f"{name}.png")


def _first(folder: Path, places: tuple[str, ...], file: str) -> Path | None:
    return next((path for place in places if (path := folder / place / file).is_file()), None)


def _load_case(folder: Path, path: Path, name: str, split: Split, checksums: Checksums) -> Case:
    dataset = manifest.load().datasets[NAME]
    entry = dataset.cases[name]
    image = read_rgb(path)
    if checksums != "ignore" and (trouble := pixel_trouble(name, image)):
        message = f"{path}: {trouble}"
        if other_case(name, image):
            raise MislabelledImage(message)
        if checksums == "strict":
            raise DataError(message)
        warnings.warn(message, stacklevel=3)
    return Case(
        name=name,
        image=image,
        instances=_truth(folder, name, split, image.shape[:2]),
        spacing=dataset.spacing or 0.25,
        source=NAME,
        patient=entry.patient,
        organ=entry.organ,
        split=split,
    )


def _truth(folder: Path, name: str, split: Split, shape: tuple[int, ...]) -> np.ndarray:
    part = part_of(split)
    xml, labels = xml_file(folder, name, part), instance_file(folder, name, part)
    height, width = shape
    if labels is not None and (part == "train" or xml is None):
        return read_labels(labels, (height, width))
    if xml is None:
        raise MissingData(
            f"{folder}: {name} has no annotation, looked for {name}.png in {' and '.join(_INSTANCES[part])} and "
            f"{name}.xml in {' and '.join(_XML[part])}; `allinsam data fetch monuseg-{part}` gets it"
        )
    return aperio.rasterise(aperio.read(xml), (height, width))


def _official() -> dict[str, str]:
    """Case name by sha256 of the RGB bytes (uint8, row-major, H × W × 3): the official 30 + 14 and the later 7."""
    beside = manifest.path().with_name(CHECKSUMS)
    return _read_checksums(beside if beside.is_file() else Path(__file__).with_name(CHECKSUMS))


@lru_cache(maxsize=2)
def _read_checksums(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["sha256_of_rgb_bytes"]: row["case"] for row in csv.DictReader(file)}


def other_case(name: str, image: np.ndarray) -> str | None:
    """The case whose official pixels these are, when that is not `name`. image: (H, W, 3) uint8."""
    owner = _official().get(_digest(image))
    return owner if owner != name else None


def pixel_trouble(name: str, image: np.ndarray) -> str | None:
    """None when the pixels are the official ones of case `name`, else what is wrong. image: (H, W, 3) uint8."""
    digest = _digest(image)
    owner = _official().get(digest)
    if owner == name:
        return None
    if owner is not None:
        return (
            f"named {name} but holds the tissue of {owner}; this is the mislabelled copy of MoNuSeg that circulates "
            "with other projects (seven training images are swapped, test masks are thinner): use the official "
            "archive, `allinsam data fetch monuseg-train`"
        )
    expected = next(known for known, case in _official().items() if case == name)
    return f"pixels have sha256 {digest[:12]}…, expected {expected[:12]}… for {name}; the image was altered"


def _digest(image: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
