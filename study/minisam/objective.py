"""What mini2 is pre-trained for: masks of prompted nuclei and, without a prompt, all nuclei, parted.

Prompted as in `pretrain` (Kirillov et al. 2023, appendix A). Without a prompt, mask token 0 answers with the foreground
tokens 1 and 2 with the two distances of `learning.instances` (Archit et al. 2025, micro-sam's decoder), which part
nuclei that touch. Two things differ from `pretrain`: a mask's cross-entropy counts the pixels about its box, not the
whole window, of which a nucleus is half a percent; and no focal weights, so that masks are as large as the nuclei.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from allinsam_core.annotation import ellipse
from allinsam_core.learning import instances, losses
from allinsam_core.learning.augment import Batch
from allinsam_core.learning.train import StepLoss
from study.minisam.pretrain import PromptableSam, Prompts, draw_prompts, true_ious

FAR = 0.02  # weight of a pixel outside of the doubled box
PROMPTS = 4  # per image
ELLIPSES = 0.7  # share of the boxes that bring their inscribed ellipse


def surroundings(box: torch.Tensor, input_size: int, side: int) -> torch.Tensor:
    """(N, 1, side, side): 1 in the box doubled about its centre, FAR elsewhere. box: (N, 4) XYXY px of the input."""
    at = (torch.arange(side, device=box.device) + 0.5) * (input_size / side)
    centre, reach = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    x, y = ((at - centre[:, axis, None]).abs() <= reach[:, axis, None] for axis in (0, 1))
    return torch.where(y[:, :, None] & x[:, None, :], 1.0, FAR)[:, None]


def mask_costs(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy + Dice of each candidate mask: (N, T, h, w), (N, 1, h, w), (N, 1, h, w) → (N, T)."""
    target = target.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (weight * entropy).sum((2, 3)) / weight.sum((2, 3))
    prob = logits.sigmoid()
    dice = 1 - (2 * (prob * target).sum((2, 3)) + 1) / (prob.sum((2, 3)) + target.sum((2, 3)) + 1)
    return entropy + dice


def prompt_loss(masks: torch.Tensor, ious: torch.Tensor, prompts: Prompts) -> torch.Tensor:
    """Single-mask token plus the best of the three others, and the squared error of the predicted IoUs."""
    target = F.adaptive_avg_pool2d(prompts.mask, masks.shape[-1])
    costs = mask_costs(masks, target, surroundings(prompts.box, prompts.mask.shape[-1], masks.shape[-1]))
    quality = F.mse_loss(ious, true_ious(masks.detach(), target))
    return (costs[:, 0] + costs[:, 1:].min(dim=1).values).mean() + quality


def promptless_loss(maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Foreground: cross-entropy + Dice. Distances: mean absolute error inside of nuclei plus that outside of them.

    maps: (B, 3, S, S) logits. labels: (B, S, S).
    """
    inside = (labels > 0).float()[:, None]
    away = (maps[:, 1:].sigmoid() - instances.targets(labels)).abs()
    parts = [(away * where).sum() / (2 * where.sum()).clamp(min=1) for where in (inside, 1 - inside)]
    return losses.bce_dice(maps[:, :1], inside) + parts[0] + parts[1]


def step_loss(prompts_per_image: int = PROMPTS, ellipses: float = ELLIPSES) -> StepLoss:
    """The loss of one training step, for `train.fit`."""

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        rng = np.random.default_rng(int(torch.randint(2**31, (1,))))
        prompts = draw_prompts(batch.instances, prompts_per_image, rng, ellipses)
        maps, masks, ious = (t.float() for t in model(batch.image, prompts))
        value = promptless_loss(maps, batch.instances)
        if len(prompts.image):
            value = value + prompt_loss(masks, ious, prompts)
        return value

    return loss


@torch.no_grad()
def evaluate(model: PromptableSam, batches: Sequence[Batch], per_image: int = 8) -> dict[str, float]:
    """Held-out figures: the promptless loss, Dice and mean distance error inside of nuclei; mean IoU of single masks
    from boxes with their ellipse and from points, and of the ellipses themselves."""
    total: dict[str, list[float]] = {
        k: [] for k in ("loss", "dice", "distance_error", "box_iou", "point_iou", "ellipse_iou")
    }
    for index, batch in enumerate(batches):
        prompts = draw_prompts(batch.instances, per_image, np.random.default_rng(index), 1.0)
        maps, masks, _ = (t.float() for t in model(batch.image, prompts))
        total["loss"].append(float(promptless_loss(maps, batch.instances)))
        found, wanted = maps[:, :1] > 0, batch.mask > 0.5
        both = 2 * (found & wanted).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + wanted.sum((1, 2, 3))).clamp(min=1)
        total["dice"].extend(both.tolist())
        away = (maps[:, 1:].sigmoid() - instances.targets(batch.instances)).abs()
        total["distance_error"].append(float(away[wanted.expand_as(away)].mean()))
        grown = F.interpolate(masks[:, :1], size=prompts.mask.shape[-2:], mode="bilinear", align_corners=False)
        iou = true_ious(grown, prompts.mask)[:, 0]
        total["box_iou"].extend(iou[prompts.is_box].tolist())
        total["point_iou"].extend(iou[~prompts.is_box].tolist())
        side = prompts.mask.shape[-1]
        drawn = true_ious(ellipse.logits(prompts.box, side, side), prompts.mask)[:, 0]
        total["ellipse_iou"].extend(drawn[prompts.is_box].tolist())
    return {name: float(np.mean(values)) for name, values in total.items()}
