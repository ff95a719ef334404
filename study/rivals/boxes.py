"""References that are given the true boxes of a test image; no method that must find the nuclei competes with them.

`boxes`: SAM prompted with the true boxes (Kirillov et al. 2023), the upper reference: what stage 1 of the paper makes
of perfect boxes. `ellipse`: the largest ellipse inside each true box, no pixel of the image looked at; what a box alone
is worth, and so the floor of everything that is prompted with boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.merge import merge
from allinsam_core.annotation.predict import BoxAnnotator, default_field, inscribed
from allinsam_core.data.case import Case
from allinsam_core.learning.method import BoxPrompted


class BoxesSettings(BaseModel):
    """The SAM that answers the boxes. overlap: of neighbouring windows, as for the weak labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["boxes"] = "boxes"
    name: Literal["mini", "vit_b", "vit_l", "vit_h"] = "mini"
    weights: str = "shipped"
    overlap: float = 0.34


class EllipseSettings(BaseModel):
    """Nothing to set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["ellipse"] = "ellipse"


class Boxes(BoxPrompted):
    """SAM's single mask of every box, merged as weak labels are."""

    def __init__(self, settings: BoxesSettings, model: sams.Sam | None = None) -> None:
        self.settings = settings
        self.model = model or sams.build(settings.name, sams.weights_file(settings.weights))

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        return {}

    def predict_boxes(self, image: np.ndarray, boxes: np.ndarray, spacing: float) -> np.ndarray:
        annotator = BoxAnnotator(self.model, default_field(self.model, spacing), self.settings.overlap)
        return merge(annotator.annotate(image, boxes, "true boxes"), image.shape[:2])[0]


class Ellipse(BoxPrompted):
    """The inscribed ellipse of every box; where two overlap the smaller one has the pixel."""

    def __init__(self, settings: EllipseSettings) -> None:
        self.settings = settings

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        return {}

    def predict_boxes(self, image: np.ndarray, boxes: np.ndarray, spacing: float) -> np.ndarray:
        return merge(inscribed(boxes, image.shape[:2], "true boxes"), image.shape[:2])[0]
