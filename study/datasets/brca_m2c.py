"""BRCA-M2C (Abousamra et al., ICCV 2021; BSD-3-Clause): real H&E tiles of breast cancer, every nucleus a point.

120 tiles at 0.50 µm/px, each about 490 × 490 px, with an official split. Five tiles of the three patients that MoNuSeg
has too are left out: 115 tiles of 110 patients with 29,068 points; no outlines. The official split has two patients
both in training and in validation; as a source of runs, their two training tiles are left out (73, 10 and 30 tiles).
Two layouts are read:

- as published: brca_ds_{train,val,test}.txt, images/<id>.png, labels/<id>_gt_class_coords.txt (y, x, class);
- prepared: index.csv (id, width, height, n_nuclei, official_split, …), images/<id>.webp (lossless), points/<id>.csv.

Both give the same pixels and points, whose checksums lie beside this module. As a source of runs every point is a
nucleus of one pixel, with its class; masks are what an annotator makes of them (label "weak").
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from allinsam_core.data.case import Case, Split
from allinsam_core.data.errors import DataError, MissingData
from study.datasets.image import read_rgb
from study.numbers import number, whole
from study.root import data_root, dataset_folder

if TYPE_CHECKING:
    from study.data import DataSettings

NAME = "brca_m2c"
SPACING = 0.5  # µm/px
SPLITS: tuple[Split, ...] = ("train", "val", "test")
CLASSES = ("lymphocyte", "epithelial", "stromal")  # of the numbers 1, 2 and 3; the second is tumour or epithelial
IN_MONUSEG = ("TCGA-A7-A13E", "TCGA-A7-A13F", "TCGA-AC-A2FO")  # patients
IN_TWO_SPLITS = ("TCGA-A7-A0DB", "TCGA-A7-A13G")  # patients officially in training and in validation
_PUBLISHED = "brca_ds_{split}.txt"
_CHECKSUMS = Path(__file__).with_name("brca_m2c_sha256.csv")
FETCH = "`allinsam data fetch brca-m2c` gets it"


@dataclass(frozen=True, eq=False)
class PointTile:
    """image: (H, W, 3) uint8 RGB at SPACING. points: (N, 2) float32 XY pixels. classes: (N,) int64, 1 … 3."""

    name: str
    image: np.ndarray
    points: np.ndarray
    classes: np.ndarray
    split: Split = "train"

    @property
    def patient(self) -> str:
        """TCGA's patient: project, site and participant of the name."""
        return patient_of(self.name)

    def case(self) -> Case:
        """The tile with every point as a nucleus of one pixel, labels in the order of the points."""
        instances = np.zeros(self.image.shape[:2], np.uint16)
        column, row = self.points.astype(int).T
        instances[row, column] = np.arange(1, len(self.points) + 1)
        kinds = {label: CLASSES[kind - 1] for label, kind in enumerate(self.classes.tolist(), start=1)}
        return Case(
            self.name, self.image, instances, SPACING, NAME, patient=self.patient, organ="breast", split=self.split,
            classes=kinds,
        )  # fmt: skip

    @property
    def sha256(self) -> str:
        """Of the pixels (uint8, row-major, H × W × 3) followed by the points (int32, row-major, N × (x, y, class))."""
        table = np.column_stack([self.points, self.classes]).astype("<i4")
        return hashlib.sha256(np.ascontiguousarray(self.image).tobytes() + table.tobytes()).hexdigest()


def patient_of(name: str) -> str:
    return "-".join(name.split("-")[:3])


def load(root: Path, splits: Collection[str] = SPLITS) -> list[PointTile]:
    """The tiles of the official splits named, sorted by id. root: the folder itself, or one that holds `brca_m2c/`.

    Raises MissingData where the folder holds neither layout or lacks a file, DataError, naming the file, for a damaged
    one, a point outside its tile, an unknown class, a tile without points, and a patient in two splits.
    """
    if unknown := sorted(set(splits) - set(SPLITS)):
        raise ValueError(f"splits {unknown}, expected some of {SPLITS}")
    folder, listed = files(root)
    return [read(folder, name, split) for name, split in sorted(listed.items()) if split in splits]


def by_split(settings: DataSettings, root: Path | None) -> dict[Split, list[Case]]:
    """The tiles as cases by split, no patient in two. root: the folder that holds brca_m2c/; None: `data_root()`."""
    found: dict[Split, list[Case]] = {split: [] for split in SPLITS}
    for tile in load(root if root is not None else data_root()):
        if tile.split != "train" or tile.patient not in IN_TWO_SPLITS:
            found[tile.split].append(tile.case())
    return found


def check(root: Path) -> None:
    """Raises MissingData where `root` does not hold every tile; none of them is read."""
    folder, listed = files(root)
    for name in listed:
        image_file(folder, name)


def files(root: Path) -> tuple[Path, dict[str, Split]]:
    """The folder of the data, and every tile's split by its name, patients of MoNuSeg left out."""
    folder = dataset_folder(Path(root), NAME)
    folder = next((p.parent for p in sorted(folder.glob(f"*/{_PUBLISHED.format(split='train')}"))), folder)
    if (folder / "index.csv").is_file():
        where, listed = folder / "index.csv", {n: row["official_split"] for n, row in _index(folder).items()}
    elif (folder / _PUBLISHED.format(split="train")).is_file():
        where, listed = folder / _PUBLISHED.format(split="*"), _published(folder)
    else:
        raise MissingData(f"{folder}: no index.csv and no {_PUBLISHED.format(split='train')}, expected one; {FETCH}")
    return folder, _one_split_each(where, {n: s for n, s in listed.items() if patient_of(n) not in IN_MONUSEG})


def _published(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for split in SPLITS:
        path = folder / _PUBLISHED.format(split=split)
        if not path.is_file():
            raise MissingData(f"{path}: no such file; {FETCH}")
        found |= {Path(line).stem if line.endswith(".png") else line: split for line in path.read_text().split()}
    return found


def _index(folder: Path) -> Mapping[str, dict[str, str]]:
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def _one_split_each(where: Path, listed: Mapping[str, str]) -> dict[str, Split]:
    """The splits, if every one is known and no patient is in two, save those who officially are."""
    found: dict[str, Split] = {}
    seen: dict[str, str] = {}
    for name, split in sorted(listed.items()):
        if split not in SPLITS:
            raise DataError(f"{where}: {name} is of split {split!r}, expected {', '.join(SPLITS)}")
        patient = patient_of(name)
        official = patient in IN_TWO_SPLITS and split != "test"
        if seen.setdefault(patient, split) != split and not official:
            raise DataError(
                f"{where}: patient {patient} is in splits {seen[patient]} and {split}, expected one; "
                "move its tiles into one of them"
            )
        found[name] = split
    return found


def image_file(folder: Path, name: str) -> Path:
    """The tile's image, in either layout. Raises MissingData where there is none."""
    for suffix in (".webp", ".png"):
        if (path := folder / "images" / f"{name}{suffix}").is_file():
            return path
    raise MissingData(f"{folder / 'images' / name}.png: no such file; {FETCH}")


def read(folder: Path, name: str, split: Split) -> PointTile:
    """One tile of a folder that `files` has found. Raises as `load` does."""
    path = image_file(folder, name)
    image = read_rgb(path)
    listed = folder / "labels" / f"{name}_gt_class_coords.txt"
    expected = None
    if (folder / "index.csv").is_file():
        row, listed = _index(folder)[name], folder / "points" / f"{name}.csv"
        expected, size = whole(row["n_nuclei"]), (whole(row["height"]), whole(row["width"]))
        if image.shape[:2] != size:
            raise DataError(f"{path}: image of size {image.shape[:2]}, expected {size} as index.csv says")
    table = _points(listed, (image.shape[0], image.shape[1]))
    if expected is not None and len(table) != expected:
        raise DataError(f"{listed}: {len(table)} points, expected {expected} as index.csv says")
    return PointTile(name, image, table[:, :2].astype(np.float32), table[:, 2].astype(np.int64), split)


def _points(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(N, 3) float64: x, y, class, in the file's order, checked against the image's (H, W)."""
    if not path.is_file():
        raise MissingData(f"{path}: no such file; {FETCH}")
    swapped = path.suffix == ".txt"  # as published: y x class
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        rows = [[number(value) for value in line.replace(",", " ").split()] for line in lines[0 if swapped else 1 :]]
        table = np.array([row for row in rows if row], dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        order = "y x class" if swapped else "x,y,class"
        raise DataError(f"{path}: a line is not {order} ({error}); fetch it again") from error
    table = table[:, [1, 0, 2]] if swapped else table
    if not len(table):
        raise DataError(f"{path}: no point, expected at least one; a tile without nuclei belongs into no split")
    height, width = shape
    inside = ((table[:, :2] >= 0) & (table[:, :2] < [width, height])).all(axis=1)
    if not inside.all():
        x, y, _ = table[~inside][0]
        raise DataError(
            f"{path}: point ({x:g}, {y:g}) lies outside its tile, expected 0 ≤ x < {width} and 0 ≤ y < {height}; "
            "fetch it again"
        )
    known = np.isin(table[:, 2], range(1, len(CLASSES) + 1))
    if not known.all():
        names = ", ".join(f"{number} ({name})" for number, name in enumerate(CLASSES, start=1))
        raise DataError(f"{path}: class {table[~known][0, 2]:g} is unknown, expected {names}; correct the file")
    if len(np.unique(table[:, :2].astype(int), axis=0)) < len(table):
        raise DataError(f"{path}: two points share a pixel, expected one nucleus at each; remove one of them")
    return table


@lru_cache(maxsize=1)
def _official() -> dict[str, str]:
    with _CHECKSUMS.open(newline="", encoding="utf-8") as file:
        return {row["tile"]: row["sha256"] for row in csv.DictReader(file)}


def trouble(tile: PointTile) -> str | None:
    """None when pixels and points are the official ones, else what is wrong."""
    expected = _official().get(tile.name)
    if expected is None:
        return f"{tile.name}: is no tile of BRCA-M2C; move it away"
    if tile.sha256 != expected:
        return (
            f"{tile.name}: pixels and points have sha256 {tile.sha256[:12]}…, expected {expected[:12]}…; altered, "
            "fetch it again"
        )
    return None
