"""Xie et al. 2020 (MICCAI, arXiv 2007.11186): a residual U-Net whose encoder first learns from unlabelled images.

Two pretexts share one encoder. A crop (anchor), another of the same size beside it (positive) and a magnified part of
that one (negative) are mapped to 128-vectors z. Scale-wise triplet learning draws z of anchor and positive together
and pushes the negative away, whose nuclei look larger; count ranking asks a linear score of z to be higher for the
positive, which holds every nucleus of the negative and more. Then the encoder is fine-tuned as part of a U-Net.

Faithful: both losses with margin 1, their plain sum, squared distances, crop sides 768 and {512, 256, 128, 64},
ResNet-101 as encoder (the default: 51,101,809 parameters), pre-training on all training images without their labels
and fine-tuning on a part of them. Different, and why:
- The decoder is MONAI's `FlexibleUNet`, the encoder MONAI's ResNet, random at the start as the paper's own.
- Foreground, or foreground and two distance maps, instead of body, boundary and background: every method of the study
  is parted into instances by the same watershed, so its AJI is real and comparable.
- Optimiser, schedule and augmentation of fine-tuning are the study's; the pretext is not augmented.
- Details were taken from the abstract and two summaries of the paper: "beside" is read as at most half a side away,
  both ways, within the image, as a 1000 px image has no room for two crops of 768 px that do not overlap.
A magnified crop is also smoother; the pretext can be solved by that, as the paper's could.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import nn

from allinsam_core.data.case import Case
from allinsam_core.learning.augment import Batch
from allinsam_core.learning.method import NetworkMethod
from allinsam_core.learning.train import History, TrainSettings, fit
from allinsam_core.settings import Settings
from study.methods import NetworkSettings
from study.rivals.networks import FlexibleUNet

LATENT = 128
Backbone = Literal["resnet10", "resnet18", "resnet34", "resnet50", "resnet101"]


class PretextSettings(Settings):
    """side: of anchor and positive, px; parts: sides that a negative is cut from the positive with, px."""

    side: int = 768
    parts: tuple[int, ...] = (512, 256, 128, 64)
    margin: float = 1.0
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _parts_are_parts(self) -> PretextSettings:
        if not self.parts or not all(0 < part < self.side for part in self.parts):
            raise ValueError(f"parts {self.parts}: expected sides between 0 and {self.side} px, the positive's")
        return self


class XieSettings(NetworkSettings):
    """decoder: channels of the U-Net's way up. pretext: None trains the same network from random weights."""

    kind: Literal["xie"] = "xie"
    backbone: Backbone = "resnet101"
    decoder: tuple[int, ...] = (256, 128, 64, 32, 16)
    pretext: PretextSettings | None = PretextSettings()

    def initial(self, outputs: int = 1) -> ResUNet:
        return ResUNet(self, outputs)

    def form(self) -> type[NetworkMethod]:
        return NetworkMethod if self.pretext is None else SelfSupervised


class ResUNet(nn.Module):
    """image (B, 3, H, W) in [0, 1], H and W multiples of 32 → logits (B, outputs, H, W)."""

    def __init__(self, settings: XieSettings, outputs: int = 1) -> None:
        super().__init__()
        self.settings = settings
        self.net = FlexibleUNet(3, outputs, settings.backbone, decoder_channels=settings.decoder, spatial_dims=2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net((image - 0.5) / 0.25)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """image (B, 3, H, W) → the encoder's deepest features, averaged over the picture: (B, C)."""
        return self.net.encoder((image - 0.5) / 0.25)[-1].mean((2, 3))


def triplet(anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float) -> torch.Tensor:
    """Mean of max(0, |a − p|² − |a − n|² + margin) over the batch; all (B, 128)."""
    near, far = (anchor - positive).square().sum(1), (anchor - negative).square().sum(1)
    return F.relu(near - far + margin).mean()


def count_ranking(more: torch.Tensor, fewer: torch.Tensor, margin: float) -> torch.Tensor:
    """Mean of max(0, fewer − more + margin): zero where the picture with more nuclei scores higher by the margin."""
    return F.relu(fewer - more + margin).mean()


class Pretext(nn.Module):
    """The encoder with its two heads. crops (3B, 3, S, S): anchors, positives, negatives → latents z, scores."""

    def __init__(self, unet: ResUNet) -> None:
        super().__init__()
        self.encoder = unet.net.encoder
        self.features = unet.features
        with torch.no_grad():
            width = unet.eval().features(torch.zeros(1, 3, 64, 64)).shape[1]
        self.latent, self.count = nn.Linear(width, LATENT), nn.Linear(LATENT, 1)

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        latents = self.latent(self.features(crops)).float()
        return latents, self.count(latents).float()[:, 0]


def pretext_loss(model: nn.Module, batch: Batch, margin: float) -> torch.Tensor:
    """Triplet + count ranking of a batch of `TripletSampler`."""
    latents, scores = model(batch.image)
    anchor, positive, negative = latents.chunk(3)
    _, more, fewer = scores.chunk(3)
    return triplet(anchor, positive, negative, margin) + count_ranking(more, fewer, margin)


@dataclass(frozen=True)
class TripletSampler:
    """Batches of 3 × `batch` crops, a function of (seed, step) alone: anchors, then positives, then negatives."""

    images: Sequence[np.ndarray]  # (H, W, 3) uint8
    settings: PretextSettings
    seed: int

    def __post_init__(self) -> None:
        side = self.settings.side
        if small := [image.shape for image in self.images if min(image.shape[:2]) < side]:
            raise ValueError(f"an image of {small[0]} cannot hold a pretext crop of {side} px; lower `side`")

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        groups = [self.triplet(rng) for _ in range(self.settings.train.batch_size)]
        crops = torch.stack([crop for kind in zip(*groups, strict=True) for crop in kind])
        return Batch(crops, torch.zeros(len(crops), 0, 0, dtype=torch.int64), ("pretext",) * len(crops))

    def triplet(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Anchor, positive and negative of one image, each (3, side, side) in [0, 1]."""
        image, side = self.images[int(rng.integers(len(self.images)))], self.settings.side
        room = [n - side for n in image.shape[:2]]
        first = [int(rng.integers(r + 1)) for r in room]
        near = [
            int(rng.integers(max(0, at - side // 2), min(r, at + side // 2) + 1))
            for at, r in zip(first, room, strict=True)
        ]
        part = int(rng.choice(self.settings.parts))
        inner = [at + int(rng.integers(side - part + 1)) for at in near]
        anchor, positive, negative = (
            _pixels(image[top : top + size, left : left + size])
            for (top, left), size in ((first, side), (near, side), (inner, part))
        )
        grown = F.interpolate(negative[None], size=(side, side), mode="bilinear", align_corners=False)[0]
        return anchor, positive, grown


def _pixels(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255


@dataclass
class SelfSupervised(NetworkMethod):
    """`prepare` on images without labels, then `fit` on the labelled part; the record counts the cost of both."""

    pretext: History | None = field(default=None, init=False)

    def prepare(self, images: Sequence[np.ndarray], cache: Path) -> None:
        """Give the encoder the weights that the pretext leads to. images: (H, W, 3) uint8, no labels.

        The cache goes by content (images, settings, seed), so runs of one seed share it whatever their fraction; an
        unfinished one is continued, and who comes second waits.
        """
        model = self.model
        if not isinstance(model, ResUNet) or model.settings.pretext is None:
            raise TypeError("the network has no pretext; give XieSettings with `pretext`")
        settings = model.settings.pretext
        digest = hashlib.sha256(f"{model.settings.backbone} {settings.model_dump_json()} {self.seed}".encode())
        for image in images:
            digest.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        sampler = TripletSampler(images, settings, self.seed)
        with _alone(cache / digest.hexdigest()[:16]) as folder:
            self.pretext = fit(
                Pretext(model),
                sampler,
                lambda heads, batch: pretext_loss(heads, batch, settings.margin),
                settings.train,
                folder,
                seed=self.seed,
                fabric=self.fabric,
                progress="pretext",
            )

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        if self.pretext is None:
            raise RuntimeError("fit before prepare: the encoder is still random; call prepare(images, cache) first")
        learned = super().fit(train, val, folder)
        learned["seconds"] += self.pretext.seconds
        learned["processor_seconds"] += self.pretext.processor_seconds
        learned["peak_memory"] = max(learned["peak_memory"], self.pretext.peak_memory)
        return {**learned, "pretext": {"losses": self.pretext.losses, "seconds": self.pretext.seconds}}


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """The folder, while no other process is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
