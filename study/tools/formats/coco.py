"""COCO JSON: boxes as x, y, width, height; the image is found by its file name."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from study.tools.formats.areas import from_coco
from study.tools.formats.entries import Boxes, Entry, at_most, collect


def boxes(content: dict[str, Any], path: Path, image: str | None) -> Boxes:
    """The boxes of one image. image: its file name; needed where the file holds several images.

    Annotations marked `iscrowd` outline many nuclei at once and are left out. Raises ValueError naming the entry.
    """
    images, annotations = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise ValueError(f'{path}: COCO needs the lists "images" and "annotations"; found {sorted(content)[:6]}')
    at_most(len(annotations), path)
    chosen = _image_id(images, path, image)
    categories = content.get("categories", [])
    if not isinstance(categories, list):
        raise ValueError(f'{path}: "categories" is {type(categories).__name__}, expected a list')
    names = {_field(c, "id", path, f"category {i}"): str(c.get("name", "")) for i, c in enumerate(categories)}
    entries = []
    for index, annotation in enumerate(annotations):
        where = f"annotation {index}"
        if _field(annotation, "image_id", path, where) != chosen or annotation.get("iscrowd"):
            continue
        kind = annotation.get("category_id")
        label = names.get(kind, "") if isinstance(kind, int | str) else ""
        area = from_coco(annotation.get("segmentation"), f"{path}: {where}")
        entries.append(Entry(_sides(annotation, path, where), str(annotation.get("id", index)), label, area))
    return collect(entries, path)


def _field(record: Any, key: str, path: Path, where: str) -> int | str:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, int | str):
        raise ValueError(f"{path}: {where}: {key!r} is {value!r}, expected a number or a name")
    return value


def _sides(annotation: dict[str, Any], path: Path, where: str) -> tuple[float, float, float, float]:
    """XYXY of an annotation's "bbox"."""
    given = annotation.get("bbox")
    numbers = [float(v) for v in given if type(v) in (int, float)] if isinstance(given, list) else []
    if not (isinstance(given, list) and len(numbers) == len(given) == 4 and np.isfinite(numbers).all()):
        raise ValueError(f"{path}: {where}: bbox is {str(given)[:80]}, expected [x, y, width, height] in pixels")
    x, y, width, height = numbers
    return x, y, x + width, y + height


def _image_id(images: list[Any], path: Path, image: str | None) -> int | str:
    names: dict[str, int | str] = {}
    for index, record in enumerate(images):
        identity = _field(record, "id", path, f"image {index}")
        stem = PurePosixPath(str(record.get("file_name", "")).replace("\\", "/")).stem
        if stem in names:
            raise ValueError(f"{path}: image {index}: a second file named {stem!r}; expected different names")
        names[stem] = identity
    if image is None and len(names) == 1:
        return next(iter(names.values()))
    wanted = Path(image).stem if image is not None else None
    if wanted is None or wanted not in names:
        raise ValueError(
            f"{path}: {len(names)} images {sorted(names)[:5]}, none chosen by {wanted!r}; "
            "expected the image's own file name among them"
        )
    return names[wanted]
