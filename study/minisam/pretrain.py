"""Pre-training of mini-SAM, as SAM was: prompts in, masks out (Kirillov et al. 2023, §5 and appendix A).

Boxes with jitter and single points, several per image; focal and Dice loss, for the best of three masks
where a prompt is ambiguous; an IoU head that learns how good each mask is. One thing is added, because it
is what the adapter builds on: without a prompt the single-mask token segments all nuclei. A second phase
goes on with most boxes accompanied by their inscribed ellipse as a mask prompt (`annotation.ellipse`).
Data: DSB2018 (CC0) and simulated tissue only. MoNuSeg is never trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from scipy.ndimage import find_objects
from torch import nn

from allinsam_core.annotation import ellipse
from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.sam import Sam, decode
from allinsam_core.learning import losses
from allinsam_core.learning.augment import AugmentSettings, Batch, CropSampler
from allinsam_core.learning.train import StepLoss, TrainSettings

AUGMENT = AugmentSettings(zoom=0.45, stain=0.4, shift=0.05, blur=0.3, noise=0.04, on_nuclei=0.8, colour=0.12)
SETTINGS = TrainSettings(
    steps=2000,
    batch_size=8,
    learning_rate=1e-3,
    weight_decay=0.05,
    warmup=100,
    final_rate=1e-6,
    clip=1.0,
    precision="bf16",
    checkpoint_every=200,
    validate_every=500,
)


class Phase(BaseModel):
    """A stretch of pre-training with its own optimiser and cosine. ellipses: share of boxes that bring theirs.

    stop: the step at which the phase ends, before its cosine does; None: at its end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ellipses: float
    train: TrainSettings
    stop: int | None = None

    @property
    def steps(self) -> int:
        return self.train.steps if self.stop is None else self.stop


def _train(steps: int, learning_rate: float, warmup: int = 100) -> TrainSettings:
    return SETTINGS.model_copy(update={"steps": steps, "learning_rate": learning_rate, "warmup": warmup})


PHASES = (
    Phase(name="prompts", ellipses=0.0, train=SETTINGS),
    Phase(
        name="ellipses", ellipses=0.8, train=_train(3000, 7e-4), stop=600
    ),  # cut short: too slow for the time there was
    Phase(name="settling", ellipses=0.8, train=_train(1400, 6e-4, warmup=50)),
    Phase(name="cleared", ellipses=0.8, train=_train(1300, 5e-4, warmup=50)),  # first to see style.CLEARED
)
FIELD = 150  # px of the training images that fill mini-SAM's input
NUCLEUS = 22.0  # px, median equivalent diameter that every source is rescaled to
PROMPTS = 6  # per image


class Prompts(NamedTuple):
    """One prompt per row: image index (N,), box (N, 4) XYXY, point (N, 1, 2) XY, is_box (N,), mask (N, 1, S, S).

    ellipse: (N,), whether the box brings its inscribed ellipse as a mask prompt; never with a point.
    """

    image: torch.Tensor
    box: torch.Tensor
    point: torch.Tensor
    is_box: torch.Tensor
    mask: torch.Tensor
    ellipse: torch.Tensor


def draw_prompts(
    instances: torch.Tensor, per_image: int, rng: np.random.Generator, ellipses: float = 0.0, smallest: int = 30
) -> Prompts:
    """Boxes and points for up to `per_image` nuclei of each image. instances: (B, S, S) int64.

    A box is tight (one in three) or has each side moved by U(−0.08, 0.2) of the box's length, outwards
    positive, at most 20 px; a point is any pixel of the nucleus. Nuclei under `smallest` pixels are left out.
    ellipses: share of the boxes that bring their ellipse.
    """
    owners, boxes, points, masks = [], [], [], []
    for index, labels in enumerate(instances.cpu().numpy()):
        area = np.bincount(labels.ravel())
        area[0] = 0
        found = np.flatnonzero(area >= smallest)
        objects = find_objects(labels.astype(np.int32))
        for value in rng.permutation(found)[:per_image]:
            rows, cols = objects[value - 1]
            box = np.array([cols.start, rows.start, cols.stop, rows.stop], dtype=np.float32)
            if rng.random() > 1 / 3:
                sides = np.tile([box[2] - box[0], box[3] - box[1]], 2)
                move = np.clip(rng.uniform(-0.08, 0.2, 4) * sides, -20, 20)
                box = np.clip(box + move * (-1, -1, 1, 1), 0, labels.shape[0])
            inside = np.argwhere(labels[rows, cols] == value)
            y, x = inside[rng.integers(len(inside))] + (rows.start, cols.start)
            owners.append(index)
            boxes.append(box)
            points.append((x, y))
            masks.append(labels == value)
    is_box = torch.tensor(rng.random(len(owners)) < 0.65)
    return Prompts(
        torch.tensor(owners, dtype=torch.int64),
        torch.tensor(np.array(boxes, dtype=np.float32).reshape(-1, 4)),
        torch.tensor(np.array(points, dtype=np.float32).reshape(-1, 1, 2)),
        is_box,
        torch.tensor(np.array(masks, dtype=np.float32).reshape(-1, 1, *instances.shape[-2:])),
        is_box & torch.tensor(rng.random(len(owners)) < ellipses),
    )


class PromptableSam(nn.Module):
    """A SAM's forward pass for training: promptless logits, and masks and IoUs for every prompt."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: torch.Tensor, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """image: (B, 3, S, S) in [0, 1]. Promptless logits (B, 3, S, S), mask logits (N, 4, s, s), IoUs (N, 4).

        The promptless maps are those of mask tokens 0 (foreground), 1 and 2 (see `objective`).
        """
        sam = self.sam
        embedding, fine = self._encoded(image)
        position = sam.prompt_encoder.get_dense_pe()[0]
        no_mask = sam.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        everything = self._without_prompt(embedding, fine, image.shape[-2:])
        sparse, dense = self.embed(prompts), self.hint(prompts, no_mask)
        own = tuple(each[prompts.image] for each in fine)
        masks, ious = decode(sam.mask_decoder, embedding[prompts.image], position, sparse, dense, slice(0, 4), own)
        return everything, masks, ious

    def promptless(self, image: torch.Tensor) -> torch.Tensor:
        """The promptless logits alone."""
        return self._without_prompt(*self._encoded(image), image.shape[-2:])

    def _encoded(self, image: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return sams.embed(self.sam, (image * 255 - self.sam.pixel_mean) / self.sam.pixel_std)

    def _without_prompt(
        self, embedding: torch.Tensor, fine: tuple[torch.Tensor, ...], shape: torch.Size
    ) -> torch.Tensor:
        encoder = self.sam.prompt_encoder
        no_mask = encoder.no_mask_embed.weight[:, :, None, None]
        empty = embedding.new_empty(len(embedding), 0, embedding.shape[1])
        position = encoder.get_dense_pe()[0]
        low, _ = decode(self.sam.mask_decoder, embedding, position, empty, no_mask, slice(0, 3), fine)
        return F.interpolate(low, size=shape, mode="bilinear", align_corners=False)

    def hint(self, prompts: Prompts, no_mask: torch.Tensor) -> torch.Tensor:
        """The dense part of a prompt, (N, C, h, w) or (1, C, 1, 1): its ellipse where it brings one."""
        if not prompts.ellipse.any():
            return no_mask
        encoder = self.sam.prompt_encoder
        side = encoder.mask_input_size[0]
        hints = encoder.mask_downscaling(ellipse.logits(prompts.box, encoder.input_image_size[0], side))
        return torch.where(prompts.ellipse[:, None, None, None], hints, no_mask)

    def embed(self, prompts: Prompts) -> torch.Tensor:
        """Two tokens a prompt, (N, 2, C): a box's corners, or a point and SAM's padding point."""
        encoder = self.sam.prompt_encoder
        box, _ = encoder(points=None, boxes=prompts.box, masks=None)
        positive = torch.ones(len(prompts.point), 1, device=prompts.point.device)
        point, _ = encoder(points=(prompts.point, positive), boxes=None, masks=None)
        return torch.where(prompts.is_box[:, None, None], box, point)


def mask_costs(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """20 · focal + Dice of every candidate mask. logits: (N, T, h, w); target: (N, 1, h, w). Returns (N, T)."""
    target = target.expand_as(logits)
    prob = logits.sigmoid()
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    hit = prob * target + (1 - prob) * (1 - target)
    focal = ((0.25 * target + 0.75 * (1 - target)) * (1 - hit) ** 2 * ce).mean((2, 3))
    overlap = (prob * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (prob.sum((2, 3)) + target.sum((2, 3)) + 1)
    return 20 * focal + dice


def true_ious(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """IoU of every thresholded mask with its target. (N, T, h, w), (N, 1, h, w) → (N, T)."""
    found, wanted = logits > 0, target > 0.5
    return (found & wanted).sum((2, 3)) / (found | wanted).sum((2, 3)).clamp(min=1)


def prompt_loss(masks: torch.Tensor, ious: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Single-mask token plus the best of the three others, and the squared error of the predicted IoUs."""
    small = F.adaptive_avg_pool2d(target, masks.shape[-1])
    costs = mask_costs(masks, small)
    quality = F.mse_loss(ious, true_ious(masks.detach(), small))
    return (costs[:, 0] + costs[:, 1:].min(dim=1).values).mean() + quality


def step_loss(prompts_per_image: int = PROMPTS, ellipses: float = 0.0) -> StepLoss:
    """The loss of one training step, for `train.fit`: promptless BCE + soft IoU, plus the prompts' loss."""

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        rng = np.random.default_rng(int(torch.randint(2**31, (1,))))
        prompts = draw_prompts(batch.instances, prompts_per_image, rng, ellipses)
        everything, masks, ious = (t.float() for t in model(batch.image, prompts))
        value = losses.bce_dice(everything[:, :1], batch.mask)
        if len(prompts.image):
            value = value + prompt_loss(masks, ious, prompts.mask)
        return value

    return loss


def evaluate(
    model: PromptableSam, batches: Sequence[Batch], ellipses: float = 0.0, per_image: int = 8
) -> dict[str, float]:
    """Held-out figures: promptless loss and Dice, mean IoU of single masks from boxes and from points.

    And of the boxes' ellipses themselves, which a network that looks at the image must beat. ellipses: share of the
    boxes that bring theirs.
    """
    device = next(model.parameters()).device
    total: dict[str, list[float]] = {k: [] for k in ("loss", "dice", "box_iou", "point_iou", "ellipse_iou")}
    for index, held in enumerate(batches):
        batch = held.to(device)
        prompts = draw_prompts(batch.instances, per_image, np.random.default_rng(index), ellipses)
        maps, masks, _ = model(batch.image, prompts)
        everything = maps[:, :1]
        total["loss"].append(float(losses.bce_dice(everything, batch.mask)))
        found, wanted = everything > 0, batch.mask > 0.5
        both = (found & wanted).sum((1, 2, 3)) * 2 / (found.sum((1, 2, 3)) + wanted.sum((1, 2, 3))).clamp(min=1)
        total["dice"].extend(both.tolist())
        grown = F.interpolate(masks[:, :1], size=prompts.mask.shape[-2:], mode="bilinear", align_corners=False)
        iou = true_ious(grown, prompts.mask)[:, 0]
        total["box_iou"].extend(iou[prompts.is_box].tolist())
        drawn = ellipse.logits(prompts.box, prompts.mask.shape[-1], prompts.mask.shape[-1])
        total["ellipse_iou"].extend(true_ious(drawn, prompts.mask)[:, 0][prompts.is_box].tolist())
        total["point_iou"].extend(iou[~prompts.is_box].tolist())
    return {name: float(np.mean(values)) for name, values in total.items()}


def held_out_batches(sampler: CropSampler, count: int) -> list[Batch]:
    """Fixed batches of a sampler over held-out cases."""
    return [sampler(step) for step in range(count)]
