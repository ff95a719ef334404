"""`allinsam annotate`: an image and boxes in, nuclei out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import tifffile
import typer
from skimage.segmentation import find_boundaries

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.attention import fold, has_bfloat16
from allinsam_core.annotation.merge import merge
from allinsam_core.annotation.predict import BoxAnnotator, default_field
from allinsam_core.atomic import replacing
from allinsam_core.model import base_sam
from study.datasets.image import read_rgb
from study.names import readable
from study.numbers import number
from study.tools import notices
from study.tools.errors import sentence
from study.tools.formats import Boxes, read_boxes, write_geojson, write_imagej
from study.tools.formats.colours import colours
from study.tools.formats.imagej import FARTHEST
from study.tools.spacing import pixel_size

OUTLINE = (255, 220, 0)


def annotate(
    image: Annotated[Path, typer.Argument(help="RGB image: TIFF, PNG or JPEG.")],
    boxes: Annotated[Path, typer.Option(help="Boxes: ImageJ .roi/.zip, QuPath .geojson, COCO .json or .csv.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made if missing.")],
    spacing: Annotated[
        float | None, typer.Option(parser=number, help="µm per pixel; by default from the TIFF's tags.")
    ] = None,
    model: Annotated[str, typer.Option(help=f"One of {', '.join(sams.MODELS)}.")] = "mini",
    checkpoint: Annotated[Path | None, typer.Option(help="Weights; mini has its own.")] = None,
    multimask: Annotated[bool, typer.Option(help="Best of SAM's three candidates instead of its single mask.")] = False,
) -> None:
    """Turn boxes into nuclei with SAM: instance map, GeoJSON, ImageJ ROIs, provenance table and a picture."""
    try:
        with notices.shown():
            lines = run(image, boxes, out, spacing, model, checkpoint, multimask)
        for line in lines:
            typer.echo(line)
    except (ValueError, OSError) as error:
        typer.echo(f"annotate: {sentence(error)}", err=True)
        raise typer.Exit(2) from error


def run(
    image: Path,
    boxes: Path,
    out: Path,
    spacing: float | None = None,
    model: str = "mini",
    checkpoint: Path | None = None,
    multimask: bool = False,
) -> list[str]:
    """What `annotate` does; returns what to tell. Files are named after the image and replaced only when complete.

    Raises ValueError or FileNotFoundError, saying what to do, before anything is written.
    """
    pixels = read_rgb(image)
    spacing = pixel_size(image, spacing)
    prompts = read_boxes(boxes, (pixels.shape[0], pixels.shape[1]), readable(image.resolve()))
    if not len(prompts):
        raise ValueError(f"{boxes}: holds no boxes for {image.name}, expected at least one")
    sam = base_sam(model, checkpoint)
    fold(sam.image_encoder)
    field, short = default_field(sam, spacing), has_bfloat16(sam.device)
    annotator = BoxAnnotator(sam, field, multimask=multimask, bfloat16=short)
    masks = annotator.annotate(pixels, prompts.xyxy, str(boxes))
    instances, provenance = merge(masks, (pixels.shape[0], pixels.shape[1]))
    _write(out, image.stem, pixels, instances, _named(provenance, prompts), spacing)
    absent = int((provenance["kept"] == 0).sum())
    window = "the whole image" if annotator.field is None else f"{annotator.field} px"
    return [
        f"{model} ({sams.weights_checksum(sam)[:12]}) at {spacing:g} µm/px, window {window}",
        f"{len(prompts)} boxes, {len(prompts) - absent} nuclei" + (f", {absent} without pixels" if absent else ""),
        f"written to {out}: {image.stem}_instances.tif, .geojson, _rois.zip, _provenance.csv, _overlay.png",
    ]


def _named(provenance: pd.DataFrame, prompts: Boxes) -> pd.DataFrame:
    """The provenance with each box's sides, class and name: a file that `read_boxes` takes again."""
    sides = pd.DataFrame(prompts.xyxy, columns=["x0", "y0", "x1", "y1"])
    return pd.concat([sides, provenance], axis=1).assign(**{"class": prompts.classes, "name": prompts.names})


def _write(
    out: Path, stem: str, pixels: np.ndarray, instances: np.ndarray, provenance: pd.DataFrame, spacing: float
) -> None:
    present = provenance[provenance["kept"] > 0]
    measured = [
        {"predicted IoU": float(score), "area px": float(kept)}
        for score, kept in zip(present["score"], present["kept"], strict=True)
    ]
    per_centimetre = 10_000 / spacing
    with replacing(out / f"{stem}_instances.tif") as file:
        tifffile.imwrite(
            file, instances, compression="zlib", resolution=(per_centimetre, per_centimetre), resolutionunit=3
        )
    write_geojson(out / f"{stem}.geojson", instances, list(present["class"]), measured)
    if max(instances.shape) <= FARTHEST:
        names = [n or str(i) for n, i in zip(present["name"], present["instance"], strict=True)]
        write_imagej(out / f"{stem}_rois.zip", instances, names)
    with replacing(out / f"{stem}_provenance.csv") as file:
        provenance.to_csv(file, index=False)
    with replacing(out / f"{stem}_overlay.png") as file:
        imageio.imwrite(file, overlay(pixels, instances))


def overlay(
    image: np.ndarray, instances: np.ndarray, kinds: Sequence[str] = (), classes: Sequence[str] = ()
) -> np.ndarray:
    """(H, W, 3) uint8: the image with every nucleus outlined. instances: (H, W) integers, 0 = background.

    kinds: the class of label 1, 2, …, of `classes`: outlines then have their class's colour.
    """
    shown = colours(classes)
    table = np.array([OUTLINE, *(shown.get(kind, OUTLINE) for kind in kinds)], np.uint8)
    picture, edge = image.copy(), find_boundaries(instances, mode="inner")
    picture[edge] = table[instances[edge]] if kinds else OUTLINE
    return picture
