"""What an annotation encloses, as a polygon in pixels of its image; readers keep it beside the bounding box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import shapely

from study.numbers import array
from study.tools.formats.outline import Area, outline

MAX_PIXELS = 2**28  # of an image whose run lengths are unpacked


def from_rings(polygons: Sequence[Sequence[Any]], where: str) -> Area | None:
    """The union of polygons, each a list of rings of (x, y): its outer one, then its holes. None where it has no area.

    Self-crossing rings are filled by the even-odd rule. where: what to name in the ValueError for anything else.
    """
    return _areal(shapely.union_all([_even_odd(rings, where) for rings in polygons]))


def from_paths(paths: Iterable[np.ndarray], where: str) -> Area | None:
    """Closed paths filled by the even-odd rule, as ImageJ does. paths: (N, 2) XY each."""
    return _areal(_even_odd(paths, where))


def from_coco(segmentation: Any, where: str) -> Area | None:
    """COCO's "segmentation": flat polygons [x, y, x, y, …], one or a list of them, or run lengths.

    None: there is none, or its run lengths are compressed, so that only the annotation's box is known.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return None if isinstance(segmentation.get("counts"), str) else outline(_from_runs(segmentation, where))
    try:
        rings = segmentation if isinstance(segmentation[0], list) else [segmentation]
        return from_rings([[np.reshape(ring, (-1, 2))] for ring in rings], where)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{where}: segmentation is no list of x, y pairs ({error}); export polygons") from error


def is_box(area: Area | None) -> bool:
    """Whether an annotation is a plain upright rectangle: a box for SAM to answer. None: a format without outlines."""
    return area is None or area.equals(shapely.box(*area.bounds))


def _from_runs(segmentation: dict[str, Any], where: str) -> np.ndarray:
    """COCO's run lengths as (H, W) bool: down the columns, background first."""
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if not isinstance(counts, list) or not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"{where}: run lengths are {type(counts).__name__}, expected numbers; export polygons instead")
    runs, sides = np.asarray(counts), np.asarray(size)
    if sides.dtype.kind not in "iu" or sides.ndim != 1:
        raise ValueError(
            f"{where}: the size of its run lengths is {str(size)[:80]}, expected height and width in pixels"
        )
    height, width = sides.tolist()
    if runs.dtype.kind not in "iu" or (runs < 0).any() or not runs.sum() == height * width <= MAX_PIXELS:
        raise ValueError(f"{where}: run lengths do not fill the size {size}; export it again")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _even_odd(rings: Iterable[Any], where: str) -> shapely.Geometry:
    """The first ring filled, every further one exchanging inside and outside."""
    filled: shapely.Geometry | None = None
    for ring in rings:
        try:
            points = array(ring)
        except ValueError as error:
            raise ValueError(f"{where}: coordinates are no x, y pairs ({error})") from error
        if points.ndim != 2 or points.shape[1] < 2 or len(points) < 3 or not np.isfinite(points).all():
            raise ValueError(f"{where}: coordinates of shape {points.shape}, expected three or more pairs of x, y")
        polygon = shapely.Polygon(points[:, :2])
        polygon = polygon if polygon.is_valid else shapely.make_valid(polygon)
        filled = polygon if filled is None else filled.symmetric_difference(polygon)
    return filled or shapely.Polygon()


def _areal(found: shapely.Geometry) -> Area | None:
    """The polygons of a geometry, without its stray points and lines."""
    if isinstance(found, shapely.GeometryCollection):
        found = shapely.union_all([p for p in found.geoms if isinstance(p, shapely.Polygon | shapely.MultiPolygon)])
    return found if isinstance(found, shapely.Polygon | shapely.MultiPolygon) and found.area > 0 else None
