"""The optimiser of a training, and its rate at every step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from allinsam_core.learning.train import TrainSettings

COOLDOWN = 0.2  # last part of a trapezoid, in which the rate falls


def cooldown_start(settings: TrainSettings) -> int:
    """The step at which a trapezoid's rate begins to fall. Until then training does not depend on `steps`."""
    return settings.steps - round(COOLDOWN * settings.steps)


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The rate of `step` (0-based): linear warm-up, then cosine, poly 0.9, constant or trapezoid.

    The trapezoid is constant and falls linearly to `final_rate` over the last fifth of the steps, so that a run can be
    lengthened or ended early without having chosen its length beforehand (Hägele et al. 2024, arXiv 2405.18392).
    """
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    if settings.schedule == "cosine":
        span = settings.learning_rate - settings.final_rate
        return settings.final_rate + span * (1 + math.cos(math.pi * progress)) / 2
    if settings.schedule == "poly":
        return settings.learning_rate * (1 - progress) ** 0.9
    if settings.schedule == "trapezoid" and step >= (start := cooldown_start(settings)):
        left = (settings.steps - step) / (settings.steps - start)
        return settings.final_rate + (settings.learning_rate - settings.final_rate) * left
    return settings.learning_rate


def optimizer_of(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum over the parameters that require a gradient."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            settings.learning_rate,
            momentum=0.99,
            nesterov=True,
            weight_decay=settings.weight_decay,
        )
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
