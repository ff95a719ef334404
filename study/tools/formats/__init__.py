"""Boxes from the files annotators use, and nuclei back into them.

Read: ImageJ ROIs (.roi, .zip), QuPath GeoJSON, COCO JSON, CSV. Written: GeoJSON, ImageJ ROI archives, CSV.
Coordinates are half-open pixels with the origin at the image's outer corner, as ImageJ and QuPath have them:
pixel (0, 0) covers [0, 1) × [0, 1). Files are untrusted: sizes are bounded, nothing is extracted or executed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from allinsam_core.annotation import boxes as box_rules
from study.extras import imported

for package in ("shapely", "roifile"):  # before the modules that need them
    imported(package)

from study.tools.formats import coco, geojson, imagej, table  # noqa: E402
from study.tools.formats.entries import MAX_BYTES, Boxes  # noqa: E402
from study.tools.formats.geojson import write_geojson  # noqa: E402
from study.tools.formats.imagej import write_imagej  # noqa: E402
from study.tools.formats.table import write_csv  # noqa: E402

OVER_THE_EDGE = 1.0  # px; QuPath and ImageJ let outlines end there

__all__ = ["Boxes", "read_boxes", "write_csv", "write_geojson", "write_imagej"]


def read_boxes(path: Path | str, shape: tuple[int, int] | None = None, image: str | None = None) -> Boxes:
    """The boxes of a file; polygons, ovals and masks become their bounding boxes.

    shape: (H, W) of the image; given, every box must lie inside; one that is up to a pixel over the edge is clipped
    with a warning. image: path or file name of the image, by which a COCO file with several is searched (its suffix
    does not matter).
    Raises FileNotFoundError, or ValueError naming the file, the entry, what was found and what was expected.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of boxes")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path}: {size:,} bytes, expected at most {MAX_BYTES:,}; split the file by image")
    found = _read(path, shape, image)
    _refuse_other_units(found.xyxy, path)
    return found if shape is None else _inside(found, path, shape)


def _refuse_other_units(xyxy: np.ndarray, path: Path) -> None:
    """Raises ValueError for boxes (N, 4), XYXY, of which none can be pixels."""
    if not (xyxy % 1).any():
        return
    if xyxy.min() >= 0 and xyxy.max() <= 1:
        raise ValueError(
            f"{path}: all sides lie between 0 and 1: fractions of the image, expected pixels; multiply x by its width "
            "and y by its height"
        )
    extent = xyxy[:, 2:] - xyxy[:, :2]
    if ((extent > 0) & (extent < 1)).any(axis=1).all():
        raise ValueError(
            f"{path}: every box is narrower than a pixel, expected pixels; is it another unit, or a point that parts "
            "thousands?"
        )


def _read(path: Path, shape: tuple[int, int] | None, image: str | None) -> Boxes:
    suffix = path.suffix.lower()
    if suffix in {".json", ".geojson"}:
        content = geojson.parse(path)
        if isinstance(content, dict) and "annotations" in content:
            return coco.boxes(content, path, image, shape)
        return geojson.boxes(content, path, shape)
    readers: dict[str, Callable[[Path], Boxes]] = {
        ".roi": imagej.read_roi,
        ".zip": imagej.read_zip,
        ".csv": table.read_csv,
    }
    if suffix not in readers:
        raise ValueError(f"{path}: cannot read boxes from {suffix!r}; expected .roi, .zip, .geojson, .json or .csv")
    return readers[suffix](path)


def _inside(found: Boxes, path: Path, shape: tuple[int, int]) -> Boxes:
    """The boxes clipped to an image of `shape` (H, W), if none reaches further than a pixel beyond it."""
    height, width = shape
    clipped = np.clip(found.xyxy, 0, [width, height, width, height]).astype(np.float32)
    over = np.abs(clipped - found.xyxy).max(axis=1, initial=0)
    if (near := (over > 0) & (over <= OVER_THE_EDGE)).any():
        boxes = found.xyxy[near][:3].tolist()
        warnings.warn(f"{path}: {near.sum()} boxes up to a pixel over the edge are clipped: {boxes}", stacklevel=3)
    xyxy = np.where(near[:, None], clipped, found.xyxy)
    return replace(found, xyxy=box_rules.validate(xyxy, shape, str(path)))
