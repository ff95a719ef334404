"""References that are given the true boxes of a test image; no method that must find the nuclei competes with them.

`boxes`: SAM prompted with the true boxes (Kirillov et al. 2023), the upper reference: what stage 1 of the paper makes
of perfect boxes. `ellipse`: the largest ellipse inside each true box, no pixel of the image looked at; what a box alone
is worth, and so the floor of everything that is prompted with boxes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import nn

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.boxes import tight
from allinsam_core.annotation.merge import merge
from allinsam_core.annotation.predict import BoxAnnotator, default_field, inscribed
from allinsam_core.data.case import Case
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.method import Method
from study import checkpoints
from study.allinsam import SamName
from study.methods import MethodSettings

if TYPE_CHECKING:
    from study.config import Run


class BoxesSettings(MethodSettings):
    """The SAM that answers the boxes. overlap: of neighbouring windows, as for the weak labels."""

    kind: Literal["boxes"] = "boxes"
    name: SamName = "mini"
    weights: str = "shipped"
    overlap: float = 0.34

    def build(self, run: Run, device: str) -> Boxes:
        return Boxes(self)

    def base_weights(self) -> str:
        return checkpoints.sha256(self.weights, self.name)


class EllipseSettings(MethodSettings):
    """Nothing to set."""

    kind: Literal["ellipse"] = "ellipse"

    def build(self, run: Run, device: str) -> Ellipse:
        return Ellipse()


class BoxPrompted(Method):
    """A reference that is given the true boxes of the image it segments: not a rival, and marked wherever shown.

    It is given boxes, no masks; other methods see a test image's pixels alone. It learns nothing.
    """

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        return {}

    def predict(self, image: np.ndarray) -> np.ndarray:
        raise TypeError(f"{type(self).__name__} marks masks in boxes, no probabilities of pixels; call segment")

    def segment(
        self, case: Case, settings: InstanceSettings | None = None, threshold: float = 0.5
    ) -> tuple[np.ndarray, np.ndarray]:
        """As for `Method`; the labels are kept as `predict_boxes` gives them, the probability is 0 or 1."""
        found = self.predict_boxes(case.image, tight(case.instances), case.spacing)
        return (found > 0).astype(np.float32), found

    @abstractmethod
    def predict_boxes(self, image: np.ndarray, boxes: np.ndarray, spacing: float) -> np.ndarray:
        """Labels (H, W) integers, 0 = background, of an image (H, W, 3) uint8 at `spacing` µm/px.

        boxes: (N, 4) float32 XYXY px, half-open, one around each true nucleus.
        """


class Boxes(BoxPrompted):
    """SAM's single mask of every box, merged as weak labels are."""

    def __init__(self, settings: BoxesSettings, model: sams.Sam | None = None) -> None:
        self.settings = settings
        self.model = model or sams.build(settings.name, checkpoints.file(settings.weights, settings.name))

    @property
    def network(self) -> nn.Module:
        return self.model

    def predict_boxes(self, image: np.ndarray, boxes: np.ndarray, spacing: float) -> np.ndarray:
        annotator = BoxAnnotator(self.model, default_field(self.model, spacing), self.settings.overlap)
        return merge(annotator.annotate(image, boxes, "true boxes"), image.shape[:2])[0]


class Ellipse(BoxPrompted):
    """The inscribed ellipse of every box; where two overlap the smaller one has the pixel."""

    def predict_boxes(self, image: np.ndarray, boxes: np.ndarray, spacing: float) -> np.ndarray:
        return merge(inscribed(boxes, image.shape[:2], "true boxes"), image.shape[:2])[0]
