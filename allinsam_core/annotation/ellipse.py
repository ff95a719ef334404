"""The ellipse inscribed in a box: the best guess at a nucleus from its box alone.

mini-SAM is prompted with it and the box, as a low-resolution mask prompt, which SAM's prompt encoder takes
(Kirillov et al. 2023, §3); Meta's checkpoints were not trained that way and get boxes alone.
"""

from __future__ import annotations

import torch

STEEPNESS, LARGEST = 6.0, 6.0  # logits: 6 at the centre, 0 on the ellipse, −6 from √2 radii on


def logits(boxes: torch.Tensor, input_size: int, side: int) -> torch.Tensor:
    """(N, 1, side, side) float32, > 0 inside. boxes: (N, 4) XYXY in pixels of an input of input_size × input_size."""
    at = (torch.arange(side, dtype=torch.float32, device=boxes.device) + 0.5) * (input_size / side)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    radius = ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(min=1e-3)
    x, y = (((at - centre[:, axis, None]) / radius[:, axis, None]) ** 2 for axis in (0, 1))
    return (STEEPNESS * (1 - y[:, :, None] - x[:, None, :])).clamp(-LARGEST, LARGEST)[:, None]
