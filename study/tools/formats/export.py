"""Results for other programs, written one nucleus at a time: any number of them in little memory.

GeoJSON for QuPath, an ImageJ ROI archive, COCO, a table. Outlines follow the pixels' edges, so that filling them gives
the very pixels back. Every file takes the place of an older one only when it is complete.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.affinity import scale as scaled

from allinsam_core.atomic import replacing
from study.tools.formats.colours import colours
from study.tools.formats.geojson import geometry
from study.tools.formats.imagej import FARTHEST, traced
from study.tools.formats.nucleus import MEASURES, Nucleus
from study.tools.formats.outline import Area, outline

FORMATS = ("geojson", "csv", "labels", "imagej", "coco", "parquet")
USUAL = ("geojson", "csv", "labels")
COLUMNS = ("label", "x", "y", "class", "confidence", *MEASURES)


def write(
    stem: Path,
    formats: Collection[str],
    nuclei: Callable[[], Iterable[Nucleus]],
    shape: tuple[int, int],
    image: str,
    classes: Iterable[str] = (),
    scale: float = 1.0,
) -> None:
    """Write those of csv, parquet, imagej and coco that are among `formats`, to files whose names begin with `stem`.

    nuclei: gives all of them, anew for each format. Further arguments as the writers have them.
    """
    if "csv" in formats:
        write_table(stem.with_name(f"{stem.name}.csv"), nuclei(), scale)
    if "parquet" in formats:
        write_parquet(stem.with_name(f"{stem.name}.parquet"), nuclei(), scale)
    if "imagej" in formats:
        write_imagej(stem.with_name(f"{stem.name}_rois.zip"), nuclei(), shape)
    if "coco" in formats:
        write_coco(stem.with_name(f"{stem.name}.json"), nuclei(), shape, image, classes)


def write_geojson(
    path: Path, nuclei: Iterable[Nucleus], scale: float = 1.0, kind: str = "detection", classes: Sequence[str] = ()
) -> int:
    """A FeatureCollection that QuPath opens, with class and measurements. Returns the number of nuclei.

    scale: pixels of the slide's finest level per pixel of the masks; QuPath's coordinates are of that level. kind: what
    QuPath takes them for: an "annotation" can be redrawn by hand, a "detection" is light enough for whole slides.
    classes: all there are, which gives each a colour.
    """
    count, shown = 0, colours(classes)
    with replacing(path) as file, file.open("w", encoding="utf-8") as out:
        out.write('{"type": "FeatureCollection", "features": [')
        for nucleus in nuclei:
            properties: dict[str, Any] = {"objectType": kind, "name": str(nucleus.label)}
            if nucleus.kind:
                colour = {"color": list(shown[nucleus.kind])} if nucleus.kind in shown else {}
                properties["classification"] = {"name": nucleus.kind, **colour}
            properties["measurements"] = {"confidence": round(nucleus.confidence, 4), **_rounded(nucleus.measured)}
            feature = {
                "type": "Feature",
                "id": str(nucleus.label),
                "geometry": _geometry(_outline(nucleus), scale),
                "properties": properties,
            }
            out.write(("," if count else "") + "\n" + json.dumps(feature, allow_nan=False))
            count += 1
        out.write("\n]}\n")
    return count


def write_imagej(path: Path, nuclei: Iterable[Nucleus], shape: tuple[int, int]) -> int:
    """A ROI archive for ImageJ's ROI Manager. shape: (H, W) of the image. ValueError beyond ImageJ's 60,535 px."""
    if max(shape) > FARTHEST:
        raise ValueError(f"{path}: the image is {shape} px, ImageJ ROIs reach {FARTHEST}; write GeoJSON instead")
    count = 0
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for nucleus in nuclei:
            roi = traced(_outline(nucleus), str(nucleus.label))
            archive.writestr(zipfile.ZipInfo(f"{nucleus.label:06d}.roi"), roi.tobytes(), zipfile.ZIP_DEFLATED)
            count += 1
    return count


def write_coco(
    path: Path, nuclei: Iterable[Nucleus], shape: tuple[int, int], image: str, classes: Iterable[str]
) -> int:
    """COCO instances of one image, masks as run lengths (exact, holes included). image: its file name."""
    height, width = shape
    names = list(classes) or ["nucleus"]
    count = 0
    with replacing(path) as file, file.open("w", encoding="utf-8") as out:
        head = {
            "images": [{"id": 1, "file_name": image, "height": height, "width": width}],
            "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
        }
        out.write(json.dumps(head)[:-1] + ', "annotations": [')
        for nucleus in nuclei:
            rows, columns = nucleus.mask.shape
            annotation = {
                "id": nucleus.label,
                "image_id": 1,
                "category_id": names.index(nucleus.kind) + 1 if nucleus.kind in names else 1,
                "bbox": [nucleus.left, nucleus.top, columns, rows],
                "area": int(np.count_nonzero(nucleus.mask)),
                "segmentation": {"size": [height, width], "counts": _runs(nucleus, shape)},
                "iscrowd": 0,
                "score": round(nucleus.confidence, 4),
            }
            out.write(("," if count else "") + "\n" + json.dumps(annotation, allow_nan=False))
            count += 1
        out.write("\n]}\n")
    return count


def _runs(nucleus: Nucleus, shape: tuple[int, int]) -> list[int]:
    """Run lengths down the columns of the whole image, background first."""
    columns, rows = np.nonzero(nucleus.mask.T)
    flat = (columns + nucleus.left) * shape[0] + rows + nucleus.top
    starts = flat[np.flatnonzero(np.diff(flat, prepend=-2) != 1)]
    ends = flat[np.flatnonzero(np.diff(flat, append=shape[0] * shape[1] + 1) != 1)] + 1
    edges = np.stack([starts, ends], axis=1).ravel()
    runs = np.diff(edges, prepend=0, append=shape[0] * shape[1]).tolist()
    return runs if runs[-1] else runs[:-1]


def write_table(path: Path, nuclei: Iterable[Nucleus], scale: float = 1.0) -> int:
    """One row a nucleus: label, centroid in pixels of the finest level, class, confidence, `MEASURES`."""
    count = 0
    with replacing(path) as file, file.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(COLUMNS)
        for nucleus in nuclei:
            rows.writerow(_row(nucleus, scale).values())
            count += 1
    return count


def write_parquet(path: Path, nuclei: Iterable[Nucleus], scale: float = 1.0, batch: int = 20_000) -> int:
    """The same table as Parquet. Raises ValueError where pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError(f"{path}: Parquet needs pyarrow; pip install pyarrow, or use the CSV table") from error
    kinds = {"label": pa.int64(), "class": pa.string()}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in COLUMNS])
    count = 0
    with replacing(path) as file, pq.ParquetWriter(file, schema) as out:
        for rows in _batches((_row(nucleus, scale) for nucleus in nuclei), batch):
            out.write_table(pa.Table.from_pylist(rows, schema))
            count += len(rows)
    return count


def _batches(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _row(nucleus: Nucleus, scale: float) -> dict[str, Any]:
    y, x = (place.mean() + 0.5 for place in np.nonzero(nucleus.mask))
    measured = _rounded(nucleus.measured) if nucleus.measured else dict.fromkeys(MEASURES)
    return {
        "label": nucleus.label,
        "x": round(float(nucleus.left + x) * scale, 2),
        "y": round(float(nucleus.top + y) * scale, 2),
        "class": nucleus.kind,
        "confidence": round(nucleus.confidence, 4),
        **measured,
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.5g}") for name, value in values.items()}


def _outline(nucleus: Nucleus) -> Area:
    return outline(nucleus.mask, nucleus.top, nucleus.left)


def _geometry(area: Area, scale: float) -> dict[str, Any]:
    if scale == 1.0:
        return geometry(area)
    return json.loads(shapely.to_geojson(shapely.set_precision(scaled(area, scale, scale, origin=(0, 0)), 0.01)))
