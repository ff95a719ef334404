"""Outlines for nuclei of which only a point is known: the network's own maps, seeded by the points.

Self-training with weak labels, in the manner of Qu et al. (MIDL 2019, arXiv 1906.02924), who outline points by Voronoi
cells and clusters of colour; here the half-trained network's promptless maps take the clusters' place. The points
decide what is a nucleus and how many there are: what has no point is background, what has one is never lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import (
    binary_fill_holes,
    binary_opening,
    distance_transform_edt,
    find_objects,
    gaussian_filter,
    label,
)
from skimage.morphology import disk
from skimage.segmentation import watershed
from skimage.transform import resize
from tqdm import tqdm

from allinsam_core.annotation.windows import grid
from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case
from allinsam_core.learning.devices import mixed_precision
from study.datasets.brca_m2c import SPACING, PointTile
from study.minisam.pretrain import PromptableSam

FINE = 0.25  # µm/px that the tiles are enlarged to
FOREGROUND = 0.4  # probability from which a pixel may belong to a nucleus with a point
REACH = 32.0  # px; no pixel of a nucleus is farther from its point
SMALLEST = 60.0  # px; what is smaller becomes a disc
DISC = 8.0  # px, radius
ROUND = disk(2)


def outlined(tiles: Sequence[PointTile], model: PromptableSam, file: Path) -> list[Case]:
    """The tiles at FINE µm/px with the instances that the model and the points give; from `file` once it is there."""
    if not file.is_file():
        model.eval()
        found = []
        for tile in tqdm(tiles, desc="outlining points", disable=None):
            prob, _, boundary = promptless(model, enlarged(tile.image))
            found.append(outline(prob, boundary, tile.points * (SPACING / FINE)))
        with replacing(file) as unfinished, unfinished.open("wb") as out:
            np.savez_compressed(out, *found)
    return stored(tiles, file)


def stored(tiles: Sequence[PointTile], file: Path) -> list[Case]:
    """The tiles at FINE µm/px with the instances that `outlined` has written into `file`."""
    with np.load(file) as found:
        return [
            Case(tile.name, enlarged(tile.image), found[f"arr_{number}"], FINE, "brca_m2c", organ="breast")
            for number, tile in enumerate(tiles)
        ]


def enlarged(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 at SPACING → FINE µm/px."""
    factor = SPACING / FINE
    shape = tuple(round(n * factor) for n in image.shape[:2])
    return np.rint(resize(image, shape, order=1, preserve_range=True)).astype(np.uint8)


@torch.no_grad()
def promptless(model: PromptableSam, image: np.ndarray) -> np.ndarray:
    """(3, H, W) float32: foreground probability, distances to centre and boundary of an image at FINE µm/px.

    Windows overlap by two fifths; each pixel is answered by the window in which it is most central.
    """
    size = model.sam.image_encoder.img_size
    shape = image.shape[:2]
    best, maps = np.full(shape, -1.0, np.float32), np.zeros((3, *shape), np.float32)
    ramp = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32)
    central = np.minimum(ramp[:, None], ramp)
    for window in grid(shape, size, 0.4):
        pixels = torch.from_numpy(window.cut(image)).permute(2, 0, 1)[None].float() / 255
        with mixed_precision("cpu"):
            found = model.promptless(pixels)[0].float().sigmoid().numpy()
        rows, columns = (slice(s, s + size) for s in (window.top, window.left))
        wins = central > best[rows, columns]
        best[rows, columns][wins] = central[wins]
        maps[:, rows, columns][:, wins] = found[:, wins]
    return maps


def outline(prob: np.ndarray, boundary: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(H, W) uint16, one label per point. prob, boundary: (H, W). points: (N, 2) XY px.

    Watershed on the distance to the boundary from the points, where the probability allows and REACH is not exceeded,
    then smoothed; where less than SMALLEST px come of it, a disc about the point.
    """
    shape = prob.shape
    at = np.clip(np.rint(points).astype(int), 0, np.array(shape[::-1]) - 1)
    seeds = np.zeros(shape, np.int32)
    seeds[at[:, 1], at[:, 0]] = np.arange(1, len(points) + 1)
    if not len(points):
        return seeds.astype(np.uint16)
    far, nearest = distance_transform_edt(seeds == 0, return_indices=True)
    cell = seeds[nearest[0], nearest[1]]
    allowed = (prob >= FOREGROUND) & (far <= REACH) | (far <= 2)
    near = np.where(far <= 2, cell, 0)
    found = smoothed(watershed(gaussian_filter(boundary, 1.0), near, mask=allowed))
    poor = np.bincount(found.ravel(), minlength=len(points) + 1) < SMALLEST
    found = np.where(poor[found], 0, found)
    return np.where((found == 0) & (far <= DISC) & poor[cell], cell, found).astype(np.uint16)


def smoothed(labels: np.ndarray) -> np.ndarray:
    """Each nucleus opened by a disc of 2 px, its largest piece, its holes filled where no other nucleus lies."""
    result = np.zeros_like(labels)
    for value, where in enumerate(find_objects(labels), start=1):
        if where is None:
            continue
        own = labels[where] == value
        pieces, count = label(binary_opening(np.pad(own, 2), ROUND)[2:-2, 2:-2])
        if count:
            own = binary_fill_holes(pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]))
        free = own & ((labels[where] == value) | (labels[where] == 0))
        result[where][free] = value
    return result
