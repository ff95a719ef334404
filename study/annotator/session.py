"""An annotation in the making: on disk after every change, with SAM's mask for every box."""

from __future__ import annotations

import json
import time
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from shapely.geometry import mapping

from allinsam_core.annotation.merge import merge
from allinsam_core.annotation.predict import BoxAnnotator, BoxMask
from allinsam_core.atomic import replacing
from study.numbers import array
from study.tools.formats import read_boxes
from study.tools.formats.entries import Boxes
from study.tools.formats.geojson import parse
from study.tools.formats.outline import outline
from study.tools.formats.outline import rasterise as filled

TRACE = "_annotation_log.jsonl"


@dataclass(frozen=True)
class Shape:
    """A box (two corners) or an outline (its vertices). points: XY pixels, half-open as everywhere."""

    id: str
    kind: Literal["box", "outline"]
    points: tuple[tuple[float, float], ...]
    name: str = ""
    """Of its class."""

    @classmethod
    def of(cls, given: Mapping[str, Any], classes: Sequence[str], size: tuple[int, int]) -> Shape:
        """What the browser sent, checked. size: (H, W). Raises ValueError."""
        kind, name = given.get("kind"), str(given.get("class", ""))
        points = array(given.get("points"))
        least = 2 if kind == "box" else 3
        if kind not in ("box", "outline") or points.ndim != 2 or points.shape[1] != 2 or len(points) < least:
            raise ValueError(f"annotation {given.get('id')}: {kind} of shape {points.shape}, expected a box or outline")
        if not np.isfinite(points).all() or points.min() < 0 or (points > (size[1], size[0])).any():
            raise ValueError(f"annotation {given.get('id')}: {points.tolist()} leaves the image of {size} px (H, W)")
        if name not in classes:
            raise ValueError(f"annotation {given.get('id')}: class {name!r}, expected one of {list(classes)}")
        return cls(str(given.get("id")), kind, tuple((float(x), float(y)) for x, y in points), name)

    @property
    def sides(self) -> tuple[float, float, float, float]:
        """XYXY of the box, or of that around the outline."""
        x, y = zip(*self.points, strict=True)
        return min(x), min(y), max(x), max(y)

    @property
    def area(self) -> shapely.Polygon:
        """What it encloses."""
        return shapely.box(*self.sides) if self.kind == "box" else shapely.Polygon(self.points)

    def plain(self) -> dict[str, Any]:
        """For the browser."""
        return {"id": self.id, "kind": self.kind, "points": [list(p) for p in self.points], "class": self.name}


class Session:
    """One image's annotation, kept in a GeoJSON file that QuPath and `allinsam train` read.

    path: that file; what it holds already is taken over. image: (H, W, 3) uint8. annotator: answers boxes with masks;
    None: there are none. classes: names that a nucleus may have; those in the file are added.
    """

    def __init__(
        self, path: Path, image: np.ndarray, annotator: BoxAnnotator | None = None, classes: Sequence[str] = ("",)
    ) -> None:
        self.path, self.image, self.annotator = path, image, annotator
        self.size = (image.shape[0], image.shape[1])
        self.revision = 0
        self.shapes: list[Shape] = []
        self.classes = list(classes) or [""]
        self._masks: dict[tuple[float, ...], BoxMask] = {}
        if annotator is not None:
            annotator.set_image(image)
        if path.is_file():
            self.shapes = self._taken(read_boxes(path, self.size))
            content = parse(path)
            revision = content.get("revision") if isinstance(content, dict) else None
            self.revision = revision if isinstance(revision, int) else 0

    @property
    def trace(self) -> Path:
        """The log of what every change took, a JSON object a line."""
        return self.path.with_name(f"{self.path.stem}{TRACE}")

    def change(
        self, revision: int, shapes: Sequence[Mapping[str, Any]], event: Mapping[str, Any] | None = None
    ) -> None:
        """Take over the browser's shapes and save them. Raises ValueError or OSError; the file is then as it was."""
        checked = [Shape.of(given, self.classes, self.size) for given in shapes]
        self.save(checked, revision)
        if event:
            with self.trace.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"time": time.time(), **event}) + "\n")

    def save(self, shapes: list[Shape], revision: int) -> None:
        """Replace the file, whole or not at all."""
        features = [
            {
                "type": "Feature",
                "id": shape.id,
                "geometry": mapping(shape.area),
                "properties": {"objectType": "annotation"}
                | ({"classification": {"name": shape.name}} if shape.name else {}),
            }
            for shape in shapes
        ]
        with replacing(self.path) as file:
            content = {"type": "FeatureCollection", "revision": revision, "features": features}
            file.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
        self.shapes, self.revision = shapes, revision

    def masks(self) -> dict[str, BoxMask]:
        """SAM's mask of every box, by id; only new or changed boxes are asked for."""
        if self.annotator is None:
            return {}
        boxes = {s.id: s.sides for s in self.shapes if s.kind == "box"}
        new = [sides for sides in dict.fromkeys(boxes.values()) if sides not in self._masks]
        if new:
            answers = self.annotator.predict(np.array(new, np.float32), str(self.path))
            self._masks.update(zip(new, answers, strict=True))
        return {key: self._masks[sides] for key, sides in boxes.items()}

    def read(self, path: Path | str, image: str | None = None) -> None:
        """Add the boxes and outlines of a file of any format that `read_boxes` knows, and save."""
        self.save([*self.shapes, *self._taken(read_boxes(path, self.size, image))], self.revision + 1)

    def boxes(self) -> Boxes:
        """What is annotated, as the writers of `study.tools.formats` take it."""
        sides = np.array([s.sides for s in self.shapes], np.float32).reshape(-1, 4)
        names, kinds = tuple(s.id for s in self.shapes), tuple(s.name for s in self.shapes)
        areas = tuple(s.area if s.kind == "outline" else None for s in self.shapes)
        return Boxes(sides, names, kinds, str(self.path), areas)

    def instances(self) -> np.ndarray:
        """(H, W) int32: the nuclei, 0 = background, label i + 1 = shape i: masks of boxes, then outlines above them."""
        answered = {index: mask for index, shape in enumerate(self.shapes) if (mask := self.masks().get(shape.id))}
        found = merge(list(answered.values()), self.size, [index + 1 for index in answered])[0].astype(np.int32)
        for index, shape in enumerate(self.shapes):
            if shape.kind == "outline":
                found[filled(shape.area, self.size)] = index + 1
        return found

    def _taken(self, found: Boxes) -> list[Shape]:
        """Boxes and outlines of a file; of an outline with holes or parts its largest ring."""
        areas = found.areas or (None,) * len(found)
        shapes = []
        for sides, kind, area in zip(found.xyxy.tolist(), found.classes, areas, strict=True):
            if kind not in self.classes:
                self.classes.append(kind)
            corners = ((sides[0], sides[1]), (sides[2], sides[3]))
            key = str(uuid.uuid4())
            if area is None or area.equals(shapely.box(*sides)):
                shapes.append(Shape(key, "box", corners, kind))
                continue
            parts = list(shapely.get_parts(area))
            if len(parts) > 1 or parts[0].interiors:
                warnings.warn(
                    f"{found.source}: of an outline with holes or parts the largest ring is kept", stacklevel=3
                )
            ring = shapely.get_coordinates(max(parts, key=lambda part: part.area).exterior)[:-1]
            shapes.append(Shape(key, "outline", tuple((float(x), float(y)) for x, y in ring), kind))
        return shapes


def svg_path(mask: BoxMask) -> str:
    """A mask as the `d` of an SVG path in image pixels, "" for an empty one."""
    if not mask.mask.size:
        return ""
    rings = [
        ring
        for part in shapely.get_parts(outline(mask.mask, mask.top, mask.left))
        for ring in (part.exterior, *part.interiors)
    ]
    return "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in shapely.get_coordinates(r)[:-1]) + "Z" for r in rings)
