"""From an image of any size to a probability map, window by window (MONAI's sliding window)."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers import sliding_window_inference
from torch import nn


@torch.no_grad()
def probability(
    model: nn.Module,
    image: np.ndarray,
    field: int,
    size: int,
    overlap: float = 0.25,
    batch: int = 8,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Foreground probability (H, W) float32 of an RGB image (H, W, 3) uint8.

    field: side of a window in image pixels; size: side of what the network sees (the window is resampled
    when they differ). Overlapping windows are blended with Gaussian weights; overlap 0 tiles without any.
    An image smaller than a window is continued by reflection.
    """

    def window(pixels: torch.Tensor) -> torch.Tensor:
        if field != size:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        prob = model(pixels).float().sigmoid()
        if field != size:
            prob = F.interpolate(prob, size=(field, field), mode="bilinear", align_corners=False)
        return prob

    model.eval()
    height, width = image.shape[:2]
    grow = [(max(0, field - n) // 2, max(0, field - n + 1) // 2) for n in (height, width)]
    grown = np.pad(image, (*grow, (0, 0)), mode="reflect")
    pixels = torch.from_numpy(grown).to(device).permute(2, 0, 1)[None].float() / 255
    weights = _weights(field) if overlap else torch.ones(field, field)
    prob = sliding_window_inference(pixels, field, batch, window, overlap=overlap, roi_weight_map=weights)
    (top, _), (left, _) = grow
    return cast(torch.Tensor, prob)[0, 0, top : top + height, left : left + width].cpu().numpy()


def _weights(field: int) -> torch.Tensor:
    """Gaussian weights (field, field), σ = field / 8.

    MONAI's own map is cut off at 0.001 from below. Along the border of the image every window's weight is
    smaller than that, so all of them would count alike there, and seams would show.
    """
    distance = torch.arange(field) - (field - 1) / 2
    profile = torch.exp(-0.5 * (8 * distance / field) ** 2)
    return profile[:, None] * profile
