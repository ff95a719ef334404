"""`allinsam segment`: nuclei of any H&E image, without prompts, without a network connection.

mini-SAM's promptless mode, the frozen network as it was pre-trained on DSB2018 and simulated tissue, or with `--model`
what `allinsam train` made of your own annotations.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import imageio.v3 as imageio
import numpy as np
import tifffile
import typer

from allinsam_core import nuclei as nuclei_of
from allinsam_core.atomic import replacing
from allinsam_core.data.image import read_rgb
from allinsam_core.model import Model, load
from study.tools.annotate import overlay
from study.tools.formats import write_geojson
from study.tools.spacing import from_tiff


def segment(
    image: Annotated[Path, typer.Argument(help="RGB image: TIFF, PNG or JPEG.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made if missing.")],
    spacing: Annotated[float | None, typer.Option(help="µm per pixel; by default from the TIFF's tags.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which on a pixel is nucleus; by default the model's own.")
    ] = None,
    model: Annotated[str, typer.Option(help="A model file of `allinsam train`; mini is mini-SAM as it is.")] = "mini",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights of Meta's SAM, for a model that stands on it.")
    ] = None,
) -> None:
    """Find all nuclei of an image: probability, instance map, GeoJSON and a picture."""
    try:
        typer.echo(run(image, out, spacing, threshold, model, checkpoint))
    except (ValueError, OSError) as error:
        typer.echo(f"segment: {error}", err=True)
        raise typer.Exit(2) from error


def run(
    image: Path,
    out: Path,
    spacing: float | None = None,
    threshold: float | None = None,
    model: str = "mini",
    checkpoint: Path | None = None,
) -> str:
    """What `segment` does; returns what to tell. Raises ValueError or OSError before anything is written."""
    pixels = read_rgb(image)
    spacing = spacing if spacing is not None else from_tiff(image)
    if spacing is None:
        raise ValueError(f"{image}: does not say how large its pixels are; add --spacing (µm per pixel; 0.25 for 40×)")
    chosen = cut_at(load(model, checkpoint), threshold)
    found = nuclei_of.segment(pixels, chosen, spacing=spacing)
    several = len(chosen.about.classes) > 1
    for name, prob in zip(chosen.about.classes, found.probability, strict=True):
        with replacing(out / f"{image.stem}_probability{f'_{name}' if several else ''}.png") as file:
            imageio.imwrite(file, np.floor(prob * 255 + 0.5).astype(np.uint8))
    with replacing(out / f"{image.stem}_instances.tif") as file:
        per_centimetre = 10_000 / spacing
        tifffile.imwrite(file, found.instances, compression="zlib", resolution=(per_centimetre,) * 2, resolutionunit=3)
    measured = [{"confidence": float(value)} for value in found.confidence]
    write_geojson(out / f"{image.stem}.geojson", found.instances, found.classes if several else None, measured)
    with replacing(out / f"{image.stem}_overlay.png") as file:
        imageio.imwrite(file, overlay(pixels, found.instances))
    counts = ", ".join(f"{found.classes.count(name)} {name}" for name in chosen.about.classes) if several else ""
    return (
        f"{len(found.labels)} nuclei{f' ({counts})' if counts else ''} at {spacing:g} µm/px; "
        f"written to {out}: probability, instances, GeoJSON, overlay"
    )


def cut_at(model: Model, threshold: float | None) -> Model:
    """The model with one threshold for all its classes; None: its own."""
    if threshold is None:
        return model
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold:g}, expected a probability between 0 and 1")
    cut = model.about.model_copy(update={"thresholds": (threshold,) * len(model.about.classes)})
    return replace(model, about=cut)


def nuclei(pixels: np.ndarray, spacing: float, threshold: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """mini-SAM's probability (H, W) float32 and labels (H, W) int32 of an image (H, W, 3) uint8 at `spacing` µm/px."""
    found = nuclei_of.segment(pixels, cut_at(load("mini"), threshold), spacing=spacing)
    return found.probability[0], found.instances
