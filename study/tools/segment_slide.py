"""From a slide to its results: GeoJSON, table, label image, quality page; further formats on request."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from allinsam_core.learning.train import peak_memory
from allinsam_core.model import Model
from study import records
from study.names import readable
from study.tools import quality_page, slides, tissue
from study.tools.brightfield import unfit
from study.tools.formats import export
from study.tools.formats.labels import write_labels
from study.tools.formats.nucleus import Nucleus
from study.tools.lock import alone
from study.tools.slide import Slide, open_slide
from study.tools.spacing import check
from study.tools.tiles import SIDE, Grid

CONFIDENT = 0.7  # mean probability below which half of the nuclei should not lie


def run(
    path: Path,
    out: Path,
    model: Model,
    spacing: float | None = None,
    formats: Collection[str] = export.USUAL,
    whole: bool = False,
    skip_unreadable: bool = False,
    side: int = SIDE,
    tell: Callable[[str], None] = print,
) -> Path:
    """Segment a slide into files out/NAME.*; returns its quality page. Killed, the same call goes on.

    spacing: µm per pixel of the finest level, where the slide does not say. whole: all of it, not only tissue.
    side: of a tile, px. Raises ValueError or OSError that says what to do; finished tiles are kept.
    """
    with alone(out / f"{path.stem}.work"):
        slide = open_slide(path)
        spacing = check(spacing, "--spacing") if spacing is not None else slide.spacing
        if spacing is None:
            raise ValueError(
                f"{path}: does not say how large its pixels are; add --spacing (µm per pixel of the finest)"
            )
        job = plan(slide, model, spacing, out / f"{path.stem}.work", whole, skip_unreadable, side)
        area = float(job.tissue.mask.sum()) * (job.tissue.cell * spacing) ** 2 / 1e6
        tell(
            f"{path.name}: {slide.levels[0].shape[1]} × {slide.levels[0].shape[0]} px at {spacing:g} µm/px, read at "
            f"{job.spacing:g}; {area:.1f} mm² of tissue in {len(job.tiles())} tiles"
        )
        spent = slides.segment(job)
        page = results(job, out, formats, area, spent, model.about.licence)
        shutil.rmtree(job.folder / "prob", ignore_errors=True)
        tell(f"written to {out}: {path.stem}.geojson and others; look at {page.name} first")
        return page


def plan(
    slide: Slide, model: Model, spacing: float, work: Path, whole: bool = False, skip: bool = False, side: int = SIDE
) -> slides.Job:
    """What is to be done with a slide; its folder is named by all that decides the result."""
    level = slides.level_for(slide, spacing, model)
    chosen = slide.levels[level]
    here = spacing * chosen.downsample
    grid = Grid(chosen.shape, model.field(here), model.about.window.overlap, side)
    found = tissue.find(slide, spacing)
    if whole:
        found = tissue.Tissue(np.ones_like(found.mask), found.picture, found.cell)
    if not found.mask.any():
        raise ValueError(f"{slide.path}: no tissue found; if there is some, add --whole to segment all of the slide")
    stat = slide.path.stat()
    described = {
        "slide": [readable(slide.path.name), stat.st_size, stat.st_mtime_ns, [level.shape for level in slide.levels]],
        "model": model.about.model_dump(mode="json"),
        "weights": _checksum(model),
        "read": [level, here, grid.tile, whole, skip],
    }
    return slides.Job(slide, model, level, here, found, grid, work / records.hash_of(described), skip)


def _checksum(model: Model) -> str:
    """Of what was trained; the base's own is in the description."""
    digest = hashlib.sha256()
    for name, value in model.networks.named_parameters():
        if value.requires_grad:
            digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def results(
    job: slides.Job, out: Path, formats: Collection[str], area: float, spent: dict[str, float], licence: str = ""
) -> Path:
    """Write every format, the quality page and, last, the record."""
    name, classes = job.slide.path.stem, job.model.about.classes
    summary = quality_page.Summary(job.tissue, job.scale)
    first = summary.watch(job.nuclei())
    export.write_geojson(out / f"{name}.geojson", first, job.scale, classes=classes if len(classes) > 1 else ())
    export.write(out / name, formats, job.nuclei, job.shape, readable(job.slide.path.name), classes, job.scale)
    if "labels" in formats:
        write_labels(out / f"{name}_labels.ome.tif", rows(job), job.shape, job.spacing)
    facts = _facts(job, summary, area, spent)
    page = out / f"{name}_quality.html"
    quality_page.write(page, readable(job.slide.path.name), job.tissue, summary, facts, _warnings(job, summary))
    record: dict[str, Any] = {
        "config_hash": job.folder.name,
        "commit": records.commit(),
        "environment": records.environment(job.model.device),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "slide": job.slide.path.name,
        "model": {"base": job.model.about.base, "classes": list(classes), "licence": licence},
        "nuclei": summary.classes,
        "tissue_mm2": area,
        **spent,
        "peak_memory_bytes": peak_memory(),
    }
    records.write(record, out / f"{name}_run.json")
    return page


def rows(job: slides.Job) -> Callable[[int, int], Iterator[Nucleus]]:
    """Rows of the level → the nuclei that may show in them: those of the tiles there and of the row above."""
    tiles, firsts, number = job.tiles(), {}, 0
    for tile in tiles:
        firsts[tile] = number
        with np.load(job.file("nuclei", *tile)) as kept:
            number += len(kept["kind"])

    def within(top: int, bottom: int) -> Iterator[Nucleus]:
        side = job.grid.tile
        reach = -(-slides.FARTHEST // side)
        for tile in tiles:
            if top // side - reach <= tile[0] <= (bottom - 1) // side:
                yield from job.tile_nuclei(*tile, firsts[tile])

    return within


def _facts(job: slides.Job, summary: quality_page.Summary, area: float, spent: dict[str, float]) -> dict[str, str]:
    height, width = job.slide.levels[0].shape
    facts = {
        "slide": f"{width} × {height} px, {job.spacing / job.scale:g} µm/px, read at {job.spacing:g} µm/px",
        "model": f"{job.model.about.base}, trained at {job.model.about.spacing:g} µm/px",
        "tissue": f"{area:.2f} mm²",
        "nuclei": f"{summary.count:,}, {summary.count / area:,.0f} per mm²" if area else f"{summary.count:,}",
    }
    facts |= {f"class {name}": f"{count:,}" for name, count in sorted(summary.classes.items()) if name}
    if spent["mm2"]:
        facts["time"] = f"{spent['seconds']:.0f} s in this run, {spent['seconds'] / spent['mm2']:.1f} s per mm²"
    return facts


def _warnings(job: slides.Job, summary: quality_page.Summary) -> list[str]:
    found = [trouble for trouble in (unfit(job.tissue.picture),) if trouble]
    if job.spacing > 2 * job.model.about.spacing:
        found.append(
            f"the slide's finest level has {job.spacing:g} µm/px, the model learnt from {job.model.about.spacing:g}: "
            "small nuclei are missed"
        )
    if not summary.count:
        found.append("no nucleus was found")
    elif float(np.median(summary.confidence)) < CONFIDENT:
        found.append("half of the nuclei are uncertain: the stain or the tissue may be foreign to the model")
    unreadable = len(list(job.folder.glob("unreadable/*")))
    if unreadable:
        found.append(f"{unreadable} tiles could not be read and were left out")
    return found
