"""A laboratory's annotated images as a folder.

    DATA/slide1_a.png  slide1_a.geojson     an image and its annotation, by name
    DATA/slide2_b.tif  slide2_b_labels.tif  or a label image: one value a nucleus, 0 = background (or a mask, by its
                                            connected parts)
    DATA/coco.json                          or one COCO file that names the images

Images may also lie in DATA/images, annotations in DATA/annotations and label images in DATA/labels. Annotations are
boxes or outlines (ImageJ .roi or .zip, QuPath .geojson, COCO .json, .csv), or points, which need a radius. An upright
rectangle is a box, which SAM turns into a mask; any other outline is taken as drawn. Beside a label image, a table
NAME.csv with the columns label and class may name the classes. Every nucleus of an annotated image must be annotated;
an annotation without objects says that there are none. An image without annotation is left out.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from allinsam_core.annotation.merge import merge
from allinsam_core.annotation.predict import BoxAnnotator, BoxMask, default_field
from allinsam_core.annotation.sam import Sam
from allinsam_core.atomic import replacing, set_aside
from allinsam_core.data.case import Case
from study.datasets.image import read_rgb
from study.names import readable
from study.numbers import whole
from study.tools import kinds, maps
from study.tools.formats import read_boxes
from study.tools.formats.areas import is_box
from study.tools.formats.entries import Boxes
from study.tools.formats.geojson import parse
from study.tools.formats.outline import rasterise
from study.tools.formats.points import read_points
from study.tools.formats.table import rows_of
from study.tools.spacing import pixel_size

IMAGES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
LABELS = ("_labels", "_instances")  # what a label image's name ends with, beside its image
ANNOTATIONS = (".geojson", ".zip", ".roi", ".json", ".csv")


@dataclass(frozen=True)
class Pair:
    """An image file and its annotation file; None: it has none. labels: the annotation is a label image."""

    image: Path
    annotation: Path | None
    labels: bool = False


def pairs(folder: Path) -> list[Pair]:
    """The images of DATA with their annotations, by name. Raises ValueError for two annotations of one image."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of annotated images")
    home = folder / "images" if (folder / "images").is_dir() else folder
    images = [p for p in _files(home, IMAGES) if not p.stem.endswith(LABELS)]
    if not images:
        raise ValueError(f"{home}: no image, expected {', '.join(IMAGES)} files beside their annotations")
    several = [p.stem for p, n in ((p, sum(q.stem == p.stem for q in images)) for p in images) if n > 1]
    if several:
        raise ValueError(f"{home}: more than one image named {several[0]!r}; expected one per name")
    shared = _coco(folder)
    return [_pair(path, folder, shared) for path in images]


def _pair(image: Path, folder: Path, shared: dict[str, Path]) -> Pair:
    places = [folder, folder / "annotations", image.parent]
    drawn = [p for place in dict.fromkeys(places) for s in ANNOTATIONS if (p := place / f"{image.stem}{s}").is_file()]
    labels = [folder / "labels" / f"{image.stem}{s}" for s in IMAGES]
    labels += [p / f"{image.stem}{end}{s}" for p in dict.fromkeys(places) for end in LABELS for s in IMAGES]
    labels = [p for p in labels if p.is_file()]
    if labels:
        drawn = [p for p in drawn if p.suffix != ".csv"]  # names their classes
    if len(drawn) + len(labels) > 1:
        names = ", ".join(p.name for p in (*drawn, *labels))
        raise ValueError(f"{image}: several annotations: {names}; expected one, remove the others")
    return Pair(image, next(iter((*drawn, *labels)), shared.get(readable(image.stem))), labels=bool(labels))


def _coco(folder: Path) -> dict[str, Path]:
    """Names of images, without folder and suffix → the COCO file that speaks of several images and them."""
    found: dict[str, Path] = {}
    for path in _files(folder, (".json",)):
        content = parse(path)
        images = content.get("images") if isinstance(content, dict) else None
        if isinstance(images, list) and len(images) > 1:
            names = [str(i.get("file_name", "")) for i in images if isinstance(i, dict)]
            stems = {PurePosixPath(name.replace("\\", "/")).stem for name in names}
            if both := sorted(stems & found.keys()):
                raise ValueError(f"{path}: image {both[0]!r} is also in {found[both[0]].name}; expected it once")
            found |= dict.fromkeys(stems, path)
    return found


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))


@dataclass(frozen=True)
class Reader:
    """Reads annotated images. spacing: µm per pixel, by default what files say; radius: of points, µm.

    sam, checksum: what answers boxes, and of its weights. cache: a folder where its masks are kept, by content.
    merge_classes: all nuclei are of one kind.
    """

    sam: Sam
    checksum: str
    cache: Path
    spacing: float | None = None
    radius: float | None = None
    merge_classes: bool = False

    def cases(self, found: list[Pair]) -> Iterator[Case]:
        """Every annotated image, in order. Raises ValueError that names the file."""
        for pair in found:
            if pair.annotation is not None:
                yield self.case(pair)

    def case(self, pair: Pair) -> Case:
        """One image with its nuclei and their classes."""
        pixels = read_rgb(pair.image)
        spacing = pixel_size(pair.image, self.spacing)
        instances, kinds = self._labels(pair, pixels) if pair.labels else self._objects(pair, pixels, spacing)
        nameless = sum(not kind for kind in kinds.values())
        if self.merge_classes or nameless == len(kinds):
            kinds = {}
        elif nameless:
            raise ValueError(
                f"{pair.annotation}: {nameless} of {len(kinds)} nuclei have no class; give every one a class, "
                "or train without classes (--merge-classes)"
            )
        if instances.max(initial=0) > np.iinfo(np.uint16).max:
            raise ValueError(f"{pair.annotation}: more than 65,535 nuclei; cut the image into smaller ones")
        return Case(
            readable(pair.image.stem), pixels, instances.astype(np.uint16), spacing, "laboratory", classes=kinds
        )

    def _labels(self, pair: Pair, pixels: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        path = pair.annotation
        assert path is not None  # noqa: S101
        values = maps.read(path)
        if values.shape != pixels.shape[:2] or values.dtype.kind not in "iub":
            raise ValueError(
                f"{path}: {values.dtype} of shape {values.shape}, expected one whole number per pixel of "
                f"{pixels.shape[:2]}, as the image"
            )
        table = path.parent / f"{pair.image.stem}.csv"
        named = _class_table(table) if table.is_file() else {}
        values = values if named else _nuclei(values, path)
        present = np.unique(values[values > 0])
        if named and (missing := [v for v in present.tolist() if v not in named]):
            raise ValueError(f"{table}: no class for label {missing[0]} of {path.name}; expected one for each")
        return np.searchsorted(present, values, side="right") * (values > 0), {
            n: named.get(v, "") for n, v in enumerate(present.tolist(), start=1)
        }

    def _objects(self, pair: Pair, pixels: np.ndarray, spacing: float) -> tuple[np.ndarray, dict[int, str]]:
        path, shape = pair.annotation, (pixels.shape[0], pixels.shape[1])
        assert path is not None  # noqa: S101
        drawn = None if self.radius is None else read_points(path, shape, self.radius / spacing)
        drawn = drawn if drawn is not None else read_boxes(path, shape, readable(pair.image.name))
        areas = drawn.areas or (None,) * len(drawn)
        boxed = [i for i, area in enumerate(areas) if is_box(area)]
        masks = dict(zip(boxed, self._answers(pixels, drawn, boxed, spacing), strict=True))
        for index, area in enumerate(areas):
            if index not in masks and area is not None:
                masks[index] = _painted(rasterise(area, shape))
        instances, rows = merge([masks[i] for i in range(len(drawn))], shape)
        kept = rows.loc[rows["kept"] > 0, "instance"].tolist()
        return instances, {int(n): drawn.classes[n - 1] for n in kept}

    def _answers(self, pixels: np.ndarray, drawn: Boxes, boxed: list[int], spacing: float) -> list[BoxMask]:
        """SAM's masks of the boxes, from the cache if they were made before."""
        if not boxed:
            return []
        boxes, field = drawn.xyxy[boxed], default_field(self.sam, spacing)
        key = hashlib.sha256(f"{self.checksum} {field} {pixels.shape}".encode())
        key.update(np.ascontiguousarray(pixels).tobytes() + boxes.tobytes())
        file = self.cache / f"{key.hexdigest()}.npz"
        if (kept := _recall(file, len(boxes))) is not None:
            return kept
        masks = BoxAnnotator(self.sam, field).annotate(pixels, boxes, drawn.source)
        parts: dict[str, Any] = {str(i): m.mask for i, m in enumerate(masks)}
        with replacing(file) as unfinished, unfinished.open("wb") as out:
            np.savez_compressed(out, **parts, place=[(m.top, m.left) for m in masks], score=[m.score for m in masks])
        return masks


def _recall(file: Path, count: int) -> list[BoxMask] | None:
    """The masks that an earlier call left in `file`, or None. A damaged file is set aside, with a warning."""
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as kept:
            masks = [
                BoxMask(int(top), int(left), kept[str(i)], float(score))
                for i, ((top, left), score) in enumerate(zip(kept["place"], kept["score"], strict=True))
            ]
        if len(masks) != count or any(m.mask.dtype != bool or m.mask.ndim != 2 for m in masks):
            raise ValueError(f"{len(masks)} masks, expected {count} of bool (H, W)")
    except Exception as error:  # NumPy and zipfile raise many types for a damaged file
        set_aside(file, error, "its masks are made anew")
        return None
    return masks


def _nuclei(values: np.ndarray, path: Path) -> np.ndarray:
    """(H, W) labels of a label image, or of the connected parts of a mask, with a warning. Raises ValueError for a map
    of another kind (`kinds`), from which nuclei cannot be told."""
    finding = kinds.recognise(values, path)
    if finding.kind == "labels":
        return values
    if "binary" in finding.possible:
        labels = maps.as_instances(values, "binary", path)
        if (count := labels.max(initial=0)) > 1:
            warnings.warn(f"{path}: a mask, its {count} connected parts are taken as nuclei", stacklevel=2)
        return labels
    likely = kinds.NAMES[finding.kind] if finding.kind else "no label image"
    raise ValueError(
        f"{path}: {finding.seen}: looks like {likely}, expected a label image, one value a nucleus and 0 between them; "
        "where it is one, a table beside it with the columns label and class says so"
    )


def _painted(mask: np.ndarray) -> BoxMask:
    """A mask drawn by hand, which no predicted one may overrule."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return BoxMask(0, 0, np.zeros((0, 0), dtype=bool), 2.0)
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return BoxMask(int(rows[0]), int(columns[0]), part, 2.0)


def _class_table(path: Path) -> dict[int, str]:
    with rows_of(path) as rows:
        if not {"label", "class"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}: columns {rows.fieldnames}, expected label and class")
        try:
            return {whole(row["label"]): row["class"] or "" for row in rows}
        except ValueError as error:
            raise ValueError(f"{path}: line {rows.line_num}: label {error}") from error


def class_images(cases: list[Case]) -> dict[str, list[str]]:
    """Class → names of the images that show it."""
    found: dict[str, list[str]] = {}
    for case in cases:
        for name in Counter(case.classes.values()):
            found.setdefault(name, []).append(case.name)
    return found
