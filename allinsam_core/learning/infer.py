"""From an image of any size to maps of the network's outputs, window by window."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from allinsam_core.learning.devices import mixed_precision


def probability(
    model: nn.Module,
    image: np.ndarray,
    field: int,
    size: int,
    overlap: float = 0.25,
    batch: int = 8,
    device: torch.device | str = "cpu",
    bfloat16: bool = False,
) -> np.ndarray:
    """Foreground probability (H, W) float32 of an RGB image (H, W, 3) uint8; arguments as in `maps`."""
    return maps(model, image, field, size, overlap, batch, device, bfloat16)[0]


@torch.no_grad()
def maps(
    model: nn.Module,
    image: np.ndarray,
    field: int,
    size: int,
    overlap: float = 0.25,
    batch: int = 8,
    device: torch.device | str = "cpu",
    bfloat16: bool = False,
    activate: Callable[[torch.Tensor], torch.Tensor] = torch.sigmoid,
) -> np.ndarray:
    """The K output maps (K, H, W) float32 of a network on an RGB image (H, W, 3) uint8.

    model: images (N, 3, size, size) float32 in [0, 1] → logits (N, K, size, size); `activate` turns these into what
    is averaged. field: side of a window in image pixels; size: side of what the network sees (the window is resampled
    when they differ). Overlapping windows are blended with Gaussian weights; overlap 0 tiles without any.
    An image smaller than a window is continued by reflection. bfloat16: of the network's products, by automatic mixed
    precision; all else is float32.
    """
    model.eval()
    height, width = image.shape[:2]
    grow = [(max(0, field - n) // 2, max(0, field - n + 1) // 2) for n in (height, width)]
    grown = torch.from_numpy(np.pad(image, (*grow, (0, 0)), mode="reflect")).permute(2, 0, 1)
    weight = (_weights(field) if overlap else torch.ones(field, field)).to(device)
    places = list(product(*(starts(length, field, overlap) for length in grown.shape[1:])))
    total = torch.zeros(0)
    share = torch.zeros(grown.shape[1:], device=device)
    for first in range(0, len(places), batch):
        windows = [np.s_[..., y : y + field, x : x + field] for y, x in places[first : first + batch]]
        pixels = torch.stack([grown[window] for window in windows]).to(device).float() / 255
        if field != size:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        with mixed_precision(device, bfloat16):
            logits = model(pixels)
        found = activate(logits.float())
        if field != size:
            found = F.interpolate(found, size=(field, field), mode="bilinear", align_corners=False)
        if not total.numel():
            total = torch.zeros(found.shape[1], *share.shape, device=device)
        for window, part in zip(windows, found * weight, strict=True):
            total[window] += part
            share[window] += weight
    (top, _), (left, _) = grow
    return (total / share)[:, top : top + height, left : left + width].cpu().numpy()


def starts(length: int, field: int, overlap: float) -> list[int]:
    """Where windows begin along one side: a fixed step apart, the last one shifted back to end with the side."""
    step = max(1, int(field * (1 - overlap)))
    return [min(start, length - field) for start in range(0, length - field + step, step)]


def _weights(field: int) -> torch.Tensor:
    """Gaussian weights (field, field), σ = field / 8, as nnU-Net and MONAI blend windows (Isensee et al. 2021).

    Not cut off from below: along the border of the image every window's weight is smaller than any usual limit, so
    that all of them would count alike there, and seams would show.
    """
    distance = torch.arange(field) - (field - 1) / 2
    profile = torch.exp(-0.5 * (8 * distance / field) ** 2)
    return profile[:, None] * profile
