"""The small interface that every method of the study speaks, and the one that trained networks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict
from torch import nn

from allinsam_core.data.case import Case
from allinsam_core.learning.augment import AugmentSettings, Batch, CropSampler
from allinsam_core.learning.infer import maps
from allinsam_core.learning.losses import LOSSES, Loss, MapSettings, distances, double_sigmoid
from allinsam_core.learning.train import Sample, StepLoss, TrainSettings, fit


class Method(Protocol):
    """Fit on annotated cases, then predict foreground probabilities. The test images never reach `fit`."""

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        """Learn; `folder` is for checkpoints. Returns what happened, ready for the run record."""
        ...

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Foreground probability (H, W) float32 in [0, 1] of an image (H, W, 3) uint8."""
        ...


class BoxPrompted(ABC):
    """A reference that is handed the true boxes of the image it segments: not a rival, and marked wherever shown.

    It is told boxes, no masks; other methods see a test image's pixels alone.
    """

    @abstractmethod
    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        """As for `Method`."""

    @abstractmethod
    def predict_boxes(self, image: np.ndarray, boxes: np.ndarray, spacing: float) -> np.ndarray:
        """Labels (H, W) integers, 0 = background, of an image (H, W, 3) uint8 at `spacing` µm/px.

        boxes: (N, 4) float32 XYXY px, half-open, one around each true nucleus.
        """


class WindowSettings(BaseModel):
    """How a network sees an image. field: window side in image pixels; size: side of the network's input.

    train_field: another field for training crops, which are then magnified by another factor than test images:
    200 with size 1024 is what the released code does to 200 px crops. None: the same field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: int = 256
    size: int = 256
    train_field: int | None = None
    overlap: float = 0.25
    batch: int = 8


@dataclass
class NetworkMethod:
    """A network (B, 3, S, S) in [0, 1] → logits (B, 1, S, S), trained by the one loop.

    instance_maps: where they are set the network gives (B, 3, S, S), foreground and the two maps of `instances`.
    """

    model: nn.Module
    window: WindowSettings
    train: TrainSettings
    augment: AugmentSettings
    loss: str = "bce_iou"
    validation_loss: Literal["same", "double_sigmoid"] = "same"
    seed: int = 0
    device: str = "auto"
    instance_maps: MapSettings | None = None
    fabric: Fabric = field(init=False)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}; expected one of {', '.join(LOSSES)}")
        self.fabric = Fabric(accelerator=self.device, devices=1)

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        history = fit(
            self.model,
            self.sampler(train),
            self.step_loss(),
            self.train,
            folder,
            validate=lambda _: self.validate(val),
            seed=self.seed,
            fabric=self.fabric,
        )
        return dict(vars(history))

    def sampler(self, train: Sequence[Case]) -> Sample:
        """The batches to learn from."""
        return CropSampler(
            train,
            self.window.train_field or self.window.field,
            self.window.size,
            self.train.batch_size,
            self.seed,
            self.augment,
        )

    def step_loss(self) -> StepLoss:
        """What a training step minimises."""
        loss, settings = LOSSES[self.loss], self.instance_maps
        if settings is None:
            return lambda model, batch: loss(model(self.seen(batch)).float(), batch.mask)

        def total(model: nn.Module, batch: Batch) -> torch.Tensor:
            logits = model(self.seen(batch)).float()
            return loss(logits[:, :1], batch.mask) + distances(logits[:, 1:], batch.instances, settings)

        return total

    def segmenter(self) -> nn.Module:
        """What turns images into logits (B, 1, S, S), or (B, 3, S, S) with instance maps."""
        return self.model

    def validate(self, val: Sequence[Case]) -> dict[str, float]:
        """Mean loss (as configured) and Dice at 0.5 over whole validation images, tiled without overlap."""
        loss: Loss = LOSSES[self.loss]
        if self.validation_loss == "double_sigmoid":
            loss = double_sigmoid(loss)
        values, dices = [], []
        for case in val:
            prob = torch.from_numpy(self._maps(self.told(case), overlap=0.0)[0])[None, None]
            truth = torch.from_numpy(case.mask)[None, None].float()
            values.append(float(loss(torch.logit(prob, eps=1e-6), truth)))
            found = prob >= 0.5
            dices.append(float(2 * (found * truth).sum() / (found.sum() + truth.sum()).clamp(min=1)))
        return {"loss": float(np.mean(values)), "dice": float(np.mean(dices))}

    def seen(self, batch: Batch) -> torch.Tensor:
        """What the network is given of a training batch: the images, (B, 3, S, S) float32."""
        return batch.image

    def told(self, case: Case) -> np.ndarray:
        """What the network is given of a validation image: its pixels, (H, W, 3) uint8."""
        return case.image

    def predict(self, image: np.ndarray) -> np.ndarray:
        return self.predict_maps(image)[0]

    def predict_maps(self, image: np.ndarray) -> np.ndarray:
        """All maps of an image, (1, H, W) or with instance maps (3, H, W) float32 in [0, 1], the probability first."""
        return self._maps(image, self.window.overlap)

    def _maps(self, image: np.ndarray, overlap: float) -> np.ndarray:
        w = self.window
        self.model.to(self.fabric.device)
        with torch.autocast(self.fabric.device.type, torch.bfloat16, enabled=self.train.precision == "bf16"):
            return maps(self.segmenter(), image, w.field, w.size, overlap, w.batch, self.fabric.device)
