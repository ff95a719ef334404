"""`allinsam segment`: nuclei of any H&E image or whole slide, without prompts, without a network connection.

Without a model by mini2, a small SAM as it was pre-trained on DSB2018, BRCA-M2C and simulated tissue; with `--model` by
what `allinsam train` made of your own annotations, or another model that ships.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import imageio.v3 as imageio
import numpy as np
import tifffile
import typer

from allinsam_core import nuclei as nuclei_of
from allinsam_core.atomic import replacing
from allinsam_core.model import DEFAULT, Model, check_device, load
from study.datasets.image import read_rgb
from study.names import fitting, readable
from study.numbers import number
from study.tools import notices
from study.tools.annotate import overlay
from study.tools.errors import sentence
from study.tools.flips import with_profile
from study.tools.formats import export
from study.tools.formats.nucleus import from_labels
from study.tools.slide import is_slide
from study.tools.spacing import pixel_size


def segment(
    image: Annotated[Path, typer.Argument(help="RGB image (TIFF, PNG, JPEG) or slide (SVS, NDPI, MRXS, TIFF, zarr).")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made if missing.")],
    spacing: Annotated[
        float | None, typer.Option(parser=number, help="µm per pixel; by default from the file's tags.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(parser=number, help="Probability from which on a pixel is nucleus; by default the model's own."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="A file of `allinsam train`; or mini, mini2, breast, as they ship.")
    ] = DEFAULT,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights of Meta's SAM, for a model that stands on it.")
    ] = None,
    profile: Annotated[str, typer.Option(help="fast; or best, by flips, in four times the time.")] = "fast",
    also: Annotated[str, typer.Option(help="Further results, separated by commas: imagej, coco, parquet.")] = "",
    whole: Annotated[
        bool, typer.Option("--whole", help="Of a slide: all of it, not only where tissue is found.")
    ] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Of a slide: leave out parts that cannot be read.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
) -> None:
    """Find all nuclei of an image or a whole slide: label image, GeoJSON, table and a picture or quality page."""
    try:
        check_device(device)
        further = [name.strip() for name in also.split(",") if name.strip()]
        if unknown := [name for name in further if name not in export.FORMATS]:
            raise ValueError(f"--also {unknown[0]}: expected some of {', '.join(export.FORMATS)}")
        if not is_slide(image):
            with notices.shown():
                said = run(image, out, spacing, threshold, model, checkpoint, further, device, profile)
            typer.echo(said)
            return
        from study.tools import segment_slide  # brings matplotlib, which images do without

        chosen = with_profile(cut_at(load(model, checkpoint, device), threshold), profile)
        formats = (*export.USUAL, *further)
        with notices.shown():
            segment_slide.run(image, out, chosen, spacing, formats, whole, skip_unreadable, tell=typer.echo)
    except (ValueError, OSError) as error:
        typer.echo(f"segment: {sentence(error)}", err=True)
        raise typer.Exit(2) from error


def run(
    image: Path,
    out: Path,
    spacing: float | None = None,
    threshold: float | None = None,
    model: str = DEFAULT,
    checkpoint: Path | None = None,
    also: Collection[str] = (),
    device: str = "cpu",
    profile: str = "fast",
) -> str:
    """What `segment` does with an image; returns what to tell. ValueError or OSError before anything is written."""
    pixels = read_rgb(image)
    spacing = pixel_size(image, spacing)
    chosen = with_profile(cut_at(load(model, checkpoint, device), threshold), profile)
    found = nuclei_of.segment(pixels, chosen, spacing=spacing)
    _write(image, out, pixels, chosen, found, also)
    names = chosen.about.classes
    counts = ", ".join(f"{found.classes.count(name)} {name}" for name in names) if len(names) > 1 else ""
    return (
        f"{len(found.labels)} nuclei{f' ({counts})' if counts else ''} at {spacing:g} µm/px; "
        f"written to {out}: probability, instances, GeoJSON, table, overlay"
    )


def _write(
    image: Path, out: Path, pixels: np.ndarray, model: Model, found: nuclei_of.Nuclei, also: Collection[str]
) -> None:
    """Every file is named after the image and replaced only when it is complete."""
    names, stem = model.about.classes, image.stem
    several = len(names) > 1
    for name, prob in zip(names, found.probability, strict=True):
        with replacing(out / f"{stem}_probability{f'_{fitting(name)}' if several else ''}.png") as file:
            imageio.imwrite(file, np.floor(prob * 255 + 0.5).astype(np.uint8))
    with replacing(out / f"{stem}_instances.tif") as file:
        rate = 10_000 / found.spacing
        tifffile.imwrite(file, found.instances, compression="zlib", resolution=(rate, rate), resolutionunit=3)
    nuclei = list(  # each is measured once, for all files
        from_labels(
            found.instances,
            found.labels.tolist(),
            found.classes if several else None,
            found.confidence.tolist(),
            pixels,
            found.spacing,
        )
    )
    shape = (pixels.shape[0], pixels.shape[1])
    export.write_geojson(out / f"{stem}.geojson", nuclei, kind="annotation", classes=names if several else ())
    export.write(out / stem, ("csv", *also), lambda: nuclei, shape, readable(image.name), names)
    with replacing(out / f"{stem}_overlay.png") as file:
        imageio.imwrite(file, overlay(pixels, found.instances, found.classes if several else (), names))


def cut_at(model: Model, threshold: float | None) -> Model:
    """The model with one threshold for all its classes; None: its own."""
    if threshold is None:
        return model
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold:g}, expected a probability between 0 and 1")
    cut = model.about.model_copy(update={"thresholds": (threshold,) * len(model.about.classes)})
    return replace(model, about=cut)


def nuclei(
    pixels: np.ndarray, spacing: float, threshold: float = 0.5, model: str = DEFAULT
) -> tuple[np.ndarray, np.ndarray]:
    """Probability (H, W) float32 and labels (H, W) int32 of an image (H, W, 3) uint8 at `spacing` µm per pixel.

    model: "mini" or "mini2", as they ship.
    """
    found = nuclei_of.segment(pixels, cut_at(load(model), threshold), spacing=spacing)
    return found.probability[0], found.instances
