"""QuPath's GeoJSON: a FeatureCollection of polygons in pixels, each with a classification."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import shapely

from allinsam_core.atomic import replacing
from study.names import is_text
from study.tools.formats.areas import from_rings
from study.tools.formats.entries import Boxes, Entry, at_most, collect
from study.tools.formats.objects import FOUND, INSIDE, OLD_KINDS, PathObject, nuclei
from study.tools.formats.outline import outlines

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # escaped, which JSON allows one half of a pair to be


def parse(path: Path) -> Any:
    """The content of a JSON file. NaN, infinities, broken text and absurd nesting are errors that name the file."""

    def refuse(token: str) -> NoReturn:
        raise ValueError(f"the number {token}")

    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text, parse_constant=refuse)
        if _SURROGATE.search(text) and not is_text(json.dumps(content, ensure_ascii=False)):
            raise ValueError("half a character, as \\ud83d without its second half")
        return content
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not valid JSON: {str(error)[:200]}; export it again from the annotation tool"
        ) from None


def boxes(content: Any, path: Path, shape: tuple[int, int] | None = None) -> Boxes:
    """Bounding boxes of the nuclei of a FeatureCollection, a list of Features (older QuPath) or one Feature.

    Objects inside others (`childObjects`) count too. Regions, TMA cores and tiles are left out with a warning that
    names them (`objects.nuclei`). A cell counts with its nucleus. A MultiPolygon is one box, a GeometryCollection one
    for each of its areas. The class is the classification's name. shape: (H, W) of the image, if known.
    """
    found: list[PathObject] = []
    kinds: dict[str, str] = {}
    planes: set[str] = set()
    whole_cells = 0
    for where, feature in _features(content, path):
        thing = _object(feature, path, where)
        if kinds.get(where.rpartition(", child")[0]) in (*FOUND, INSIDE):
            thing = replace(thing, kind=INSIDE)
        kinds[where] = thing.kind
        found.append(thing)
        geometry = feature.get("geometry")
        planes.add(json.dumps(geometry.get("plane") if isinstance(geometry, dict) else None, sort_keys=True))
        whole_cells += thing.kind == "cell" and not feature.get("nucleusGeometry")
    if len(planes - {"null"}) > 1:
        raise ValueError(
            f"{path}: objects on several planes {sorted(planes)[:3]}, expected one image; export one plane"
        )
    if whole_cells:
        warnings.warn(f"{path}: {whole_cells} cells without a nucleus: the cell's outline is taken", stacklevel=2)
    kept = nuclei(found, path, shape)
    entries = []
    for nucleus in kept:
        thing = nucleus.thing
        for sides, polygons in zip(nucleus.boxes, nucleus.areas, strict=True):
            area = from_rings(polygons, f"{path}: {thing.where}")
            entries.append(Entry(sides, thing.name, thing.label, area))
    return collect(entries, path)


def _features(content: Any, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every feature with its place in the file, parents before children."""
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        features = content.get("features")
    else:
        features = [content] if isinstance(content, dict) else content
    if not isinstance(features, list):
        raise ValueError(f"{path}: found {type(content).__name__}, expected a GeoJSON FeatureCollection or COCO file")
    waiting = [(f"feature {index}", feature) for index, feature in enumerate(features)][::-1]
    count = 0
    while waiting:
        at_most(count + len(waiting), path)
        where, feature = waiting.pop()
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise ValueError(f'{path}: {where}: expected an object with "type": "Feature"; is it QuPath\'s GeoJSON?')
        count += 1
        yield where, feature
        waiting += [(f"{where}, child {i}", child) for i, child in enumerate(_children(feature, path, where))][::-1]


def _children(feature: dict[str, Any], path: Path, where: str) -> list[Any]:
    children = feature.get("childObjects") or _properties(feature).get("childObjects") or []
    if not isinstance(children, list):
        raise ValueError(f"{path}: {where}: childObjects is {type(children).__name__}, expected a list of features")
    return children


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _object(feature: dict[str, Any], path: Path, where: str) -> PathObject:
    properties = _properties(feature)
    label = properties.get("classification", "")
    if isinstance(label, dict):
        names = label.get("names")
        label = label.get("name") or ("/".join(map(str, names)) if isinstance(names, list) else "")
    identity = str(feature.get("id") or "")
    kind = properties.get("objectType") or properties.get("object_type") or OLD_KINDS.get(identity, "")
    name = properties.get("name") or ("" if identity in OLD_KINDS else identity)
    geometry = feature.get("nucleusGeometry") or feature.get("geometry")
    return PathObject(where, str(kind), str(label or ""), str(name), geometry, bool(_children(feature, path, where)))


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
