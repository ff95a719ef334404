"""nnU-Net's own trainer, made resumable to the same weights."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from allinsam_core.learning.devices import mixed_precision


class BudgetTrainer(nnUNetTrainer):
    """nnU-Net's trainer: same network, loss, optimiser, schedule, sampling and augmentation.

    Different: every epoch starts from a random state that (seed, epoch) decides, so that training continued from a
    checkpoint is the training that was never interrupted (without augmentation processes); a checkpoint appears whole
    or not at all; bfloat16 arithmetic on a processor, where wanted (nnU-Net itself uses float16 on a GPU). The budget
    (`num_epochs`, `num_iterations_per_epoch`, …) is set on the object by whoever makes it.
    """

    seed: int = 0
    bf16: bool = False

    def autocast(self) -> torch.autocast:
        """Mixed precision on a processor only; on a GPU nnU-Net's own float16 stays as it is."""
        return mixed_precision("cpu", self.bf16 and self.device.type == "cpu")

    def initialize(self) -> None:
        torch.manual_seed(self.seed)
        super().initialize()

    def on_train_epoch_start(self) -> None:
        state = (self.seed * 1_000_003 + self.current_epoch) % 2**32
        random.seed(state)
        np.random.seed(state)  # noqa: NPY002 (what nnU-Net's loader and augmentation draw from)
        torch.manual_seed(state)
        super().on_train_epoch_start()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        with self.autocast():
            return super().train_step(batch)

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        with self.autocast():
            return super().validation_step(batch)

    def save_checkpoint(self, filename: str) -> None:
        unfinished = filename + ".unfinished"
        super().save_checkpoint(unfinished)
        if Path(unfinished).is_file():
            os.replace(unfinished, filename)

    def plot_network_architecture(self) -> None:
        """Not drawn: it needs a package that is no longer kept."""
