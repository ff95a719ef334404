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
    """

    def window(pixels: torch.Tensor) -> torch.Tensor:
        if field != size:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        prob = model(pixels).float().sigmoid()
        if field != size:
            prob = F.interpolate(prob, size=(field, field), mode="bilinear", align_corners=False)
        return prob

    model.eval()
    pixels = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 255
    mode = "gaussian" if overlap else "constant"
    prob = sliding_window_inference(pixels, field, batch, window, overlap=overlap, mode=mode, padding_mode="reflect")
    return cast(torch.Tensor, prob)[0, 0].cpu().numpy()
