"""Weak labels: the truth reduced to boxes or points, and SAM's masks of those in its place (paper, §4).

Without a SAM the boxes' inscribed ellipses stand in its place: what boxes alone are worth.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from allinsam_core.annotation import boxes as box_rules
from allinsam_core.annotation.boxes import BoxLaw
from allinsam_core.annotation.merge import merge
from allinsam_core.annotation.predict import BoxAnnotator, BoxMask, default_field, inscribed
from allinsam_core.annotation.sam import Sam, weights_checksum
from allinsam_core.atomic import replacing, set_aside
from allinsam_core.data.case import Case
from allinsam_core.settings import Settings
from study.points import PointAnnotator, PointSettings, boxes_about, own_pixels

VERSION = 1  # raised whenever the same inputs give other masks


class WeakSettings(Settings):
    """How boxes are drawn and answered. field None: the model's default for the image's spacing.

    points: the truth is reduced to the middle of every nucleus instead, and that is answered; the law means nothing.
    """

    box_law: BoxLaw = "tight"
    spread: int = Field(default=10, ge=0)  # px, of the random law
    seed: int = Field(default=0, ge=0)  # of the random law; every case draws its own numbers, by name
    field: int | None = None
    overlap: float = Field(default=0.34, ge=0, lt=1)
    multimask: bool = False
    points: PointSettings | None = Field(default=None, exclude_if=lambda value: value is None)


@dataclass(frozen=True, eq=False)
class WeakLabels:
    """case: the image with SAM's instances. provenance: one row per box, as `merge` gives it."""

    case: Case
    provenance: pd.DataFrame


def prompts(case: Case, settings: WeakSettings) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) float32 XYXY px and the label that each box's mask gets.

    tight, random: the label of the true instance. components: the number of the component, see `reference`. points:
    the box about each point, or with prompt "point" its pixel.
    """
    law = "tight" if settings.points else settings.box_law
    truth = reference(case, law)
    labels = np.flatnonzero(np.bincount(truth.ravel())[1:]) + 1
    if settings.points:
        radius = settings.points.radius / case.spacing if settings.points.prompt == "box" else 0.5
        return boxes_about(middles(truth), case.mask.shape, radius), labels
    if settings.box_law != "random":
        return box_rules.tight(truth), labels
    rng = np.random.default_rng([settings.seed, zlib.crc32(case.name.encode())])
    return box_rules.random(truth, rng, settings.spread), labels


def middles(truth: np.ndarray) -> np.ndarray:
    """(N, 2) float32 XY px: the middle of every nucleus's tight box, in order of label. truth: (H, W) integers."""
    boxes = box_rules.tight(truth)
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def reference(case: Case, law: BoxLaw) -> np.ndarray:
    """(H, W) integers: the objects that the boxes of a law were drawn around, numbered as the weak labels are."""
    return box_rules.component_labels(case.mask) if law == "components" else case.instances


def annotate_case(
    case: Case, sam: Sam | None, settings: WeakSettings, cache: Path | None = None, checksum: str | None = None
) -> WeakLabels:
    """Weak labels of one case, from the cache folder if the same were made before. sam None: ellipses.

    The cache goes by content: image, boxes, labels, SAM's weights and the settings. checksum: of `sam`, if known.
    A damaged file in the cache is made anew, with a warning.
    """
    boxes, labels = prompts(case, settings)
    described = f"{case.name} ({settings.box_law} boxes)"
    if sam is None:
        masks = _own(inscribed(boxes, case.mask.shape, described), case, settings)
        return _marked(case, merge(masks, case.mask.shape, labels.tolist()), settings, "ellipses")
    field = settings.field if settings.field is not None else default_field(sam, case.spacing)
    asked = PointAnnotator if settings.points and settings.points.prompt == "point" else BoxAnnotator
    annotator = asked(sam, field, settings.overlap, settings.multimask)
    file = None
    if cache is not None:
        file = cache / f"{_key(case, boxes, labels, checksum or weights_checksum(sam), annotator, settings)}.npz"
        found = _recall(file, case.instances.shape)
        if found is not None:
            return _marked(case, found, settings)
    masks = _own(annotator.annotate(case.image, boxes, described), case, settings)
    instances, provenance = merge(masks, case.instances.shape, labels.tolist())
    if file is not None:
        with replacing(file) as unfinished, unfinished.open("wb") as out:
            np.savez_compressed(out, instances=instances, provenance=np.array(provenance.to_csv(index=False)))
    return _marked(case, (instances, provenance), settings)


def weak_cases(
    cases: Iterable[Case], sam: Sam | None, settings: WeakSettings | None = None, cache: Path | None = None
) -> list[WeakLabels]:
    """Weak labels of many cases; the checksum of the weights is computed once. sam None: ellipses."""
    settings = settings or WeakSettings()
    checksum = weights_checksum(sam) if sam is not None else None
    return [annotate_case(case, sam, settings, cache, checksum) for case in cases]


def _own(masks: list[BoxMask], case: Case, settings: WeakSettings) -> list[BoxMask]:
    """The masks of points without what belongs to other points; those of boxes as they are."""
    if settings.points is None:
        return masks
    lengths = settings.points.reach / case.spacing, settings.points.disc / case.spacing
    return own_pixels(masks, middles(case.instances), case.mask.shape, *lengths)


def _marked(
    case: Case, found: tuple[np.ndarray, pd.DataFrame], settings: WeakSettings, annotator: str = "SAM"
) -> WeakLabels:
    instances, provenance = found
    source = f"{case.source}, {annotator} on {'points' if settings.points else f'{settings.box_law} boxes'}"
    return WeakLabels(replace(case, instances=instances.astype(np.uint16), source=source), provenance)


def _key(
    case: Case, boxes: np.ndarray, labels: np.ndarray, checksum: str, annotator: BoxAnnotator, settings: WeakSettings
) -> str:
    """sha256 over everything that the masks depend on; law, spread and seed are in the boxes."""
    described = {
        "version": VERSION,
        "weights": checksum,
        "shape": case.image.shape,
        "field": annotator.field,
        "overlap": annotator.overlap,
        "multimask": annotator.multimask,
        "ellipses": annotator.ellipses,
        "mask_threshold": annotator.sam.mask_threshold,
    }
    if settings.points:
        described["points"] = settings.points.model_dump()
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for array in (case.image, boxes, labels.astype(np.int64)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _recall(file: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, pd.DataFrame] | None:
    """What an earlier call left in `file`, or None."""
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as stored:
            instances, table = stored["instances"], pd.read_csv(StringIO(str(stored["provenance"])))
        if instances.shape != shape or instances.dtype != np.uint16:
            raise ValueError(f"instances are {instances.dtype} {instances.shape}, expected uint16 {shape}")
    except Exception as error:  # NumPy and zipfile raise many types for a damaged file
        set_aside(file, error, "its weak labels are made anew")
        return None
    return instances, table
