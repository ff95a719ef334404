"""Data Science Bowl 2018, stage 1 training set (BBBC038, CC0): nuclei of many kinds, for pre-training.

Caicedo et al., Nature Methods 16, 2019; https://bbbc.broadinstitute.org/BBBC038. Two layouts are read:
  index.csv (id, width, height, modality, nuclei), images/<id>.png (RGB), instances/<id>.png (uint16)
  stage1_train/<long id>/images/<long id>.png and masks/*.png, one mask per nucleus (as published; `allinsam data
  fetch dsb2018`)
A case is named by the first 16 characters of its id. The published images are the same, their masks lack the later
community corrections. dsb2018_modality.csv says which image is of which modality; the six published images that the
corrections dropped are not in it and not read.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError, MissingData
from study.datasets.image import count_labels, read_array, read_labels, read_rgb
from study.numbers import whole
from study.root import dataset_folder

NAME = "dsb2018"
MODALITIES = ("stained-brightfield", "grey-brightfield", "fluorescence")
_COLUMNS = {"id", "width", "height", "modality", "nuclei"}


def load(root: Path, modalities: Collection[str] = ("stained-brightfield",)) -> list[Case]:
    """The images of the given modalities, sorted by id.

    root: the dataset's folder, or one that holds it as `dsb2018/`, in either layout. Magnification is mixed and
    undocumented, so `spacing` is NaN. Raises DataError when a file is missing, damaged or disagrees with the index.
    """
    if unknown := sorted(set(modalities) - set(MODALITIES)):
        raise ValueError(f"modalities {unknown}, expected some of {MODALITIES}")
    return [read() for read in readers(dataset_folder(Path(root), NAME), modalities).values()]


def readers(folder: Path, modalities: Collection[str]) -> dict[str, Callable[[], Case]]:
    """What reads each case, by id, sorted. Raises DataError when the index is not usable."""
    if (folder / "index.csv").is_file():
        rows = {row["id"]: row for row in index(folder) if row["modality"] in modalities}
        return {name: partial(_load_case, folder, rows[name]) for name in sorted(rows)}
    published = sorted(name for name, modality in _modalities().items() if modality in modalities)
    return {name: partial(_load_published, folder, name) for name in published}


def index(folder: Path) -> list[dict[str, str]]:
    """The rows of index.csv. Raises DataError when a column is missing or a modality unknown."""
    path = folder / "index.csv"
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
    size = (whole(row["height"]), whole(row["width"]))
    if image.shape[:2] != size:
        raise DataError(f"{path}: image of size {image.shape[:2]}, expected {size} as index.csv says")
    instances = read_labels(folder / "instances" / f"{row['id']}.png", size)
    if (found := count_labels(instances)) != whole(row["nuclei"]):
        raise DataError(f"{path}: {found} labels in its instance image, expected {row['nuclei']} as index.csv says")
    return Case(row["id"], image, instances, spacing=float("nan"), source=NAME)


@lru_cache(maxsize=1)
def _modalities() -> dict[str, str]:
    with Path(__file__).with_name("dsb2018_modality.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["modality"] for row in csv.DictReader(file)}


def _load_published(folder: Path, name: str) -> Case:
    found = sorted((folder / "stage1_train").glob(f"{name}*"))
    if len(found) != 1:
        raise MissingData(
            f"{folder}: {len(found)} folders stage1_train/{name}*, expected one (and no index.csv there); "
            f"`allinsam data fetch {NAME}` gets the published archive"
        )
    image = read_rgb(found[0] / "images" / f"{found[0].name}.png")
    masks = sorted((found[0] / "masks").glob("*.png"))
    if not masks:
        raise MissingData(f"{found[0] / 'masks'}: no mask, expected one PNG file per nucleus")
    instances = np.zeros(image.shape[:2], dtype=np.uint16)
    for number, path in enumerate(masks, start=1):  # the rare shared pixel stays with the first mask by file name
        mask = read_array(path)
        if mask.shape[:2] != instances.shape:
            raise DataError(f"{path}: mask of size {mask.shape[:2]}, expected {instances.shape} as the image")
        instances[(mask.reshape(*instances.shape, -1)[..., 0] > 0) & (instances == 0)] = number
    return Case(name, image, instances, spacing=float("nan"), source=NAME)
