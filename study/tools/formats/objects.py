"""Which objects of a QuPath export are nuclei, and which are regions that hold them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from study.datasets.aperio import enclosed_area, lie_around
from study.tools.formats.entries import bounds

Sides = tuple[float, float, float, float]
OLD_KINDS = {  # QuPath before 0.3 said it in the feature's id
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tma_core",
    "PathRootObject": "root",
}
INSIDE = "part of a cell"  # spots and the like: objects inside a cell or a detection
NEVER = ("tma_core", "tile", "root", INSIDE)
FOUND = ("detection", "cell")
WHOLE = 0.95  # of the image's width and height
BESIDE = 25  # times the median area of the detections beside it


@dataclass(frozen=True)
class PathObject:
    """One object of a QuPath export: its place in the file, type ("" if not stated), class, name and geometry."""

    where: str
    kind: str
    label: str
    name: str
    geometry: Any
    parent: bool

    def polygons(self, path: Path) -> list[list[Any]]:
        """The areas of the geometry, each a list of polygons, a MultiPolygon of several: exterior ring, then holes."""
        found: list[list[Any]] = []
        others: list[str] = []
        waiting = [self.geometry]
        while waiting:
            geometry = waiting.pop()
            kind = geometry.get("type") if isinstance(geometry, dict) else None
            if kind == "GeometryCollection" and isinstance(geometry.get("geometries"), list):
                waiting += geometry["geometries"][::-1]
                continue
            rings = geometry.get("coordinates") if isinstance(geometry, dict) else None
            if kind not in ("Polygon", "MultiPolygon") or not isinstance(rings, list) or not rings:
                others.append(str(kind or "missing")[:40])
                continue
            parts = rings if kind == "MultiPolygon" else [rings]
            if not all(isinstance(part, list) and part for part in parts):
                raise ValueError(f"{path}: {self.where}: a polygon without a ring; expected lists of x, y pairs")
            found.append(parts)
        if not found:
            raise ValueError(
                f"{path}: {self.where}: geometry is {' and '.join(others) or 'an empty collection'}, expected Polygon "
                "or MultiPolygon; draw areas, not points or lines"
            )
        if others:
            warnings.warn(f"{path}: {self.where}: {', '.join(others)} beside areas is left out", stacklevel=2)
        return found


@dataclass(frozen=True)
class Nucleus:
    """An object that counts: the boxes XYXY of its areas, and the areas as `PathObject.polygons` gives them."""

    thing: PathObject
    boxes: list[Sides]
    areas: list[list[Any]]


def nuclei(objects: Sequence[PathObject], path: Path, shape: tuple[int, int] | None = None) -> list[Nucleus]:
    """The objects without those that are no nuclei, which a warning names.

    Left out are TMA cores, tiles, what lies inside a cell, and QuPath's ignored classes (with a "*"); and annotations
    that have children, span the whole image of `shape` (H, W), lie around much smaller objects (`lie_around`), or are
    25 times as large as the detections beside them. Raises ValueError where nothing is left.
    """
    reasons: dict[int, str] = {}
    rings: dict[int, list[np.ndarray]] = {}
    boxes: dict[int, list[Sides]] = {}
    areas: dict[int, list[list[Any]]] = {}
    for index, thing in enumerate(objects):
        if thing.kind in NEVER:
            reasons[index] = thing.kind
        elif thing.label.endswith("*"):
            reasons[index] = f"ignored class {thing.label!r}"
        elif thing.parent and thing.kind not in FOUND:
            reasons[index] = "has child objects"
        else:
            areas[index] = thing.polygons(path)
            boxes[index] = [_box([bounds(part[0], path, thing.where) for part in area]) for area in areas[index]]
            rings[index] = [np.asarray(part[0], dtype=float)[:, :2] for area in areas[index] for part in area]
    reasons |= _regions(objects, rings, boxes, shape)
    kept = [Nucleus(thing, boxes[index], areas[index]) for index, thing in enumerate(objects) if index not in reasons]
    if reasons:
        named = [f"{objects[index].where} ({reason})" for index, reason in sorted(reasons.items())[:3]]
        more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        said = f"{path}: {len(reasons)} of {len(objects)} objects are no nuclei: {', '.join(named)}{more}"
        if not kept:
            raise ValueError(f"{said}; expected nuclei, export the objects inside the regions too")
        warnings.warn(f"{said}; left out", stacklevel=2)
    return kept


def _box(boxes: Sequence[Sides]) -> Sides:
    """The box around boxes."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _regions(
    objects: Sequence[PathObject],
    rings: dict[int, list[np.ndarray]],
    boxes: dict[int, list[Sides]],
    shape: tuple[int, int] | None,
) -> dict[int, str]:
    """Index → reason of the annotations that their size gives away. rings, boxes: of the objects still in question."""
    if not boxes:
        return {}
    numbers = np.array(list(boxes))
    sides = np.array([_box(each) for each in boxes.values()])
    extent = sides[:, 2:] - sides[:, :2]
    size = np.array([sum(map(enclosed_area, rings[number])) for number in boxes])
    found = np.array([objects[number].kind in FOUND for number in numbers])
    reasons: dict[int, str] = {}
    if shape is not None:
        whole = (extent >= WHOLE * np.array(shape[::-1])).all(axis=1) & ~found
        reasons |= {int(n): "spans the whole image" for n in numbers[whole]}
    if found.any():
        large = (size > BESIDE * np.median(size[found])) & ~found
        reasons |= {int(n): f"much larger than the {found.sum()} detections" for n in numbers[large]}
    around = lie_around([max(rings[number], key=enclosed_area) for number in boxes]) & ~found
    return reasons | {int(n): "lies around much smaller ones" for n in numbers[around]}
