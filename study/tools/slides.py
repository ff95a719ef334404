"""Nuclei of a whole slide, tile by tile: any size in little memory, killed and resumed with nothing lost.

    out/NAME.work/<hash>/prob/0003-0007.png      probability of a tile, 8 bits, classes below one another
    out/NAME.work/<hash>/nuclei/0003-0007.npz    the nuclei that begin in it

First every tile's probabilities, then every tile's nuclei, from its own and its neighbours' probabilities; then the
results are written from the tiles, one nucleus at a time. A tile without tissue is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from tqdm import tqdm

from allinsam_core.atomic import replacing
from allinsam_core.model import Model
from allinsam_core.nuclei import separate
from study.tools.formats.nucleus import MEASURES, Nucleus, from_labels
from study.tools.slide import Slide, UnreadableRegion
from study.tools.tiles import FARTHEST, Grid, Place, neighbourhood, owned
from study.tools.tissue import Tissue


@dataclass(frozen=True, eq=False)
class Job:
    """A slide to segment. level: of the slide that is read; spacing: its µm per pixel; folder: for the tiles."""

    slide: Slide
    model: Model
    level: int
    spacing: float
    tissue: Tissue
    grid: Grid
    folder: Path
    skip_unreadable: bool = False

    @property
    def scale(self) -> float:
        """Pixels of level 0 per pixel of the level that is read."""
        return self.slide.levels[self.level].downsample

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the level that is read."""
        return self.slide.levels[self.level].shape

    def tiles(self) -> list[tuple[int, int]]:
        """Row and column of every tile with tissue."""
        rows, columns = self.grid.count
        found = []
        for row in range(rows):
            for column in range(columns):
                top, left, bottom, right = (edge * self.scale for edge in self.grid.core(row, column))
                if self.tissue.touches(top, left, bottom - top, right - left):
                    found.append((row, column))
        return found

    def file(self, kind: str, row: int, column: int) -> Path:
        """Of a tile; kind: prob or nuclei."""
        return self.folder / kind / f"{row:04d}-{column:04d}.{'png' if kind == 'prob' else 'npz'}"

    def nuclei(self) -> Iterator[Nucleus]:
        """All nuclei of the finished slide, numbered from 1, tile by tile, row by row of tiles."""
        number = 0
        for row, column in self.tiles():
            for nucleus in self.tile_nuclei(row, column, number):
                number = nucleus.label
                yield nucleus

    def tile_nuclei(self, row: int, column: int, number: int = 0) -> Iterator[Nucleus]:
        """The nuclei of one finished tile, numbered from `number` + 1."""
        with np.load(self.file("nuclei", row, column)) as kept:
            parts = {name: kept[name] for name in kept.files}
        starts = np.concatenate([[0], np.cumsum(parts["size"].prod(axis=1))])
        bits = np.unpackbits(parts["bits"], count=int(starts[-1])).astype(bool)
        for index, (top, left) in enumerate(parts["corner"].tolist()):
            mask = bits[starts[index] : starts[index + 1]].reshape(parts["size"][index])
            measured = dict(zip(MEASURES, parts["measured"][index].tolist(), strict=True))
            kind = self.model.about.classes[parts["kind"][index]]
            confidence = float(parts["confidence"][index])
            yield Nucleus(number + index + 1, top, left, mask, kind, confidence, measured)


def level_for(slide: Slide, spacing: float, model: Model) -> int:
    """The coarsest level that is as fine as what the model learnt from (5 % leeway); else the finest there is."""
    wanted = model.about.spacing * 1.05
    fine = [i for i, level in enumerate(slide.levels) if spacing * level.downsample <= wanted]
    return fine[-1] if fine else 0


def segment(job: Job) -> dict[str, float]:
    """Find the nuclei of every tile that is not finished. Returns seconds of this call and mm² of tissue tiles done."""
    clock, done = time.monotonic(), 0.0
    tiles = job.tiles()
    missing = [tile for tile in tiles if not job.file("nuclei", *tile).is_file()]
    far = -(-FARTHEST // job.grid.tile)
    near = {(row + y, column + x) for row, column in missing for y, x in product(range(-far, far + 1), repeat=2)}
    wanted = [tile for tile in tiles if tile in near and not job.file("prob", *tile).is_file()]
    finished = len(tiles) - len(wanted)
    for row, column in tqdm(wanted, "probabilities", len(tiles), initial=finished, unit="tile", disable=None):
        _predict(job, row, column)
        top, left, bottom, right = job.grid.core(row, column)
        done += (bottom - top) * (right - left) * job.spacing**2 / 1e6
    read = lru_cache(maxsize=12)(lambda row, column: _probability(job, row, column))
    finished = len(tiles) - len(missing)
    for row, column in tqdm(missing, "nuclei", len(tiles), initial=finished, unit="tile", disable=None):
        _part(job, row, column, lambda place: _mosaic(job, place, read))
    return {"seconds": time.monotonic() - clock, "mm2": done}


def _predict(job: Job, row: int, column: int) -> None:
    region, core = job.grid.region(row, column), job.grid.core(row, column)
    top, left, bottom, right = region
    try:
        pixels = job.slide.read(job.level, top, left, bottom - top, right - left)
        maps = job.model.maps(pixels, job.spacing)
    except UnreadableRegion:
        if not job.skip_unreadable:
            raise
        maps = _background(job, bottom - top, right - left).astype(np.float32)
        job.file("unreadable", row, column).parent.mkdir(parents=True, exist_ok=True)
        job.file("unreadable", row, column).touch()
    own = maps[..., core[0] - top : core[2] - top, core[1] - left : core[3] - left]
    with replacing(job.file("prob", row, column)) as file:
        imageio.imwrite(file, np.floor(own * 255 + 0.5).astype(np.uint8).reshape(-1, own.shape[-1]))


def _probability(job: Job, row: int, column: int) -> np.ndarray | None:
    """(C, M, h, w) uint8 of a tile, M maps a class; None where it has no tissue."""
    file = job.file("prob", row, column)
    if not file.is_file():
        return None
    values = imageio.imread(file)
    height = len(values) // _background(job, 1, 1).size
    return np.asarray(values).reshape(_background(job, height, values.shape[1]).shape)


def _background(job: Job, height: int, width: int) -> np.ndarray:
    """(C, M, height, width) uint8, 0 or 1: the maps where there is no nucleus."""
    about = job.model.about
    maps = np.array([0, 1, 1] if about.instance_maps else [0], np.uint8)
    return np.broadcast_to(maps[:, None, None], (len(about.classes), len(maps), height, width))


def _mosaic(job: Job, place: Place, read: Callable[[int, int], np.ndarray | None]) -> np.ndarray:
    """(C, M, h, w) uint8 maps of any place, from the tiles that it covers; background where there is no tissue."""
    top, left, bottom, right = place
    canvas = 255 * _background(job, bottom - top, right - left)
    side = job.grid.tile
    for row in range(top // side, -(-bottom // side)):
        for column in range(left // side, -(-right // side)):
            part = read(row, column)
            if part is None:
                continue
            y0, x0, y1, x1 = job.grid.core(row, column)
            rows, columns = slice(max(top, y0), min(bottom, y1)), slice(max(left, x0), min(right, x1))
            canvas[..., rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = part[
                ..., rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0
            ]
    return canvas


def _part(job: Job, row: int, column: int, read: Callable[[Place], np.ndarray]) -> None:
    """Part and measure the nuclei that begin in a tile."""
    place, maps = neighbourhood(job.grid, row, column, read)
    found: list[Nucleus] = []
    if (maps[:, 0] >= 128).any():
        nuclei = separate(maps.astype(np.float32) / 255, job.model.about, job.spacing)
        labels = owned(nuclei.instances, job.grid.core(row, column), place)
        if len(labels):
            found = _measured(job, nuclei.instances, nuclei.classes, nuclei.confidence, labels, place)
    with replacing(job.file("nuclei", row, column)) as file, file.open("wb") as out:
        np.savez_compressed(
            out,
            corner=np.array([(n.top, n.left) for n in found], np.int64).reshape(-1, 2),
            size=np.array([n.mask.shape for n in found], np.int64).reshape(-1, 2),
            bits=np.packbits(np.concatenate([np.zeros(0, bool), *(n.mask.ravel() for n in found)])),
            kind=np.array([job.model.about.classes.index(n.kind) for n in found], np.int16),
            confidence=np.array([n.confidence for n in found], np.float32),
            measured=np.array([list(n.measured.values()) for n in found], np.float32).reshape(-1, len(MEASURES)),
        )


def _measured(
    job: Job, instances: np.ndarray, kinds: tuple[str, ...], confidence: np.ndarray, labels: np.ndarray, place: Place
) -> list[Nucleus]:
    """The chosen nuclei of a place, measured on the slide's pixels there."""
    kept = np.where(np.isin(instances, labels), instances, 0)
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    corner = place[0] + int(rows[0]), place[1] + int(columns[0])
    size = kept[box].shape
    try:
        pixels = job.slide.read(job.level, *corner, *size)
    except UnreadableRegion:
        if not job.skip_unreadable:
            raise
        pixels = np.full((*size, 3), 255, np.uint8)
    names, trust = [kinds[n - 1] for n in labels], [confidence[n - 1] for n in labels]
    return list(from_labels(kept[box], labels.tolist(), names, trust, pixels, job.spacing, corner))
