"""U-Net (Ronneberger et al. 2015), MONAI's implementation: the first rival.

Faithful: encoder–decoder with skip connections, trained by the same loop, on the same crops, with the same
augmentation as All-in-SAM. Different from the 2015 network: residual units and instance normalisation
(MONAI's), and smaller, so that two processor cores train it in minutes.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import torch
from torch import nn

from allinsam_core.annotation.sam import read_weights
from allinsam_core.data.errors import MissingData
from allinsam_core.learning.train import load_trained_state
from allinsam_core.settings import later
from study.methods import NetworkSettings
from study.rivals.networks import UNet
from study.root import resolved


class UNetSettings(NetworkSettings):
    """Channels per level; each level below the first halves the resolution.

    weights: a file of `study.minisam.pretrained_unet` to start from; None: random ones.
    """

    kind: Literal["unet"] = "unet"
    channels: tuple[int, ...] = (24, 48, 96, 192, 384)
    residual_units: int = 1
    weights: str | None = later()

    def initial(self, outputs: int = 1) -> CentredUNet:
        network = CentredUNet(self, outputs)
        if self.weights is not None:
            file = resolved(self.weights)
            if not file.is_file():
                raise MissingData(
                    f"{file}: no such file, expected weights of `python -m study.minisam.pretrained_unet`"
                )
            load_trained_state(network, read_weights(file), str(file))
        return network

    def base_weights(self) -> str:
        return "" if self.weights is None else hashlib.sha256(resolved(self.weights).read_bytes()).hexdigest()


class CentredUNet(nn.Module):
    """image (B, 3, H, W) in [0, 1], H and W multiples of 2^(levels − 1) → logits (B, outputs, H, W)."""

    def __init__(self, settings: UNetSettings, outputs: int = 1) -> None:
        super().__init__()
        self.net = UNet(
            spatial_dims=2,
            in_channels=3,
            out_channels=outputs,
            channels=settings.channels,
            strides=(2,) * (len(settings.channels) - 1),
            num_res_units=settings.residual_units,
            norm="INSTANCE",
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net((image - 0.5) / 0.25)
