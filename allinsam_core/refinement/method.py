"""Corrective learning as a method of the study: the common network method with a schedule and a corrective loss.

    CorrectiveMethod(MoclUNet(tasks=1), window=…, train=…, augment=…, corrective=…)
    CorrectiveMethod(EmbeddingSam(AdaptedSam(sam)), …)

Windows, training loop, resumption and prediction are `NetworkMethod`'s. Validation compares with the labels it is
given through the method's plain `loss`, whatever the variant, so that variants are chosen by one measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from allinsam_core.data.case import Case
from allinsam_core.learning.augment import Batch
from allinsam_core.learning.method import NetworkMethod
from allinsam_core.learning.multiclass import MulticlassMethod, one_vs_rest
from allinsam_core.learning.train import StepLoss
from allinsam_core.refinement.corrective import (
    CorrectiveSettings,
    Foreground,
    Scheduled,
    ScheduledBatch,
    step_loss,
)


@dataclass
class CorrectiveMethod(NetworkMethod):
    """A network that gives (logits, E), trained plainly for `corrective.warmup` of the steps, then correctively.

    model: `MoclUNet` or `EmbeddingSam`. Every case's instances are the (noisy) annotation of one cell type; with
    several types, one method each.
    """

    corrective: CorrectiveSettings = field(default_factory=CorrectiveSettings)

    def sampler(self, train: Sequence[Case]) -> Scheduled:
        batches = self.train.steps * self.train.accumulate * self.fabric.world_size
        return Scheduled([super().sampler(train)], batches)

    def step_loss(self) -> StepLoss:
        return step_loss(self.corrective, self.instance_maps)

    def segmenter(self) -> nn.Module:
        return Foreground(self.model)


@dataclass
class CorrectiveMulticlass(MulticlassMethod):
    """The same for all classes at once: every class is corrected by its own mask and its own most confident pixels.

    model: `EmbeddingSam`; the classes share its embedding E. The loss is the mean over the classes.
    """

    corrective: CorrectiveSettings = field(default_factory=CorrectiveSettings)

    def sampler(self, train: Sequence[Case]) -> Scheduled:
        batches = self.train.steps * self.train.accumulate * self.fabric.world_size
        return Scheduled([super().sampler(train)], batches)

    def step_loss(self) -> StepLoss:
        def total(model: nn.Module, batch: Batch) -> torch.Tensor:
            assert isinstance(batch, ScheduledBatch)  # noqa: S101
            logits, embedding = model(self.given_batch(batch))
            loss = self.corrective.loss(batch.progress)
            logits = one_vs_rest(logits.float(), self.classes.head)
            each = zip(logits.split(1, dim=1), self.targets(batch).split(1, dim=1), strict=True)
            return torch.stack([loss(own, embedding.float(), target)[0] for own, target in each]).mean()

        return total
