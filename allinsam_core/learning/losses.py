"""Losses on logits. logits and target: (B, 1, H, W) float, target in [0, 1]; every loss is a mean over the batch.

That of the instance maps, `distances`, takes labels instead.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict

from allinsam_core.learning.instances import targets

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_IMAGE = (1, 2, 3)


def bce(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, mean over pixels."""
    return F.binary_cross_entropy_with_logits(logits, target)


def soft_iou(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 − Σpt / (Σp + Σt − Σpt) per image, p = sigmoid(logits); no smoothing term (released code).

    Without foreground in map and truth it is 1, the limit from any map, where the released code's is NaN.
    """
    prob = logits.sigmoid()
    overlap = (prob * target).sum(_IMAGE)
    union = prob.sum(_IMAGE) + target.sum(_IMAGE) - overlap
    return (1 - overlap / union.clamp(min=1e-30)).mean()


def dice(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 − (2Σpt + 1) / (Σp + Σt + 1) per image (Milletari et al. 2016, with the smoothing of common use)."""
    prob = logits.sigmoid()
    overlap = (prob * target).sum(_IMAGE)
    return (1 - (2 * overlap + 1) / (prob.sum(_IMAGE) + target.sum(_IMAGE) + 1)).mean()


def focal(logits: torch.Tensor, target: torch.Tensor, gamma: float = 2.0, alpha: float = 0.25) -> torch.Tensor:
    """Focal loss (Lin et al. 2017), mean over pixels; SAM's mask loss uses it with these constants."""
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    prob = logits.sigmoid()
    hit = prob * target + (1 - prob) * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * (1 - hit) ** gamma * ce).mean()


def bce_iou(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The adapter's training loss in the released code: BCE + soft IoU."""
    return bce(logits, target) + soft_iou(logits, target)


def bce_dice(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """BCE + Dice."""
    return bce(logits, target) + dice(logits, target)


def double_sigmoid(loss: Loss) -> Loss:
    """The released code's validation loss: maps that are probabilities already pass the sigmoid once more."""
    return lambda logits, target: loss(logits.sigmoid(), target)


class MapSettings(BaseModel):
    """How a network learns the two maps of `instances`. weight: of their loss beside the foreground's.

    outside: weight of a background pixel beside that of a nucleus pixel, which is 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = 1.0
    outside: float = 0.1


def distances(logits: torch.Tensor, labels: torch.Tensor, settings: MapSettings) -> torch.Tensor:
    """Squared error of the two maps, sigmoid(logits), as a weighted mean over pixels, times `settings.weight`.

    logits: (B, 2, H, W); labels: (B, H, W) integers. torch-em's `DistanceLoss` is the case outside = 0, but divides by
    all pixels, so that the maps count for less where nuclei are few.
    """
    weight = torch.where(labels > 0, 1.0, settings.outside)[:, None]
    error = (logits.sigmoid() - targets(labels)).square().mean(1, keepdim=True)
    return settings.weight * (error * weight).sum() / weight.sum().clamp(min=1)


LOSSES: dict[str, Loss] = {
    "bce": bce,
    "soft_iou": soft_iou,
    "dice": dice,
    "bce_iou": bce_iou,
    "bce_dice": bce_dice,
}
