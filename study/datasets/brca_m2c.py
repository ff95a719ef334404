"""BRCA-M2C (Abousamra et al., ICCV 2021; BSD-3-Clause): real H&E tiles of breast cancer, every nucleus a point.

115 tiles of 110 patients (TCGA) at 0.50 µm/px with 29,068 points; no outlines. Layout: index.csv (id, width, height,
n_nuclei, official_split, …), images/<id>.webp (lossless RGB), points/<id>.csv (x, y, class; pixels of the image). The
patients that MoNuSeg has too are left out of this copy.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allinsam_core.data.errors import DataError
from allinsam_core.data.image import read_rgb
from study.root import dataset_folder

NAME = "brca_m2c"
SPACING = 0.5  # µm/px
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class PointTile:
    """image: (H, W, 3) uint8 RGB at SPACING. points: (N, 2) float32 XY pixels. classes: (N,) int64, 1 … 3."""

    name: str
    image: np.ndarray
    points: np.ndarray
    classes: np.ndarray


def load(root: Path, splits: Collection[str] = SPLITS) -> list[PointTile]:
    """The tiles of the official splits named, sorted by id. root: the folder itself, or one that holds `brca_m2c/`.

    Raises DataError when a file is missing, damaged or disagrees with the index.
    """
    if unknown := sorted(set(splits) - set(SPLITS)):
        raise ValueError(f"splits {unknown}, expected some of {SPLITS}")
    folder = dataset_folder(Path(root), NAME)
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["official_split"] in splits]
    return [_tile(folder, row) for row in sorted(rows, key=lambda row: row["id"])]


def _tile(folder: Path, row: dict[str, str]) -> PointTile:
    path = folder / "images" / f"{row['id']}.webp"
    image = read_rgb(path)
    size = (int(row["height"]), int(row["width"]))
    if image.shape[:2] != size:
        raise DataError(f"{path}: image of size {image.shape[:2]}, expected {size} as index.csv says")
    listed = folder / "points" / f"{row['id']}.csv"
    with listed.open(newline="", encoding="utf-8") as file:
        found = [(float(p["x"]), float(p["y"]), int(p["class"])) for p in csv.DictReader(file)]
    if len(found) != int(row["n_nuclei"]):
        raise DataError(f"{listed}: {len(found)} points, expected {row['n_nuclei']} as index.csv says")
    table = np.array(found, dtype=np.float64).reshape(-1, 3)
    return PointTile(row["id"], image, table[:, :2].astype(np.float32), table[:, 2].astype(np.int64))
