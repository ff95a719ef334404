"""Boxes from the files annotators use, and nuclei back into them.

Read: ImageJ ROIs (.roi, .zip), QuPath GeoJSON, COCO JSON, CSV. Written: GeoJSON, ImageJ ROI archives, CSV.
Coordinates are half-open pixels with the origin at the image's outer corner, as ImageJ and QuPath have them:
pixel (0, 0) covers [0, 1) × [0, 1). Files are untrusted: sizes are bounded, nothing is extracted or executed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from allinsam_core.annotation import boxes as box_rules
from study.tools.formats import coco, geojson, imagej, table
from study.tools.formats.entries import MAX_BYTES, Boxes
from study.tools.formats.geojson import write_geojson
from study.tools.formats.imagej import write_imagej
from study.tools.formats.table import write_csv

__all__ = ["Boxes", "read_boxes", "write_csv", "write_geojson", "write_imagej"]


def read_boxes(path: Path | str, shape: tuple[int, int] | None = None, image: str | None = None) -> Boxes:
    """The boxes of a file; polygons, ovals and masks become their bounding boxes.

    shape: (H, W) of the image; given, every box must lie inside. image: file name of the image, by which a COCO
    file with several is searched (directories and suffix do not matter).
    Raises FileNotFoundError, or ValueError naming the file, the entry, what was found and what was expected.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of boxes")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path}: {size:,} bytes, expected at most {MAX_BYTES:,}; split the file by image")
    read = _reader(path, image)
    found = read(path)
    if shape is None:
        return found
    return replace(found, xyxy=box_rules.validate(found.xyxy, shape, str(path)))


def _reader(path: Path, image: str | None) -> Callable[[Path], Boxes]:
    suffix = path.suffix.lower()
    if suffix in {".json", ".geojson"}:
        content = geojson.parse(path)
        if isinstance(content, dict) and "annotations" in content:
            return lambda p: coco.boxes(content, p, image)
        return lambda p: geojson.boxes(content, p)
    readers: dict[str, Callable[[Path], Boxes]] = {
        ".roi": imagej.read_roi,
        ".zip": imagej.read_zip,
        ".csv": table.read_csv,
    }
    if suffix not in readers:
        raise ValueError(f"{path}: cannot read boxes from {suffix!r}; expected .roi, .zip, .geojson, .json or .csv")
    return readers[suffix]
