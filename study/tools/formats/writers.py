"""Boxes and outlines back into the files that `read_boxes` takes: GeoJSON, ImageJ ROIs, COCO, CSV."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi
from shapely.geometry import mapping

from allinsam_core.atomic import replacing
from study.tools.formats.entries import Boxes
from study.tools.formats.outline import Area
from study.tools.formats.table import write_csv


def write_boxes(path: Path | str, boxes: Boxes, shape: tuple[int, int], image: str) -> None:
    """Write them in the format that the suffix names, so that `read_boxes` gives the same back.

    shape: (H, W) of the image of that name. Where an outline is known it is written, and the box where not; a CSV file
    holds boxes only. ImageJ has numbers for classes: n for the n-th name in alphabetical order.
    """
    path = Path(path)
    writers = {".geojson": _geojson, ".json": _coco, ".zip": _imagej, ".csv": _csv}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{path}: cannot write boxes as {path.suffix!r}; expected {', '.join(writers)}")
    with replacing(path) as file:
        writers[path.suffix.lower()](file, boxes, shape, image)


def _areas(boxes: Boxes) -> tuple[Area | None, ...]:
    return boxes.areas or (None,) * len(boxes)


def _rings(area: Area) -> list[np.ndarray]:
    """Outer rings, then inner ones, each (N, 2) XY, not closed."""
    parts = shapely.get_parts(area)
    return [shapely.get_coordinates(ring)[:-1] for part in parts for ring in (part.exterior, *part.interiors)]


def _geojson(path: Path, boxes: Boxes, shape: tuple[int, int], image: str) -> None:
    features = []
    for sides, kind, area in zip(boxes.xyxy.tolist(), boxes.classes, _areas(boxes), strict=True):
        properties: dict[str, Any] = {"objectType": "annotation"}
        if kind:
            properties["classification"] = {"name": kind}
        geometry = mapping(shapely.box(*sides) if area is None else area)
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}, allow_nan=False), encoding="utf-8")


def _coco(path: Path, boxes: Boxes, shape: tuple[int, int], image: str) -> None:
    kinds = sorted(set(boxes.classes))
    annotations = []
    for index, (sides, kind, area) in enumerate(zip(boxes.xyxy.tolist(), boxes.classes, _areas(boxes), strict=True)):
        x0, y0, x1, y1 = sides
        bbox = [x0, y0, x1 - x0, y1 - y0]
        entry = {"id": index + 1, "image_id": 1, "category_id": kinds.index(kind) + 1, "bbox": bbox, "iscrowd": 0}
        if area is not None:
            entry |= {"segmentation": [ring.ravel().tolist() for ring in _rings(area)], "area": float(area.area)}
        annotations.append(entry)
    content = {
        "images": [{"id": 1, "file_name": image, "height": shape[0], "width": shape[1]}],
        "categories": [{"id": i + 1, "name": kind} for i, kind in enumerate(kinds)],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def _imagej(path: Path, boxes: Boxes, shape: tuple[int, int], image: str) -> None:
    kinds = sorted(set(boxes.classes) - {""})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, (sides, kind, area) in enumerate(
            zip(boxes.xyxy.tolist(), boxes.classes, _areas(boxes), strict=True)
        ):
            name = boxes.names[index] or f"{index + 1}"
            roi = _rectangle(sides) if area is None else ImagejRoi.frompoints(_rings(area)[0].astype(np.float32))
            roi.name = name
            roi.group = kinds.index(kind) + 1 if kind else 0
            archive.writestr(f"{index + 1:06d}.roi", roi.tobytes())


def _rectangle(sides: list[float]) -> ImagejRoi:
    x0, y0, x1, y1 = sides
    roi = ImagejRoi(roitype=ROI_TYPE.RECT, version=228)
    roi.left, roi.top, roi.right, roi.bottom = int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1))
    if any(side % 1 for side in sides):
        roi.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        roi.xd, roi.yd, roi.widthd, roi.heightd = x0, y0, x1 - x0, y1 - y0
    return roi


def _csv(path: Path, boxes: Boxes, shape: tuple[int, int], image: str) -> None:
    write_csv(path, boxes)
