"""Points as annotations: a table with columns x, y and optionally class, QuPath's points, ImageJ's multi-point ROI.

A point says where a nucleus is, not how large: with a declared radius it becomes a square box for SAM to answer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from roifile import ROI_TYPE, ImagejRoi

from study.numbers import array, number
from study.tools.formats import geojson
from study.tools.formats.entries import Boxes, at_most
from study.tools.formats.table import rows_of

POINTS = ("Point", "MultiPoint")  # in GeoJSON


def read_points(path: Path, shape: tuple[int, int], radius: float) -> Boxes | None:
    """Boxes of `radius` pixels around the points of a file, cut at the border of an image of `shape` (H, W).

    None where the file holds areas, no points. Raises ValueError for a point outside the image.
    """
    readers = {".csv": _from_table, ".geojson": _from_geojson, ".json": _from_geojson, ".roi": _from_roi}
    read = readers.get(path.suffix.lower())
    found = read(path) if read is not None else None
    if found is None:
        return None
    xy, classes = np.array([p[:2] for p in found], dtype=np.float64).reshape(-1, 2), [p[2] for p in found]
    at_most(len(xy), path)
    height, width = shape
    outside = np.flatnonzero(~((xy >= 0) & (xy <= [width, height])).all(axis=1))
    if len(outside):
        x, y = xy[outside[0]]
        raise ValueError(
            f"{path}: point {outside[0]} of {len(xy)} [{x:g}, {y:g}] is outside its image; "
            f"expected 0 ≤ x ≤ {width} and 0 ≤ y ≤ {height} (another image, or not pixels?)"
        )
    boxes = np.clip(np.hstack([xy - radius, xy + radius]), 0, [width, height, width, height]).astype(np.float32)
    return Boxes(boxes, ("",) * len(xy), tuple(classes), str(path))


def _from_table(path: Path) -> list[tuple[float, float, str]] | None:
    with rows_of(path) as rows:
        fields = set(rows.fieldnames or ())
        if not {"x", "y"} <= fields or "x0" in fields:
            return None
        try:
            return [(number(row["x"]), number(row["y"]), row.get("class") or "") for row in rows]
        except ValueError as error:
            raise ValueError(f"{path}: line {rows.line_num}: x or y is no number ({error})") from error


def _from_geojson(path: Path) -> list[tuple[float, float, str]] | None:
    content = geojson.parse(path)
    features = content.get("features", [content]) if isinstance(content, dict) else content
    if not isinstance(features, list) or not all(isinstance(f, dict) for f in features):
        return None
    found: list[tuple[float, float, str]] = []
    for index, feature in enumerate(features):
        geometry, properties = feature.get("geometry"), feature.get("properties")
        if not isinstance(geometry, dict) or geometry.get("type") not in POINTS:
            return None
        label = (properties.get("classification") if isinstance(properties, dict) else None) or ""
        name = str(label.get("name", "")) if isinstance(label, dict) else str(label)
        try:
            xy = array(geometry["coordinates"])
            if not np.isfinite(xy).all():
                raise ValueError("not all are finite numbers")
            found += [(float(x), float(y), name) for x, y in xy.reshape(-1, xy.shape[-1])[:, :2]]
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise ValueError(f"{path}: feature {index}: coordinates are no x, y pairs ({error})") from error
    return found or None


def _from_roi(path: Path) -> list[tuple[float, float, str]] | None:
    try:
        roi = ImagejRoi.frombytes(path.read_bytes())
        points = roi.coordinates() if roi.roitype == ROI_TYPE.POINT else None
    except Exception:  # damaged files are named by the reader of areas
        return None
    return None if points is None else [(float(x), float(y), "") for x, y in np.asarray(points)]
