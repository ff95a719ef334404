"""Corrective learning as a method of the study: the common network method with a schedule and a corrective loss.

    CorrectiveMethod(MoclUNet(tasks=1), window=…, train=…, augment=…, corrective=…)
    CorrectiveMethod(EmbeddingSam(AdaptedSam(sam)), …)

Windows, training loop, resumption and prediction are `NetworkMethod`'s. Validation compares with the labels it is
given through the method's plain `loss`, whatever the variant, so that variants are chosen by one measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from allinsam_core.data.case import Case
from allinsam_core.learning.method import NetworkMethod
from allinsam_core.learning.train import StepLoss
from allinsam_core.refinement.corrective import (
    CorrectiveSettings,
    Foreground,
    Scheduled,
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
