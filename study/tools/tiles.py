"""A slide in tiles that give what the whole would: probabilities bit by bit, nuclei neither cut nor doubled.

Windows of the network lie on one grid over the whole slide. A tile is a whole number of window steps and is read with
the margin that its windows need, so that every pixel is blended from the very windows of `infer.probability` on the
whole slide. Nuclei are then parted in the tile's neighbourhood, widened until no clump of nuclei that the tile touches
is cut, and a nucleus belongs to the tile that holds its first pixel (the topmost row's leftmost).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

BAND = 8  # px: how far smoothing carries beyond a clump
HALO = 128  # px around a tile in which its nuclei are parted, at first
FARTHEST = 512  # px of halo at most; clumps that reach farther are parted as far as they are seen
SIDE = 2048  # px, least side of a tile

Place = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class Grid:
    """Tiles of an image of `shape` (H, W) for windows of `field` px that overlap by `overlap` of it."""

    shape: tuple[int, int]
    field: int
    overlap: float
    side: int = SIDE

    @property
    def step(self) -> int:
        """From window to window, as in `infer.probability`."""
        return max(1, int(self.field * (1 - self.overlap)))

    @property
    def tile(self) -> int:
        """Side of a tile: the least number of steps that makes `side`."""
        return -(-self.side // self.step) * self.step

    @property
    def count(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.shape[0] // self.tile), -(-self.shape[1] // self.tile)

    def core(self, row: int, column: int) -> Place:
        """The part of the image that is a tile's own."""
        top, left = row * self.tile, column * self.tile
        return top, left, min(self.shape[0], top + self.tile), min(self.shape[1], left + self.tile)

    def region(self, row: int, column: int) -> Place:
        """The core with all windows that reach into it."""
        top, left, bottom, right = self.core(row, column)
        (first, last), (begin, end) = (
            self._reach(a, b, n) for a, b, n in ((top, bottom, self.shape[0]), (left, right, self.shape[1]))
        )
        return first, begin, last, end

    def _reach(self, start: int, stop: int, length: int) -> tuple[int, int]:
        before = max(0, start - (-(-self.field // self.step) - 1) * self.step)
        last = (stop - 1) // self.step * self.step + self.field  # end of the last window that begins in the core
        if length - self.field < stop:  # the window that ends with the image reaches in too
            return min(before, max(0, length - self.field) // self.step * self.step), length
        return before, last

    def around(self, row: int, column: int, halo: int) -> Place:
        """The core with `halo` px on all sides, cut at the image's border."""
        top, left, bottom, right = self.core(row, column)
        return (
            max(0, top - halo),
            max(0, left - halo),
            min(self.shape[0], bottom + halo),
            min(self.shape[1], right + halo),
        )


def neighbourhood(grid: Grid, row: int, column: int, read: Callable[[Place], np.ndarray]) -> tuple[Place, np.ndarray]:
    """The place around a tile that cuts no clump of nuclei which the tile touches, and its maps.

    read: a place → (C, M, h, w) uint8, of M maps the first a probability, a nucleus from 128 on. Clumps that reach
    beyond `FARTHEST` stay cut there.
    """
    halo = min(HALO, FARTHEST)
    while True:
        place = grid.around(row, column, halo)
        maps = read(place)
        if halo >= FARTHEST or not _cut(maps[:, 0].max(axis=0) >= 128, grid.core(row, column), place, grid.shape):
            return place, maps
        halo = min(2 * halo, FARTHEST)


def _cut(foreground: np.ndarray, core: Place, place: Place, shape: tuple[int, int]) -> bool:
    """Whether a clump that touches the core comes near the place's border, where the image goes on."""
    clumps, _ = label(foreground, np.ones((3, 3)))
    top, left, bottom, right = (edge - place[i % 2] for i, edge in enumerate(core))
    inside = np.unique(clumps[top:bottom, left:right])
    goes_on = (place[0] > 0, place[1] > 0, place[2] < shape[0], place[3] < shape[1])
    edges = [clumps[:BAND], clumps[:, :BAND], clumps[-BAND:], clumps[:, -BAND:]]
    border = [np.unique(edge) for edge, on in zip(edges, goes_on, strict=True) if on]
    return bool((np.intersect1d(inside, np.concatenate([np.zeros(0, int), *border])) > 0).any())


def owned(instances: np.ndarray, core: Place, place: Place) -> np.ndarray:
    """Labels whose first pixel, row by row, is in the core. instances: (h, w) at `place`."""
    flat = instances.ravel()
    labels, first = np.unique(flat, return_index=True)
    rows, columns = np.divmod(first, instances.shape[1])
    top, left, bottom, right = (edge - place[i % 2] for i, edge in enumerate(core))
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return labels[inside & (labels > 0)]
