"""From maps to nuclei and back: an explicit step, for every method the same.

A network with one map is parted by the shape of its foreground (`from_probability`), one with two maps more by these
(`from_maps`). The two are the distances that micro-sam's decoder predicts (Archit et al. 2025; torch-em's
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
    smooth: float = 1.0  # σ of the Gaussian on the distance maps
    depth: float = 1.0  # one map: how far a saddle must lie below a peak (px of distance) to part two nuclei
    smallest: int = 20  # px; smaller nuclei are dropped
    centre: float = Field(
        default=0.5, exclude_if=lambda limit: limit == 0.5
    )  # maps: a seed's distance to the centre is less
    boundary: float = Field(
        default=0.5, exclude_if=lambda limit: limit == 0.5
    )  # maps: and so is its distance to the boundary
    smallest_area: float = Field(default=0.0, exclude_if=lambda area: area == 0)  # µm²; smaller nuclei are dropped too
    lowest_peak: float = Field(
        default=0.0, exclude_if=lambda peak: peak == 0
    )  # nuclei whose largest probability is less are

    def smallest_pixels(self, spacing: float | None) -> float:
        """The fewest pixels, of `spacing` µm each, in a kept nucleus. Raises ValueError where it needs a spacing."""
        if not self.smallest_area:
            return self.smallest
        if spacing is None:
            raise ValueError(f"smallest_area is {self.smallest_area} µm², expected the spacing (µm per pixel) with it")
        return max(self.smallest, self.smallest_area / spacing**2)


def nuclei(maps: np.ndarray, settings: InstanceSettings | None = None, spacing: float | None = None) -> np.ndarray:
    """Labels from what a network gives: `from_probability` of one map (1, H, W), `from_maps` of three (3, H, W)."""
    s = settings or InstanceSettings()
    return dropped(parted(maps, s), maps[0], s, spacing)


def from_probability(
    prob: np.ndarray, settings: InstanceSettings | None = None, spacing: float | None = None
) -> np.ndarray:
    """Seeded watershed on the smoothed distance to the background. prob: (H, W) in [0, 1]; spacing: µm per pixel.

    Seeds are the h-maxima of the distance map (Soille 2004, §6.3.4: the maxima of its reconstruction from itself
    less h; skimage's `h_maxima` marks equal peaks twice), so one nucleus with a dent stays one. Returns labels
    (H, W) int32, 0 = background, contiguous from 1; the foreground is exactly prob ≥ foreground_threshold, less the
    nuclei that the settings drop.
    """
    return nuclei(prob[None], settings, spacing)


def from_maps(
    prob: np.ndarray,
    centre: np.ndarray,
    boundary: np.ndarray,
    settings: InstanceSettings | None = None,
    spacing: float | None = None,
) -> np.ndarray:
    """Seeded watershed on the distance to the boundary (torch-em, `watershed_from_center_and_boundary_distances`).

    prob, centre, boundary: (H, W) in [0, 1]. Seeds are the connected pieces where both distances, smoothed, are below
    their limits: the centre's keeps narrow neighbours apart, the boundary's keeps an angular nucleus whole. Returns
    labels as `from_probability` does; a component without a seed is one nucleus.
    """
    return nuclei(np.stack([prob, centre, boundary]), settings, spacing)


def parted(maps: np.ndarray, settings: InstanceSettings) -> np.ndarray:
    """The watershed of `nuclei`: labels (H, W) of all objects, none dropped yet."""
    if len(maps) not in (1, 1 + MAPS):
        raise ValueError(f"{len(maps)} maps, expected 1 (probability) or {1 + MAPS} (and distances: centre, boundary)")
    s, foreground = settings, maps[0] >= settings.foreground_threshold
    if len(maps) == 1:
        distance = gaussian_filter(distance_transform_edt(foreground).astype(np.float32), s.smooth)
        distance = np.where(foreground, distance, 0)
        seeds, _ = label(local_maxima(reconstruction(distance - s.depth, distance)), np.ones((3, 3)))
        found = watershed(-distance, seeds, mask=foreground)
    else:
        centre, boundary = (gaussian_filter(distance, s.smooth) for distance in maps[1:])
        seeds, _ = label(foreground & (centre < s.centre) & (boundary < s.boundary), np.ones((3, 3)))
        found = watershed(boundary, seeds, mask=foreground)
    left = foreground & (found == 0)  # components without a seed of their own
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
