"""The small interface that every method of the study speaks, and the one that trained networks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from allinsam_core.annotation.attention import fold, recompute
from allinsam_core.data.case import Case
from allinsam_core.learning import checkpoint
from allinsam_core.learning.augment import AugmentSettings, Batch, CropSampler
from allinsam_core.learning.devices import fabric_on
from allinsam_core.learning.infer import maps
from allinsam_core.learning.instances import InstanceSettings, nuclei
from allinsam_core.learning.losses import LOSSES, Loss, MapSettings, distances, double_sigmoid
from allinsam_core.learning.threshold import rescaled
from allinsam_core.learning.train import Sample, StepLoss, TrainSettings, fit
from allinsam_core.settings import Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Method(ABC):
    """Fit on annotated cases, then segment others. The test images never reach `fit`.

    `fit` and `predict` are what a method must say; the rest has defaults, for whoever needs something else.
    """

    def prepare(self, images: Sequence[np.ndarray], cache: Path) -> None:
        """Learn from all training images without their labels, before `fit`; by default nothing.

        images: (H, W, 3) uint8 each. cache: a folder that runs may share.
        """
        return

    @abstractmethod
    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        """Learn; `folder` is for checkpoints. Returns what happened, ready for the run record."""

    @abstractmethod
    def predict(self, image: np.ndarray) -> np.ndarray:
        """Foreground probability (H, W) float32 in [0, 1] of what `given` makes of a case, mostly (H, W, 3) uint8."""

    def predict_maps(self, image: np.ndarray) -> np.ndarray:
        """All maps of what `given` makes of a case: the probability, (1, H, W), or with instance maps (3, H, W)."""
        return self.predict(image)[None]

    def given(self, case: Case) -> np.ndarray:
        """What the method may see of a case that it segments: its pixels, and nothing of its truth."""
        return case.image

    def segment(
        self, case: Case, settings: InstanceSettings | None = None, threshold: float = 0.5
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probability (H, W) float32 and labels (H, W) integers, 0 = background, of a case.

        threshold: the probability from which a pixel is nucleus; all are rescaled so that it becomes 0.5.
        """
        maps = self.maps_of(case, threshold)
        return maps[0], nuclei(maps, settings, case.spacing)

    def maps_of(self, case: Case, threshold: float = 0.5) -> np.ndarray:
        """The maps of a case by which `segment` parts nuclei, the probability rescaled by `threshold`."""
        prob, *distances = self.predict_maps(self.given(case))
        return np.stack([rescaled(prob, threshold), *distances])

    @property
    def network(self) -> nn.Module | None:
        """What is trained; None for methods without a network."""
        return None

    @property
    def runs_on(self) -> torch.device:
        """Where it computes."""
        return torch.device("cpu")

    def cost(self) -> dict[str, int]:
        """Parameters of the network: total, and those that training changes; zero without one."""
        sizes = [(p.numel(), p.requires_grad) for p in self.network.parameters()] if self.network is not None else []
        return {"total": sum(n for n, _ in sizes), "trained": sum(n for n, trained in sizes if trained)}

    def describe(self) -> str:
        """Device, precision and sizes in a line, to be printed once; "" where there is nothing to say."""
        return ""

    def save(self, path: Path, base: str, note: dict[str, str]) -> None:
        """Write what was trained; by default nothing. base: checksum of the weights that it was trained on."""
        return


class WindowSettings(Settings):
    """How a network sees an image. field: window side in image pixels; size: side of the network's input.

    train_field: another field for training crops, which are then magnified by another factor than test images:
    200 with size 1024 is what the released code does to 200 px crops. None: the same field.
    """

    field: int = Field(default=256, gt=0)
    size: int = Field(default=256, gt=0)
    train_field: int | None = Field(default=None, gt=0)
    overlap: float = Field(default=0.25, ge=0, lt=1)
    batch: int = Field(default=8, gt=0)


@dataclass
class NetworkMethod(Method):
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
        self.fabric = fabric_on(self.device, self.train.devices)
        if self.train.attention == "folded":
            fold(self.model)
        if self.train.activations == "recomputed":
            recompute(self.model)

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        side = self.train.validation_crop
        validated = val if side is None else [case.middle(side) for case in val]
        history = fit(
            self.model,
            self.sampler(train),
            self.step_loss(),
            self.train,
            folder,
            validate=lambda _: self.validate(validated),
            seed=self.seed,
            fabric=self.fabric,
        )
        return dict(vars(history))

    def weights(self, train: Sequence[Case]) -> Sequence[float] | None:
        """How often each case is sampled; None: in proportion to its area."""
        return None

    def sampler(self, train: Sequence[Case]) -> Sample:
        """The batches to learn from."""
        return CropSampler(
            train,
            self.window.train_field or self.window.field,
            self.window.size,
            self.train.batch_size,
            self.seed,
            self.augment,
            self.weights(train),
        )

    def step_loss(self) -> StepLoss:
        """What a training step minimises."""
        loss, settings = LOSSES[self.loss], self.instance_maps
        if settings is None:
            return lambda model, batch: loss(model(self.given_batch(batch)).float(), batch.mask)

        def total(model: nn.Module, batch: Batch) -> torch.Tensor:
            logits = model(self.given_batch(batch)).float()
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
            prob = torch.from_numpy(self._maps(self.given(case), overlap=0.0)[0])[None, None]
            truth = torch.from_numpy(case.mask)[None, None].float()
            values.append(float(loss(torch.logit(prob, eps=1e-6), truth)))
            found = prob >= 0.5
            dices.append(float(2 * (found * truth).sum() / (found.sum() + truth.sum()).clamp(min=1)))
        return {"loss": float(np.mean(values)), "dice": float(np.mean(dices))}

    def given_batch(self, batch: Batch) -> torch.Tensor:
        """What the network is given of a training batch, as `given` of a case: the images, (B, 3, S, S) float32."""
        return batch.image

    @property
    def network(self) -> nn.Module:
        return self.model

    @property
    def runs_on(self) -> torch.device:
        return self.fabric.device

    def describe(self) -> str:
        count = self.train.devices or 1
        return (
            f"device {self.runs_on}{f' and {count - 1} more' if count > 1 else ''}, precision {self.train.precision}, "
            f"attention {self.train.attention or 'as in segment-anything (eager)'}; parameters {self.cost()}"
        )

    def save(self, path: Path, base: str, note: dict[str, str]) -> None:
        checkpoint.save(self.model, path, base, note)

    def predict(self, image: np.ndarray) -> np.ndarray:
        return self.predict_maps(image)[0]

    def predict_maps(self, image: np.ndarray) -> np.ndarray:
        """All maps of an image, (1, H, W) or with instance maps (3, H, W) float32 in [0, 1], the probability first."""
        return self._maps(image, self.window.overlap)

    def _maps(self, image: np.ndarray, overlap: float) -> np.ndarray:
        w = self.window
        self.model.to(self.fabric.device)
        bfloat16 = self.train.precision == "bf16"
        return maps(self.segmenter(), image, w.field, w.size, overlap, w.batch, self.fabric.device, bfloat16)
