"""`--profile best`: a network's answer as the mean of its answers to an image and to the image's mirror images."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import nn

from allinsam_core.model import Model

PROFILES = ("fast", "best")
FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))  # axes of (N, C, H, W)


class Flipped(nn.Module):
    """network: images (N, 3, S, S) → logits (N, K, S, S), of maps that a mirror leaves what they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The mean of the four answers' logits, each turned back."""
        answers = [cast(torch.Tensor, self.network(image.flip(axes))).flip(axes) for axes in FLIPS]
        return torch.stack(answers).mean(dim=0)


def with_profile(model: Model, profile: str) -> Model:
    """The model as it is (fast), or with flips, in four times the time (best). Raises ValueError for another name."""
    if profile not in PROFILES:
        raise ValueError(f"--profile {profile}: expected {' or '.join(PROFILES)}")
    if profile == "fast":
        return model
    return replace(model, networks=nn.ModuleList([Flipped(network) for network in model.networks]))
