"""`allinsam segment`: nuclei of any H&E image, without prompts, without a network connection.

mini-SAM's promptless mode: the frozen network as it was pre-trained on DSB2018 and simulated tissue, or with the
tensors that a run of the study trained on top of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import imageio.v3 as imageio
import numpy as np
import tifffile
import typer

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.predict import default_field
from allinsam_core.atomic import replacing
from allinsam_core.data.image import read_rgb
from allinsam_core.learning import instances
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.infer import probability
from study.tools import notices
from study.tools.annotate import overlay
from study.tools.formats import write_geojson
from study.tools.spacing import pixel_size


def segment(
    image: Annotated[Path, typer.Argument(help="RGB image: TIFF, PNG or JPEG.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made if missing.")],
    spacing: Annotated[float | None, typer.Option(help="µm per pixel; by default from the TIFF's tags.")] = None,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0, help="Probability that counts as nucleus.")] = 0.5,
) -> None:
    """Find all nuclei of an image: probability, instance map, GeoJSON and a picture."""
    try:
        with notices.shown():
            told = run(image, out, spacing, threshold)
        typer.echo(told)
    except (ValueError, OSError) as error:
        typer.echo(f"segment: {error}", err=True)
        raise typer.Exit(2) from error


def run(image: Path, out: Path, spacing: float | None = None, threshold: float = 0.5) -> str:
    """What `segment` does; returns what to tell. Raises ValueError or OSError before anything is written."""
    pixels = read_rgb(image)
    spacing = pixel_size(image, spacing)
    prob, found = nuclei(pixels, spacing, threshold)
    with replacing(out / f"{image.stem}_probability.png") as file:
        imageio.imwrite(file, np.floor(prob * 255 + 0.5).astype(np.uint8))
    with replacing(out / f"{image.stem}_instances.tif") as file:
        per_centimetre = 10_000 / spacing
        tifffile.imwrite(
            file, found.astype(np.int32), compression="zlib", resolution=(per_centimetre,) * 2, resolutionunit=3
        )
    write_geojson(out / f"{image.stem}.geojson", found)
    with replacing(out / f"{image.stem}_overlay.png") as file:
        imageio.imwrite(file, overlay(pixels, found))
    return f"{found.max()} nuclei at {spacing:g} µm/px; written to {out}: probability, instances, GeoJSON, overlay"


def nuclei(pixels: np.ndarray, spacing: float, threshold: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Probability (H, W) float32 and labels (H, W) int32 of an RGB image (H, W, 3) uint8 at `spacing` µm/px.

    Lengths of the instance step are those of 0.25 µm/px, scaled.
    """
    sam = sams.load_mini()
    field = default_field(sam, spacing)
    if field is None:
        raise ValueError("mini-SAM has a fixed field; another model cannot segment here")
    prob = probability(AdaptedSam(sam, placement="none"), pixels, field, sam.image_encoder.img_size)
    scale = 0.25 / spacing
    settings = instances.InstanceSettings(
        threshold=threshold, smooth=1.0 * scale, depth=1.0 * scale, smallest=max(1, round(20 * scale**2))
    )
    return prob, instances.from_probability(prob, settings)
