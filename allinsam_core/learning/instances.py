"""From a probability map to nuclei: an explicit step, for every method the same."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy.ndimage import distance_transform_edt, gaussian_filter, label
from skimage.measure import label as connected
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from allinsam_core.settings import Settings


class InstanceSettings(Settings):
    """How touching nuclei are parted. Lengths in pixels of the image.

    foreground_threshold moves instance metrics alone: pixel metrics have a threshold of their own, 0.5. Records call it
    `threshold`.
    """

    foreground_threshold: float = Field(default=0.5, alias="threshold")
    smooth: float = 1.0  # σ of the Gaussian on the distance map
    depth: float = 1.0  # how far a saddle must lie below a peak (px of distance) to part two nuclei
    smallest: int = 20  # px; smaller nuclei are dropped


def from_probability(prob: np.ndarray, settings: InstanceSettings | None = None) -> np.ndarray:
    """Seeded watershed on the smoothed distance to the background. prob: (H, W) in [0, 1].

    Seeds are the h-maxima of the distance map (Soille 2004, §6.3.4: the maxima of its reconstruction from itself
    less h; skimage's `h_maxima` marks equal peaks twice), so one nucleus with a dent stays one. Returns labels
    (H, W) int32, 0 = background, contiguous from 1; the foreground is exactly prob ≥ foreground_threshold, less the
    nuclei under `smallest` pixels.
    """
    s = settings or InstanceSettings()
    foreground = prob >= s.foreground_threshold
    distance = gaussian_filter(distance_transform_edt(foreground).astype(np.float32), s.smooth)
    distance = np.where(foreground, distance, 0)
    seeds, _ = label(local_maxima(reconstruction(distance - s.depth, distance)), np.ones((3, 3)))
    found = watershed(-distance, seeds, mask=foreground)
    left = foreground & (found == 0)  # components too flat for a seed of their own
    found = np.where(left, connected(left, connectivity=1) + found.max(), found)
    keep = np.bincount(found.ravel()) >= s.smallest
    keep[0] = False
    numbers = np.cumsum(keep) * keep
    return numbers[found].astype(np.int32)
