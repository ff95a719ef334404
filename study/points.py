"""From points to masks: SAM as annotator of nuclei of which only a pixel each is known.

A point says that a nucleus is there and that its neighbours' points are others, and no more. SAM answers it as a point
prompt (Kirillov et al. 2023, §3), or as a box of a typical nucleus's size about it. What a mask has beyond the middle
between its point and the next, or farther away than `reach`, is not its nucleus (the Voronoi cells of Qu et al., MIDL
2019, arXiv 1906.02924). A mask that misses its own point, or leaves little, becomes a disc: no point is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy.spatial import cKDTree

from allinsam_core.annotation.predict import BoxAnnotator, BoxMask
from allinsam_core.settings import Settings


class PointSettings(Settings):
    """How points are answered; lengths in µm. radius: half the side of the box of prompt "box"."""

    prompt: Literal["point", "box"] = "point"
    radius: float = Field(default=5.0, gt=0)
    reach: float = Field(default=10.0, gt=0)
    disc: float = Field(default=2.5, gt=0)  # radius of what stands for a failed mask


class PointAnnotator(BoxAnnotator):
    """Answers the middle of every box it is given, as a point prompt; the box decides no more than the window."""

    def _encoded(self, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        middle = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
        positive = torch.ones(len(boxes), 1, device=boxes.device)
        sparse, dense = self.sam.prompt_encoder(points=(middle, positive), boxes=None, masks=None)
        return sparse, dense


def boxes_about(points: np.ndarray, shape: tuple[int, int], radius: float) -> np.ndarray:
    """(N, 4) float32 XYXY px: squares about points (N, 2) XY px, cut at the border of an image of `shape` (H, W)."""
    height, width = shape
    sides = np.hstack([points - radius, points + radius])
    return np.clip(sides, 0, [width, height, width, height]).astype(np.float32)


def own_pixels(
    masks: Sequence[BoxMask], points: np.ndarray, shape: tuple[int, int], reach: float, disc: float
) -> list[BoxMask]:
    """What of each mask is its own point's; no two masks overlap then. points: (N, 2) XY px; reach, disc: px.

    A mask that misses the pixel of its point, or is left with less than half a disc, becomes the disc in its cell.
    """
    if not len(points):
        return []
    rows, columns = np.indices(shape)
    away, nearest = cKDTree(points).query(np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1))
    away, nearest = away.reshape(shape), nearest.reshape(shape)
    found = []
    for index, (mask, (x, y)) in enumerate(zip(masks, points, strict=True)):
        top, bottom = (int(np.clip(round(y) + d, 0, shape[0])) for d in (-np.ceil(reach) - 1, np.ceil(reach) + 2))
        left, right = (int(np.clip(round(x) + d, 0, shape[1])) for d in (-np.ceil(reach) - 1, np.ceil(reach) + 2))
        part = np.s_[top:bottom, left:right]
        cell = (nearest[part] == index) & (away[part] <= reach)
        kept = mask.full(shape)[part] & cell
        hit = kept[min(int(y), shape[0] - 1) - top, min(int(x), shape[1] - 1) - left]
        if not hit or np.count_nonzero(kept) < np.pi * disc**2 / 2:
            kept = cell & (away[part] <= disc)
        found.append(BoxMask(top, left, kept, mask.score))
    return found
