"""Corrective learning of a network: first plain, then with weights, in one run of `train.fit`.

The paper calls MOCL a "post-processing step" of the SAM adapter (§3.3) and defines no attachment. Two networks can be
corrected: the SAM adapter, with the decoder's upscaled map (a quarter of the input's resolution, prompt width / 8 = 32
channels in Meta's SAM) as embedding E; and the U-Net of the earlier work. Both map an image to (logits, E).

    model = EmbeddingSam(AdaptedSam(sam))
    fit(model, Scheduled([sampler], settings.steps), step_loss(CorrectiveSettings(variant="ours")), settings, folder)
    infer.probability(Foreground(model), image, field, size)

The earlier released code starts corrective learning at epoch 50 of 101: `warmup` is half the steps. It learns by SGD,
Nesterov momentum 0.99, rate 1e-3, poly 0.9, from four patches of one cell type a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import nn

from allinsam_core.learning.augment import Batch
from allinsam_core.learning.instances import MAPS
from allinsam_core.learning.losses import MapSettings, distances
from allinsam_core.learning.train import Sample, StepLoss
from allinsam_core.refinement import mocl
from allinsam_core.settings import Settings

if TYPE_CHECKING:  # so that other networks need no segment-anything
    from allinsam_core.learning.adapter import AdaptedSam

Variant = Literal["none", "paper_eq5", "paper_eq5_dice", "molecular_el", "ours"]


class CorrectiveSettings(Settings):
    """Which corrective loss, and from when. `noise` is the assumed share of wrong pixels of "ours"."""

    variant: Variant = "ours"
    k: int = Field(default=mocl.K, ge=1)
    warmup: float = Field(default=0.5, ge=0, le=1)  # share of the steps with plain BCE + Dice
    noise: float = Field(default=0.2, ge=0, le=0.5)

    def loss(self, progress: float) -> mocl.CorrectiveLoss:
        """The loss at a point of the training, 0 ≤ progress < 1: plain before `warmup`, corrective from it on."""
        if progress < self.warmup:
            return mocl.loss_named("none", self.k)
        options: dict[str, Any] = {"noise": self.noise} if self.variant == "ours" else {}
        return mocl.loss_named(self.variant, self.k, **options)


@dataclass(frozen=True)
class ScheduledBatch(Batch):
    """A batch that knows where in the training it stands (0 ≤ progress < 1) and which cell type it shows."""

    progress: float = 0.0
    task: int = 0

    def to(self, device: torch.device) -> ScheduledBatch:
        return replace(self, image=self.image.to(device), instances=self.instances.to(device))


class Scheduled:
    """Turns samplers into one of `ScheduledBatch`es: one sampler per cell type, which take turns batch by batch.

    total: batches of the whole run (steps × accumulate × processes). As a batch stays a function of its number
    alone, a run that was killed goes on in the phase it was in.
    """

    def __init__(self, samplers: Sequence[Sample], total: int) -> None:
        if not samplers or total < 1:
            raise ValueError(f"{len(samplers)} samplers and {total} batches; expected at least one of each")
        self.samplers, self.total = tuple(samplers), total

    def __call__(self, step: int) -> ScheduledBatch:
        turn, task = divmod(step, len(self.samplers))
        batch = self.samplers[task](turn)
        return ScheduledBatch(batch.image, batch.instances, batch.names, step / self.total, task)


def step_loss(settings: CorrectiveSettings, maps: MapSettings | None = None) -> StepLoss:
    """The loss of one step of `train.fit`, with a `Scheduled` sampler and a model that gives (logits, E).

    maps: the last two logits are instance maps; their loss is added, uncorrected.
    """

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        if not isinstance(batch, ScheduledBatch):
            raise TypeError(f"the batch is a {type(batch).__name__}; wrap the sampler in `Scheduled`")
        logits, embedding = model(batch.image, batch.task)
        own, more = _parted(logits.float())
        value, _ = settings.loss(batch.progress)(own, embedding.float(), batch.mask)
        return value if maps is None else value + distances(more, batch.instances, maps)

    return loss


def _parted(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The one or two logits that say what is nucleus, and those of the instance maps, two or none."""
    own = logits.shape[1] - (MAPS if logits.shape[1] > MAPS else 0)
    return logits[:, :own], logits[:, own:]


class EmbeddingSam(nn.Module):
    """An `AdaptedSam` that also gives its decoder's upscaled map, the embedding E of Eq. (2)."""

    def __init__(self, sam: AdaptedSam) -> None:
        super().__init__()
        self.sam = sam
        self.also_saved = tuple(f"sam.{name}" for name in sam.also_saved)

    def forward(self, image: torch.Tensor, task: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """image: (B, 3, H, W) in [0, 1]. Logits (B, 1 or 3, H, W) and embedding (B, C/8, 4H/patch, 4W/patch).

        An adapter segments one cell type: task other than 0 is a ValueError.
        """
        if task != 0:
            raise ValueError(f"task is {task}; an adapter segments one cell type: train one adapter per type")
        captured: list[torch.Tensor] = []
        upscaling = self.sam.mask_decoder.output_upscaling
        handle = upscaling.register_forward_hook(lambda module, inputs, output: captured.append(output))
        try:
            logits = self.sam(image)
        finally:
            handle.remove()
        return logits, captured[0]


class Foreground(nn.Module):
    """The foreground logit, and those of instance maps, of a model that gives (logits, E): what `infer.maps` asks."""

    def __init__(self, model: nn.Module, task: int = 0) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, _ = self.model(image, self.task)
        own, more = _parted(logits)
        return torch.cat([mocl.foreground(own), more], 1)
