"""The molecular arm's methods: networks trained with a corrective loss (stage 3), ready to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from allinsam_core.data.case import Case
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.augment import CropSampler
from allinsam_core.learning.infer import probability
from allinsam_core.learning.method import NetworkMethod
from allinsam_core.learning.train import fit
from allinsam_core.refinement.corrective import CorrectiveSettings, EmbeddingSam, Foreground, Scheduled, step_loss
from allinsam_core.refinement.network import MoclUNet
from allinsam_core.study import methods
from allinsam_core.study.molecular_config import MoclSettings, MolecularConfig


@dataclass
class CorrectiveMethod(NetworkMethod):
    """A network that gives (logits, E), trained plainly first and with the corrective loss then; last weights kept."""

    corrective: CorrectiveSettings = field(default_factory=CorrectiveSettings)

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        w, t = self.window, self.train
        sampler = CropSampler(train, w.train_field or w.field, w.size, t.batch_size, self.seed, self.augment)
        scheduled = Scheduled([sampler], t.steps * t.accumulate)
        loss = step_loss(self.corrective)
        return dict(vars(fit(self.model, scheduled, loss, t, folder, seed=self.seed, fabric=self.fabric)))

    def _probability(self, image: np.ndarray, overlap: float) -> np.ndarray:
        w = self.window
        model = Foreground(self.model.to(self.fabric.device))
        with torch.autocast(self.fabric.device.type, torch.bfloat16, enabled=self.train.precision == "bf16"):
            return probability(model, image, w.field, w.size, overlap, w.batch, self.fabric.device)


def build(config: MolecularConfig, device: str = "auto") -> CorrectiveMethod:
    """The method of a run, untrained, with the initial weights that its seed gives. device: as in `methods.build`."""
    if isinstance(config.model, MoclSettings):
        torch.manual_seed(config.seed)
        network: torch.nn.Module = MoclUNet(tasks=1, width=config.model.width)
    else:
        adapted = methods.network(config.model, config.seed)
        if not isinstance(adapted, AdaptedSam):
            raise TypeError(f"{config.method}: model is a {type(adapted).__name__}, expected an adapted SAM")
        network = EmbeddingSam(adapted)
    return CorrectiveMethod(
        network,
        window=config.window,
        train=config.train,
        augment=config.augment,
        seed=config.seed,
        device=device,
        corrective=config.corrective,
    )
