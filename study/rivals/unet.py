"""U-Net (Ronneberger et al. 2015), MONAI's implementation: the first rival.

Faithful: encoder–decoder with skip connections, trained by the same loop, on the same crops, with the same
augmentation as All-in-SAM. Different from the 2015 network: residual units and instance normalisation
(MONAI's), and smaller, so that two processor cores train it in minutes.
"""

from __future__ import annotations

from typing import Literal

import torch
from monai.networks.nets import UNet
from torch import nn

from study.methods import NetworkSettings


class UNetSettings(NetworkSettings):
    """Channels per level; each level below the first halves the resolution."""

    kind: Literal["unet"] = "unet"
    channels: tuple[int, ...] = (24, 48, 96, 192, 384)
    residual_units: int = 1

    def initial(self, outputs: int = 1) -> CentredUNet:
        return CentredUNet(self, outputs)


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
