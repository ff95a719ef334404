"""Nuclei of an image: from a trained model, or from boxes; and how they compare with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from allinsam_core.annotation.merge import merge
from allinsam_core.annotation.predict import MINI_SPACING, BoxAnnotator, default_field
from allinsam_core.learning.instances import nuclei
from allinsam_core.metrics import instance, pixel
from allinsam_core.model import DEFAULT, Description, Model, base_sam, load


@dataclass(frozen=True, eq=False)
class Nuclei:
    """Nuclei of one image of H × W pixels.

    instances: (H, W) int32, 0 = background. labels: (N,) int64, the values present, increasing; classes, confidence:
    N strings ("" = none) and (N,) float32 in [0, 1], in that order. A confidence is the mean probability over a
    nucleus's pixels; of `annotate`, SAM's predicted IoU. spacing: µm per pixel. probability: (C, H, W) float32, one map
    a class, a nucleus from 0.5 on; `annotate` gives none (C = 0).
    """

    instances: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    confidence: np.ndarray
    spacing: float
    probability: np.ndarray


@dataclass(frozen=True)
class Scores:
    """Pixel and instance metrics of one image; their modules define every field."""

    pixel: pixel.PixelScores
    instance: instance.InstanceScores


def segment(image: np.ndarray, model: Model | Path | str = DEFAULT, *, spacing: float) -> Nuclei:
    """All nuclei of an image, without prompts.

    image: (H, W, 3) uint8 RGB at `spacing` µm per pixel (0.25 for a 40× scan). model: from `load` or `train`, or what
    `load` takes. Raises ValueError for an implausible spacing.
    """
    model = model if isinstance(model, Model) else load(model)
    return separate(model.maps(image, spacing), model.about, spacing)


def separate(maps: np.ndarray, about: Description, spacing: float) -> Nuclei:
    """Nuclei of what a model gives, `Model.maps`: (C, 1 or 3, H, W), of whose probabilities 0.5 is the threshold.

    A pixel that several classes claim goes to the higher probability, of equals to the earlier class. Classes of one
    joint network part nuclei by the sum of their probabilities, and a nucleus, whole, is of the class with the highest
    mean over it. Nuclei are parted as `about.parting` says, its lengths scaled to `spacing`, µm per pixel.
    """
    classes, settings, prob = about.classes, about.parting.scaled(MINI_SPACING / spacing), maps[:, 0]
    if about.joint:
        instances = nuclei(np.minimum(prob.sum(axis=0), 1)[None], settings, spacing)
        labels = np.arange(1, instances.max(initial=0) + 1)
        mean = np.stack([ndimage.mean(own, instances, labels) for own in prob])
        kinds = tuple(classes[kind] for kind in mean.argmax(axis=0))
        return Nuclei(instances, labels, kinds, mean.max(axis=0).astype(np.float32), spacing, prob)
    winner = prob.argmax(axis=0)
    instances, names = np.zeros(winner.shape, np.int32), list[str]()
    for index, name in enumerate(classes):
        own = np.stack([np.where(winner == index, prob[index], 0), *maps[index, 1:]])
        found = nuclei(own, settings, spacing)
        instances = np.where(found > 0, found + len(names), instances).astype(np.int32)
        names += [name] * int(found.max(initial=0))
    area = np.bincount(instances.ravel(), minlength=len(names) + 1)[1:]
    total = np.bincount(instances.ravel(), prob.max(axis=0).ravel(), minlength=len(names) + 1)[1:]
    labels = np.arange(1, len(names) + 1)
    return Nuclei(instances, labels, tuple(names), (total / np.maximum(area, 1)).astype(np.float32), spacing, prob)


def annotate(
    image: np.ndarray, boxes: np.ndarray, *, spacing: float, base: str = "mini", weights: Path | str | None = None
) -> Nuclei:
    """The nuclei in boxes, by SAM (paper, stage 1). Label i is that of box i − 1; one that lost its pixels is absent.

    image: (H, W, 3) uint8 RGB at `spacing` µm per pixel. boxes: (N, 4) XYXY pixels, half-open. base, weights: "mini",
    or "vit_b", "vit_l", "vit_h" and the file of its weights. Raises ValueError for a box outside the image.
    """
    sam = base_sam(base, weights)
    masks = BoxAnnotator(sam, default_field(sam, spacing)).annotate(image, boxes)
    instances, rows = merge(masks, (image.shape[0], image.shape[1]))
    rows = rows[rows["kept"] > 0]
    labels, score = rows["instance"].to_numpy(np.int64), rows["score"].to_numpy(np.float32)
    maps = np.zeros((0, *instances.shape), np.float32)
    return Nuclei(instances.astype(np.int32), labels, ("",) * len(rows), score, spacing, maps)


def score(found: np.ndarray, truth: np.ndarray) -> Scores:
    """Compare label maps, (H, W) integers, 0 = background, each other value one nucleus. Else ValueError."""
    return Scores(pixel.evaluate((found > 0).astype(np.float32), truth), instance.evaluate(found, truth))
