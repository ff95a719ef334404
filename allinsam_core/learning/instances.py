"""From maps to nuclei and back: an explicit step, for every method the same.

The nuclei of a network with one map are parted by the shape of its foreground, those of one with two maps more by
these. The two are the distances that micro-sam's decoder predicts (Archit et al. 2025; torch-em's
`PerObjectDistanceTransform`), written anew: per nucleus, the distance to its centre divided by the largest in the
nucleus, and one less the depth below its boundary divided by the largest depth. So both are 0 in the middle of a
nucleus, rise to 1 towards its rim, and are 1 on the background.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from scipy.ndimage import distance_transform_edt, gaussian_filter, label
from skimage.measure import label as connected
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from allinsam_core.settings import Settings

MAPS = 2  # distance to the centre, distance to the boundary


class InstanceSettings(Settings):
    """How touching nuclei are parted, and which are kept. Lengths in pixels of the image.

    foreground_threshold moves instance metrics alone: pixel metrics have a threshold of their own, 0.5. Records call it
    `threshold`, and leave the last four out where they have their defaults, as records from before they existed do.
    """

    foreground_threshold: float = Field(default=0.5, alias="threshold")
    smooth: float = 1.0  # σ of the Gaussian on the distance map
    depth: float = 1.0  # how far a saddle must lie below a peak (px of distance) to part two nuclei
    smallest: int = 20  # px; smaller nuclei are dropped
    map_smooth: float = Field(default=2.0, exclude_if=lambda sigma: sigma == 2.0)  # as `smooth`, for instance maps
    map_depth: float = Field(default=0.05, exclude_if=lambda depth: depth == 0.05)  # as `depth`; maps lie in [0, 1]
    smallest_area: float = Field(default=0.0, exclude_if=lambda area: area == 0)  # µm²; smaller nuclei are dropped too
    lowest_peak: float = Field(default=0.0, exclude_if=lambda peak: peak == 0)  # of a kept nucleus' probabilities

    def scaled(self, by: float) -> InstanceSettings:
        """The same for pixels of which `by` fill the side of one of these."""
        lengths = {name: getattr(self, name) * by for name in ("smooth", "depth", "map_smooth")}
        return self.model_copy(update={**lengths, "smallest": max(1, round(self.smallest * by**2))})

    def smallest_pixels(self, spacing: float | None) -> float:
        """The fewest pixels, of `spacing` µm each, in a kept nucleus. Raises ValueError where it needs a spacing."""
        if not self.smallest_area:
            return self.smallest
        if spacing is None:
            raise ValueError(f"smallest_area is {self.smallest_area} µm², expected the spacing (µm per pixel) with it")
        return max(self.smallest, self.smallest_area / spacing**2)


def from_probability(
    prob: np.ndarray, settings: InstanceSettings | None = None, spacing: float | None = None
) -> np.ndarray:
    """`nuclei` of a probability alone, (H, W) in [0, 1]."""
    return nuclei(prob[None], settings, spacing)


def nuclei(maps: np.ndarray, settings: InstanceSettings | None = None, spacing: float | None = None) -> np.ndarray:
    """Seeded watershed of what a network gives: maps (1 or 3, H, W) in [0, 1]; spacing: µm per pixel.

    The relief is, of one map, the smoothed distance to the background; of three, one less the smoothed mean of the two
    distances and of 1 − probability. torch-em takes as seeds where both distances are below 1/2; a network that has
    learnt for minutes gives distances that are all too near their mean, and their relief is still right.

    Seeds are the h-maxima of the relief (Soille 2004, §6.3.4: the maxima of its reconstruction from itself
    less h; skimage's `h_maxima` marks equal peaks twice), so one nucleus with a dent stays one. Returns labels
    (H, W) int32, 0 = background, contiguous from 1; the foreground is exactly prob ≥ foreground_threshold, less the
    nuclei that the settings drop.
    """
    s = settings or InstanceSettings()
    return dropped(parted(maps, s), maps[0], s, spacing)


def parted(maps: np.ndarray, settings: InstanceSettings) -> np.ndarray:
    """The watershed of `nuclei`: labels (H, W) of all objects, none dropped yet."""
    foreground = maps[0] >= settings.foreground_threshold
    if len(maps) == 1:
        relief = gaussian_filter(distance_transform_edt(foreground).astype(np.float32), settings.smooth)
        depth = settings.depth
    elif len(maps) == 1 + MAPS:
        relief = 1 - gaussian_filter((1 - maps[0] + maps[1] + maps[2]) / len(maps), settings.map_smooth)
        depth = settings.map_depth
    else:
        raise ValueError(f"{len(maps)} maps, expected 1 (probability) or {1 + MAPS} (and distances: centre, boundary)")
    relief = np.where(foreground, relief, 0)
    seeds, _ = label(local_maxima(reconstruction(relief - depth, relief)), np.ones((3, 3)))
    found = watershed(-relief, seeds, mask=foreground)
    left = foreground & (found == 0)  # components too flat for a seed of their own
    return np.where(left, connected(left, connectivity=1) + found.max(), found)


def dropped(
    found: np.ndarray, prob: np.ndarray, settings: InstanceSettings, spacing: float | None = None
) -> np.ndarray:
    """Labels (H, W) int32 without the objects that the settings drop, numbered anew from 1."""
    keep = np.bincount(found.ravel()) >= settings.smallest_pixels(spacing)
    if settings.lowest_peak:
        peaks = np.zeros(len(keep))
        np.maximum.at(peaks, found.ravel(), prob.ravel())
        keep &= peaks >= settings.lowest_peak
    keep[0] = False
    numbers = np.cumsum(keep) * keep
    return numbers[found].astype(np.int32)


def targets(labels: torch.Tensor) -> torch.Tensor:
    """What the two maps should be. labels: (B, S, S) integers, 0 = background, one value per nucleus.

    Returns (B, 2, S, S) float32 in [0, 1] on the labels' device: distance to the centre, distance to the boundary, as
    this module's first words define them. Pieces of a nucleus that do not touch count as nuclei of their own; of one
    that the border of the crop cuts only the visible part counts, and the border is no boundary.
    """
    maps = np.stack([_distances(item) for item in labels.cpu().numpy()])
    return torch.from_numpy(maps).to(labels.device)


def _distances(labels: np.ndarray) -> np.ndarray:
    """(H, W) labels → (2, H, W) float32. The centre is the pixel of the centroid, or where that lies outside of the
    nucleus, its deepest pixel; depth is the distance (px) to the nearest pixel that has a neighbour of another label.
    """
    maps = np.ones((MAPS, labels.size), np.float32)
    pieces, count = connected(labels, connectivity=1, return_num=True)
    if not count:
        return maps.reshape(MAPS, *labels.shape)
    inside = pieces > 0
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        same = pieces[one] == pieces[other]
        inside[one] &= same
        inside[other] &= same
    depths = np.zeros(labels.shape) if inside.all() else distance_transform_edt(inside)
    where = np.flatnonzero(pieces)
    of, depth = pieces.ravel()[where] - 1, depths.ravel()[where].astype(np.float32)
    row, column = np.divmod(where, labels.shape[1])
    area = np.bincount(of)
    middle = [np.rint(np.bincount(of, at) / area).astype(int) for at in (row, column)]
    outside = np.flatnonzero(pieces[middle[0], middle[1]] != np.arange(1, count + 1))
    for piece in outside:
        own = np.flatnonzero(of == piece)
        deepest = own[depth[own].argmax()]
        middle[0][piece], middle[1][piece] = row[deepest], column[deepest]
    away = np.hypot(row - middle[0][of], column - middle[1][of]).astype(np.float32)
    for target, values, whole in ((maps[0], away, False), (maps[1], depth, True)):
        largest = np.zeros(count, np.float32)
        np.maximum.at(largest, of, values)
        part = values / np.maximum(largest, 1e-6)[of]
        target[where] = np.where(largest[of] > 0, 1 - part, 0) if whole else part
    return maps.reshape(MAPS, *labels.shape)
