"""COCO JSON: boxes as x, y, width, height, or polygons; the image is found by its file name."""

from __future__ import annotations

import re
import unicodedata
import warnings
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from study.tools.formats.areas import from_coco
from study.tools.formats.entries import Boxes, Entry, at_most, bounds, collect

_SUFFIX = re.compile(r"(\.ome)?\.(tiff?|png|jpe?g|jp2|bmp|webp|svs|ndpi)$", re.IGNORECASE)

Sides = tuple[float, float, float, float]


def boxes(content: dict[str, Any], path: Path, image: str | None = None, shape: tuple[int, int] | None = None) -> Boxes:
    """The boxes of one image. image: its file name or path; needed where the file holds several images.

    shape: (H, W) of the image, which the file's "height" and "width" must equal where it states them. Numbers, whole
    or not, and text with the same digits are one id. Annotations marked `iscrowd` outline many nuclei at once and are
    left out with a warning. Raises ValueError naming the entry.
    """
    images, annotations = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise ValueError(f'{path}: COCO needs the lists "images" and "annotations"; found {sorted(content)[:6]}')
    at_most(len(annotations), path)
    known = _by_id(images, path, "image")
    chosen = _chosen(known, path, image)
    _check_size(known[chosen], path, shape)
    categories = content.get("categories", [])
    if not isinstance(categories, list):
        raise ValueError(f'{path}: "categories" is {type(categories).__name__}, expected a list')
    names = {key: str(record.get("name", "")) for key, record in _by_id(categories, path, "category").items()}
    entries, crowds, strangers = [], 0, 0
    for index, annotation in enumerate(annotations):
        where = f"annotation {index}"
        owner = _identity(annotation, "image_id", path, where)
        if owner != chosen:
            strangers += owner not in known
            continue
        if annotation.get("iscrowd"):
            crowds += 1
            continue
        label = names.get(_key(annotation.get("category_id")) or "", "")
        sides = _sides(annotation, path, where)
        area = from_coco(annotation.get("segmentation"), f"{path}: {where}")
        entries.append(Entry(sides, str(annotation.get("id", index)), label, area))
    if strangers:
        said = f"{path}: {strangers} annotations belong to none of the {len(known)} images"
        if not entries:
            raise ValueError(f"{said}, and none to the image; expected their image_id among the ids of the images")
        warnings.warn(f"{said}; left out", stacklevel=2)
    if crowds:
        warnings.warn(f"{path}: {crowds} annotations marked iscrowd are left out", stacklevel=2)
    return collect(entries, path)


def _key(value: object) -> str | None:
    """One spelling of an id: 7, 7.0, "7" and "7.0" are the same."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    return text.removesuffix(".0") if re.fullmatch(r"-?\d+\.0", text) else text or None


def _identity(record: Any, key: str, path: Path, where: str) -> str:
    value = record.get(key) if isinstance(record, dict) else None
    found = _key(value)
    if found is None:
        raise ValueError(f"{path}: {where}: {key!r} is {repr(value)[:80]}, expected a number or a name")
    return found


def _by_id(records: list[Any], path: Path, what: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for index, record in enumerate(records):
        key = _identity(record, "id", path, f"{what} {index}")
        if key in found and found[key] != record:
            raise ValueError(f"{path}: {what} {index}: id {key} is there twice; expected different ids")
        found[key] = record
    return found


def _sides(annotation: dict[str, Any], path: Path, where: str) -> Sides:
    """XYXY of an annotation's "bbox", or around its polygons where it has none."""
    given, outline = annotation.get("bbox"), annotation.get("segmentation")
    around = _around(outline, path, where) if isinstance(outline, list) and outline else None
    if given in (None, []) and around is not None:
        return around
    if given in (None, []) and isinstance(outline, dict):
        raise ValueError(f"{path}: {where}: has a run-length mask and no bbox; export polygons or boxes")
    numbers = [float(v) for v in given if _finite(v)] if isinstance(given, list) else []
    if not (isinstance(given, list) and len(numbers) == len(given) == 4):
        raise ValueError(f"{path}: {where}: bbox is {str(given)[:80]}, expected [x, y, width, height] in pixels")
    x, y, width, height = numbers
    sides = x, y, x + width, y + height
    if around is not None and np.allclose(numbers, around, atol=1) and not np.allclose(sides, around, atol=2):
        raise ValueError(f"{path}: {where}: bbox {numbers} holds two corners, expected [x, y, width, height]")
    return sides


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def _around(outline: list[Any], path: Path, where: str) -> Sides:
    """The box around polygons, each a list x, y, x, y, …"""
    parts = outline if isinstance(outline[0], list) else [outline]
    points = []
    for part in parts:
        if not isinstance(part, list) or len(part) % 2 or not all(map(_finite, part)):
            raise ValueError(f"{path}: {where}: segmentation is {str(part)[:80]}, expected numbers x, y, x, y, …")
        points += list(zip(part[::2], part[1::2], strict=True))
    return bounds(points, path, where)


def _check_size(record: dict[str, Any], path: Path, shape: tuple[int, int] | None) -> None:
    stated = record.get("height"), record.get("width")
    if shape is None or None in stated or (0 in stated):
        return
    if stated != tuple(shape):
        raise ValueError(
            f"{path}: made on an image of {stated[0]}×{stated[1]} px (height × width), this one is "
            f"{shape[0]}×{shape[1]}; annotate the image itself or scale the boxes"
        )


def _parts(name: str) -> tuple[str, ...]:
    """Folders and file name of a path, in one Unicode form."""
    return PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/")).parts or ("",)


def _stem(parts: tuple[str, ...]) -> str:
    """The file name without the suffix of an image; other dots belong to the name."""
    return _SUFFIX.sub("", parts[-1])


def _chosen(known: dict[str, dict[str, Any]], path: Path, image: str | None) -> str:
    """The id of the image: by its file name, else by that without suffix; of several, by the folders they state."""
    if image is None and len(known) == 1:
        return next(iter(known))
    names = {key: _parts(str(record.get("file_name", ""))) for key, record in known.items()}
    wanted = _parts(image or "")
    same = [key for key, parts in names.items() if image and _stem(parts) == _stem(wanted)]
    same = [key for key in same if names[key][-1] == wanted[-1]] or same
    if len(same) > 1:
        fits = [key for key in same if names[key][:-1] == wanted[:-1][len(wanted) - len(names[key]) :]]
        same = [key for key in fits if len(names[key]) == max(len(names[k]) for k in fits)] or same
    if len(same) == 1:
        return same[0]
    shown = sorted("/".join(parts) for parts in names.values())[:5]
    raise ValueError(
        f"{path}: {len(known)} images {shown}, {'several' if same else 'none'} chosen by "
        f"{_stem(wanted) if image else None!r}; expected the image's own file name once among them"
    )
