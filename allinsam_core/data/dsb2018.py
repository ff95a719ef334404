"""Data Science Bowl 2018, stage 1 training set (BBBC038, CC0): nuclei of many kinds, for pre-training.

Caicedo et al., Nature Methods 16, 2019; https://bbbc.broadinstitute.org/BBBC038.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError, MissingData
from allinsam_core.data.image import read_labels, read_rgb
from allinsam_core.data.root import dataset_folder

NAME = "dsb2018"
MODALITIES = ("stained-brightfield", "grey-brightfield", "fluorescence")
_COLUMNS = {"id", "width", "height", "modality", "nuclei"}


def load(root: Path, modalities: Collection[str] = ("stained-brightfield",)) -> list[Case]:
    """The images of the given modalities, in the order of the index.

    root: the dataset's folder, or one that holds it as `dsb2018/`, with index.csv (columns id, width, height,
    modality, nuclei), images/<id>.png (RGB) and instances/<id>.png (uint16). Magnification is mixed and undocumented,
    so `spacing` is NaN. Raises DataError when a file is missing, damaged or disagrees with the index.
    """
    if unknown := sorted(set(modalities) - set(MODALITIES)):
        raise ValueError(f"modalities {unknown}, expected some of {MODALITIES}")
    folder = dataset_folder(Path(root), NAME)
    return [_load_case(folder, row) for row in index(folder) if row["modality"] in modalities]


def index(folder: Path) -> list[dict[str, str]]:
    """The rows of index.csv. Raises DataError when a column is missing or a modality unknown."""
    path = folder / "index.csv"
    if not path.is_file():
        raise MissingData(f"{path}: no such file, expected the index of the {NAME} data")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if missing := sorted(column for column in _COLUMNS if not row.get(column)):
            raise DataError(f"{path}: row {row.get('id')!r} lacks {missing}, expected columns {sorted(_COLUMNS)}")
        if row["modality"] not in MODALITIES:
            raise DataError(f"{path}: {row['id']} has modality {row['modality']!r}, expected one of {MODALITIES}")
    return rows


def _load_case(folder: Path, row: dict[str, str]) -> Case:
    path = folder / "images" / f"{row['id']}.png"
    image = read_rgb(path)
    size = (int(row["height"]), int(row["width"]))
    if image.shape[:2] != size:
        raise DataError(f"{path}: image of size {image.shape[:2]}, expected {size} as index.csv says")
    instances = read_labels(folder / "instances" / f"{row['id']}.png", size)
    return Case(row["id"], image, instances, spacing=float("nan"), source=NAME)
