"""The outline of an instance as polygons that follow the pixels' edges, and polygons back to pixels.

Because vertices lie on pixel corners, a pixel is inside exactly if its centre is: the way back is lossless.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import shapely
from scipy.ndimage import find_objects

Area: TypeAlias = shapely.Polygon | shapely.MultiPolygon


def outlines(instances: np.ndarray) -> dict[int, Area]:
    """Outline of every label present, in increasing order. instances: (H, W) integers ≥ 0, 0 = background."""
    found: dict[int, Area] = {}
    for value, place in enumerate(find_objects(instances.astype(np.int32, copy=False)), start=1):
        if place is not None:
            rows, columns = place
            found[value] = outline(instances[place] == value, rows.start, columns.start)
    return found


def outline(mask: np.ndarray, top: int = 0, left: int = 0) -> Area:
    """The area covered by the pixels of `mask` (H, W) bool whose first pixel is (top, left) of the image.

    Holes become interior rings; parts that touch at most at a corner become parts of a MultiPolygon.
    """
    rows, columns = np.nonzero(mask)
    pixels = shapely.box(columns + left, rows + top, columns + left + 1, rows + top + 1)
    return shapely.coverage_union_all(pixels).simplify(0)


def rasterise(area: Area, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels whose centres lie inside `area` (pixel coordinates, origin at the image's corner)."""
    filled = np.zeros(shape, dtype=bool)
    x0, y0, x1, y1 = area.bounds
    rows = np.arange(max(0, int(y0)), min(shape[0], int(np.ceil(y1))))
    columns = np.arange(max(0, int(x0)), min(shape[1], int(np.ceil(x1))))
    if len(rows) and len(columns):
        x, y = np.meshgrid(columns + 0.5, rows + 0.5)
        filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = shapely.contains_xy(area, x, y)
    return filled
