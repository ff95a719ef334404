"""The molecular arm's steps on real tissue: lay boxes → masks → class from the marker, on DeepLIIF's tiles.

A demonstration on two tiles, without statistics. The stain image is brightfield; DAPI brings the fluorescence into
register with it; Ki67 tells the class. The haematoxylin panel is the frame: the segmentation lies on it, the IHC and
the fluorescence do not. Boxes come from the segmentation that also scores the masks; the classes do not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skimage.color import rgb_from_hed

from allinsam_core.annotation import sam as sams
from study import records
from study.datasets import deepliif
from study.datasets.deepliif import Tile
from study.minisam.label_quality import quality
from study.molecular.registration import (
    Quality,
    Registration,
    RegistrationFailed,
    haematoxylin,
    marker_threshold,
    register,
)
from study.root import data_root
from study.weak import WeakSettings, annotate_case, prompts

FOLDER = "deepliif"
H, DAB = tuple(rgb_from_hed[0]), tuple(rgb_from_hed[2])  # stain vectors of Ruifrok & Johnston 2001
BOXES = WeakSettings(box_law="random")
Row = dict[str, Any]
Items = dict[str, dict[str, float]]


def align(tile: Tile) -> tuple[dict[str, Registration], dict[str, RegistrationFailed]]:
    """IHC, DAPI and segmentation against the haematoxylin panel: what succeeded and what did not, by panel.

    The segmentation is registered to see how far it lies off; it is never moved.
    """
    fixed = haematoxylin(tile.panels["haematoxylin"], H, DAB)
    moving = {
        "ihc": haematoxylin(tile.panels["ihc"], H, DAB),
        "dapi": tile.grey("dapi"),
        "segmentation": (tile.instances > 0).astype(np.float32),
    }
    found, failed = {}, {}
    for panel, image in moving.items():
        try:
            found[panel] = register(fixed, image)
        except RegistrationFailed as error:
            failed[panel] = error
    return found, failed


def measure(tile: Tile, sam: sams.Sam) -> tuple[list[Row], dict[str, str]]:
    """Rows (tile, part, item and what was measured) of one tile, and why registrations failed, by panel.

    What rests on a failed registration is not measured.
    """
    found, failed = align(tile)
    parts = {
        "registration": {panel: _shift(r) | _measured(r.quality) for panel, r in found.items()}
        | {panel: {"shift_px": np.nan, **_measured(error.quality)} for panel, error in failed.items()},
        "check": _markers_agree(tile, found),
        "masks": _masks(tile, sam, found),
        "class": _classes(tile, found),
    }
    rows = [
        {"tile": tile.name, "part": part, "item": item, **values}
        for part, items in parts.items()
        for item, values in items.items()
    ]
    return rows, {panel: str(error) for panel, error in failed.items()}


def _markers_agree(tile: Tile, found: dict[str, Registration]) -> Items:
    """Correlation of Ki67 with the IHC's brown, which no registration looked at, over the pixels of both."""
    if not {"ihc", "dapi"} <= found.keys():
        return {}
    fluorescent, brown = tile.grey("ki67"), haematoxylin(tile.panels["ihc"], DAB, H)
    pairs = {
        "as given": (fluorescent, brown),
        "registered": (_warped(found["dapi"], fluorescent), _warped(found["ihc"], brown)),
    }
    imaged = np.isfinite(pairs["registered"]).all(axis=0)
    return {
        name: {"correlation": float(np.corrcoef(first[imaged], second[imaged])[0, 1])}
        for name, (first, second) in pairs.items()
    }


def _masks(tile: Tile, sam: sams.Sam, found: dict[str, Registration]) -> Items:
    """mini-SAM's masks on either stain image, and the boxes' ellipses, which look at none."""
    images = {"haematoxylin": tile.panels["haematoxylin"]}
    if "ihc" in found:
        images["ihc"] = 255 - found["ihc"].warp(255 - tile.panels["ihc"])  # white where it has no pixels
    answers = [(f"mini-SAM on {stain}", image, sam) for stain, image in images.items()]
    scores = {}
    for name, image, annotator in (*answers, ("ellipses", images["haematoxylin"], None)):
        case = tile.case(image)
        score = quality(case, annotate_case(case, annotator, BOXES).case, "random")
        scores[name] = {"dice": score.dice, "mean_instance_iou": score.mean_instance_iou}
    return scores


def _classes(tile: Tile, found: dict[str, Registration]) -> Items:
    """Classes read from Ki67 before and after registration, and what reading nothing would score."""
    boxes, _ = prompts(tile.case(tile.panels["haematoxylin"]), BOXES)
    readings = {"Ki67 as given": tile.grey("ki67")}
    if "dapi" in found:
        readings["Ki67 registered"] = _warped(found["dapi"], tile.grey("ki67"))
    scores = {name: agreement(read_class(marker, boxes), tile.positive) for name, marker in readings.items()}
    return {**scores, "none, all negative": agreement(np.zeros_like(tile.positive), tile.positive)}


def read_class(marker: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Positive (N,) bool where a box's mean marker exceeds Otsu's threshold over the boxes of the tile.

    marker: (H, W) grey levels, NaN where nothing was imaged; a box without any image counts 0.
    boxes: (N, 4) XYXY px, whole numbers, half-open.
    """
    inside = [marker[y0:y1, x0:x1] for x0, y0, x1, y1 in boxes.astype(int)]
    means = np.array([np.nanmean(part) if np.isfinite(part).any() else 0.0 for part in inside])
    return means > marker_threshold(means)


def agreement(read: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Accuracy and the F1 of either class; NaN where a class is neither read nor true. read, truth: (N,) bool."""

    def f1(a: np.ndarray, b: np.ndarray) -> float:
        return 2 * np.count_nonzero(a & b) / (a.sum() + b.sum()) if a.any() or b.any() else float("nan")

    return {
        "accuracy": float(np.mean(read == truth)),
        "f1_positive": f1(read, truth),
        "f1_negative": f1(~read, ~truth),
        "read_positive": float(read.sum()),
        "positive_nuclei": float(truth.sum()),
        "nuclei": float(len(truth)),
    }


def _shift(found: Registration) -> dict[str, float]:
    return {"shift_px": float(np.median(np.hypot(found.displacement[..., 0], found.displacement[..., 1])))}


def _measured(found: Quality) -> dict[str, float]:
    return {
        "largest_px": found.displacement,
        "consistency_95_px": found.consistency_95,
        "sd_above_chance": found.score,
        "information_before": found.information_before,
        "information_after": found.information,
    }


def _warped(registration: Registration, image: np.ndarray) -> np.ndarray:
    """The image (H, W) float32 in the fixed frame, NaN where it has no pixels."""
    imaged = registration.warp(np.ones_like(image)) > 0.999
    return np.where(imaged, registration.warp(image), np.nan)


def execute(results: Path) -> Path:
    """Measure every tile with the shipped mini-SAM; writes rows.csv and run.json to `results/deepliif`, its folder."""
    watch, tiles, sam = records.Stopwatch(), deepliif.load(data_root()), sams.load_mini()
    with watch.measure():
        measured = {tile.name: measure(tile, sam) for tile in tiles}
    record = records.make(
        FOLDER,
        {
            "weights": sams.weights_checksum(sam),
            "boxes": BOXES.model_dump(mode="json"),
            "spacing": deepliif.SPACING,
        },
        data={"test": [tile.case(image) for tile in tiles for image in tile.panels.values()]},
        modules=[__name__],
        watch=watch,
        seed=BOXES.seed,
        failed_registrations={name: failed for name, (_, failed) in measured.items()},
    )
    table = pd.DataFrame([row for rows, _ in measured.values() for row in rows])
    return records.save(record, results / FOLDER, rows=table)
