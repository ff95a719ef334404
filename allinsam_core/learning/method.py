"""The small interface that every method of the study speaks, and the one that trained networks share."""

from __future__ import annotations

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
from allinsam_core.learning.augment import AugmentSettings, CropSampler
from allinsam_core.learning.infer import probability
from allinsam_core.learning.losses import LOSSES, Loss, double_sigmoid
from allinsam_core.learning.train import Sample, StepLoss, TrainSettings, fit


class Method(Protocol):
    """Fit on annotated cases, then predict foreground probabilities. The test images never reach `fit`."""

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        """Learn; `folder` is for checkpoints. Returns what happened, ready for the run record."""
        ...

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Foreground probability (H, W) float32 in [0, 1] of an image (H, W, 3) uint8."""
        ...


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
    """A network (B, 3, S, S) in [0, 1] → logits (B, 1, S, S), trained by the one loop."""

    model: nn.Module
    window: WindowSettings
    train: TrainSettings
    augment: AugmentSettings
    loss: str = "bce_iou"
    validation_loss: Literal["same", "double_sigmoid"] = "same"
    seed: int = 0
    device: str = "auto"
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
        return _pixel_loss(LOSSES[self.loss])

    def segmenter(self) -> nn.Module:
        """What turns an image into one foreground logit per pixel."""
        return self.model

    def validate(self, val: Sequence[Case]) -> dict[str, float]:
        """Mean loss (as configured) and Dice at 0.5 over whole validation images, tiled without overlap."""
        loss: Loss = LOSSES[self.loss]
        if self.validation_loss == "double_sigmoid":
            loss = double_sigmoid(loss)
        values, dices = [], []
        for case in val:
            prob = torch.from_numpy(self._probability(case.image, overlap=0.0))[None, None]
            truth = torch.from_numpy(case.mask)[None, None].float()
            values.append(float(loss(torch.logit(prob, eps=1e-6), truth)))
            found = prob >= 0.5
            dices.append(float(2 * (found * truth).sum() / (found.sum() + truth.sum()).clamp(min=1)))
        return {"loss": float(np.mean(values)), "dice": float(np.mean(dices))}

    def predict(self, image: np.ndarray) -> np.ndarray:
        return self._probability(image, self.window.overlap)

    def _probability(self, image: np.ndarray, overlap: float) -> np.ndarray:
        w = self.window
        self.model.to(self.fabric.device)
        with torch.autocast(self.fabric.device.type, torch.bfloat16, enabled=self.train.precision == "bf16"):
            return probability(self.segmenter(), image, w.field, w.size, overlap, w.batch, self.fabric.device)


def _pixel_loss(loss: Loss) -> StepLoss:
    return lambda model, batch: loss(model(batch.image).float(), batch.mask)
