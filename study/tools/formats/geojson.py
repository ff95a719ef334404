"""QuPath's GeoJSON: a FeatureCollection of polygons in pixels, each with a classification."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import shapely

from allinsam_core.atomic import replacing
from study.tools.formats.areas import from_rings
from study.tools.formats.entries import Boxes, Entry, at_most, bounds, collect
from study.tools.formats.outline import outlines


def parse(path: Path) -> Any:
    """The content of a JSON file. NaN, infinities, broken text and absurd nesting are errors that name the file."""

    def refuse(token: str) -> NoReturn:
        raise ValueError(f"the number {token}")

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not valid JSON: {str(error)[:200]}; export it again from the annotation tool"
        ) from None


def boxes(content: Any, path: Path) -> Boxes:
    """Bounding boxes of the polygons of a FeatureCollection, a list of Features (older QuPath) or one Feature.

    A QuPath cell counts with its nucleus. The class is the classification's name. A MultiPolygon is one box.
    """
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        features = content.get("features")
    else:
        features = [content] if isinstance(content, dict) else content
    if not isinstance(features, list):
        raise ValueError(f"{path}: found {type(content).__name__}, expected a GeoJSON FeatureCollection or COCO file")
    at_most(len(features), path)
    return collect([_entry(feature, path, index) for index, feature in enumerate(features)], path)


def _entry(feature: Any, path: Path, index: int) -> Entry:
    where = f"feature {index}"
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise ValueError(f'{path}: {where}: expected an object with "type": "Feature"; is it QuPath\'s GeoJSON?')
    geometry = feature.get("nucleusGeometry") or feature.get("geometry")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    rings = geometry.get("coordinates") if isinstance(geometry, dict) else None
    if kind not in {"Polygon", "MultiPolygon"} or not isinstance(rings, list) or not rings:
        raise ValueError(
            f"{path}: {where}: geometry is {kind or 'missing'}, expected Polygon or MultiPolygon; "
            "draw areas, not points or lines"
        )
    polygons = rings if kind == "MultiPolygon" else [rings]
    if not all(isinstance(p, list) and p for p in polygons):
        raise ValueError(f"{path}: {where}: a polygon without a ring; expected lists of x, y pairs")
    parts = np.array([bounds(polygon[0], path, where) for polygon in polygons])
    sides = (*parts[:, :2].min(axis=0), *parts[:, 2:].max(axis=0))
    properties = feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    label = properties.get("classification", "")
    if isinstance(label, dict):
        label = label.get("name") or "/".join(map(str, label.get("names", ())))
    area = from_rings(polygons, f"{path}: {where}")
    return Entry(sides, str(properties.get("name") or feature.get("id") or ""), str(label or ""), area)


def write_geojson(
    path: Path | str,
    instances: np.ndarray,
    classes: Sequence[str] | None = None,
    measurements: Sequence[dict[str, float]] | None = None,
) -> int:
    """Every instance as a pixel-exact polygon that QuPath opens as an annotation. Returns their number.

    instances: (H, W) integers, 0 = background. classes, measurements: one per label present, in increasing order.
    The file is written one feature at a time and takes the place of an older one only when complete.
    """
    found = outlines(instances)
    for what, given in (("classes", classes), ("measurements", measurements)):
        if given is not None and len(given) != len(found):
            raise ValueError(f"{path}: {len(given)} {what} for {len(found)} instances; expected one for each")
    with replacing(Path(path)) as file, file.open("w", encoding="utf-8") as out:
        out.write('{"type": "FeatureCollection", "features": [')
        for index, (value, area) in enumerate(found.items()):
            properties: dict[str, Any] = {"objectType": "annotation", "name": str(value)}
            if classes is not None and classes[index]:
                properties["classification"] = {"name": classes[index]}
            if measurements is not None:
                properties["measurements"] = measurements[index]
            feature = {
                "type": "Feature",
                "id": f"{value}",
                "geometry": geometry(area),
                "properties": properties,
            }
            out.write(("," if index else "") + "\n" + json.dumps(feature, allow_nan=False))
        out.write("\n]}\n")
    return len(found)


def geometry(area: shapely.Polygon | shapely.MultiPolygon) -> dict[str, Any]:
    """GeoJSON of a polygon with whole-number coordinates."""
    polygons = [
        [shapely.get_coordinates(ring).astype(int).tolist() for ring in (part.exterior, *part.interiors)]
        for part in shapely.get_parts(area)
    ]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
