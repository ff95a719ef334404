"""The stained images of the Data Science Bowl's stage-1 test set (BBBC038, CC0): half to train on, half held out.

Twelve images with 1,069 nuclei, of the same kinds of slides as the stained ones of `dsb2018`. Layout: index.csv (id,
width, height, n_nuclei, …), images/<id>.png (RGB), instances/<id>.png (uint16). Which half an image belongs to is fixed
by the two lists, so that no recipe can train on what another measures with.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError
from study.datasets.image import count_labels, read_labels, read_rgb
from study.numbers import whole
from study.root import dataset_folder

NAME = "dsb2018_test"
HALVES: dict[str, tuple[str, ...]] = {
    "train": (
        "0f1f896d9ae5a047",
        "1d9eacb3161f1e2b",
        "3c4c675825f75098",
        "472b1c5ff988dadc",
        "b83d1d77935b6cfd",
        "da6c593410340b19",
    ),
    "held_out": (
        "17b9bf4356db2496",
        "259b35151d4a7a5f",
        "44afae184c89e6ba",
        "9f17aea854db1301",
        "c8e79ff4ac55f4b7",
        "f5effed21f671bbf",
    ),
}


def load(root: Path, half: Literal["train", "held_out"]) -> list[Case]:
    """The images of one half, sorted by id. root: the dataset's folder, or one that holds it as `dsb2018_test/`.

    The magnification is not stated, so `spacing` is NaN. Raises DataError when a file is missing, damaged or disagrees
    with the index.
    """
    folder = dataset_folder(Path(root), NAME)
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    if rows.keys() != {name for half_names in HALVES.values() for name in half_names}:
        raise DataError(f"{folder / 'index.csv'}: lists {sorted(rows)}, expected the twelve images of {NAME}.HALVES")
    return [_case(folder, rows[name]) for name in HALVES[half]]


def _case(folder: Path, row: dict[str, str]) -> Case:
    path = folder / "images" / f"{row['id']}.png"
    image = read_rgb(path)
    size = (whole(row["height"]), whole(row["width"]))
    if image.shape[:2] != size:
        raise DataError(f"{path}: image of size {image.shape[:2]}, expected {size} as index.csv says")
    instances = read_labels(folder / "instances" / f"{row['id']}.png", size)
    if (found := count_labels(instances)) != whole(row["n_nuclei"]):
        raise DataError(f"{path}: {found} labels in its instance image, expected {row['n_nuclei']} as index.csv says")
    return Case(row["id"], image, instances, spacing=float("nan"), source=NAME)
