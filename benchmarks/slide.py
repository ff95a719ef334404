"""Memory and time of a whole slide, on a made one.

    python benchmarks/slide.py FOLDER [--side 40000] [--tissue 3000] [--dense] [--at-most 2.0]

A pyramidal TIFF of side × side px at 0.25 µm/px, glass but for a square of tissue of `--tissue` px, is segmented by
mini2 in a process of its own. --dense: all of it is tissue, full of nuclei, and a network of one line stands in for
SAM: what the tiles, seams and writers need. Printed are the largest resident set, seconds and seconds per mm². The exit
status is 1 beyond `--at-most` GB. The slide is kept in the folder and made once. `make benchmark` measures two sizes of
slide with the same tissue, and the annotator's time from a box to its mask.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ratio import Row

MODULES = ("study.tools.segment_slide", "study.annotator.session")
TILE = 512
GLASS, STROMA, CHROMATIN = (243, 242, 244), (226, 160, 200), (90, 60, 140)
PITCH = 34  # px from nucleus to nucleus


def ground(top: int, left: int, side: int, tissue: int, step: int) -> np.ndarray:
    """(TILE, TILE, 3) uint8 of a level, every `step`-th pixel; the tissue lies in the middle."""
    y = (top + np.arange(TILE)[:, None]) * step
    x = (left + np.arange(TILE)[None]) * step
    first = (side - tissue) // 2
    inside = (y >= first) & (y < first + tissue) & (x >= first) & (x < first + tissue)
    if not inside.any():
        return np.full((TILE, TILE, 3), GLASS, np.uint8)
    row, column = y // PITCH, x // PITCH
    shift = ((row * 73 + column * 151) % 13 - 6, (row * 197 + column * 61) % 13 - 6)
    radius = 8 + (row * 31 + column * 17) % 5
    nucleus = (y % PITCH - PITCH // 2 - shift[0]) ** 2 + (x % PITCH - PITCH // 2 - shift[1]) ** 2 < radius**2
    image = np.where((inside & nucleus)[..., None], CHROMATIN, np.where(inside[..., None], STROMA, GLASS))
    grain = (y * 7919 + x * 104729) % 17 - 8
    return np.clip(image + (grain * inside)[..., None], 0, 255).astype(np.uint8)


def make(path: Path, side: int, tissue: int) -> None:
    """Write the slide tile by tile, with levels of a half, a quarter, … down to 1,024 px."""
    levels = 1
    while side >> levels > 1024:
        levels += 1

    def tiles(level: int) -> Iterator[np.ndarray]:
        length = -(-side // 2**level)
        for top in range(0, length, TILE):
            for left in range(0, length, TILE):
                yield ground(top, left, side, tissue, 2**level)

    with tifffile.TiffWriter(path, bigtiff=True) as out:
        for level in range(levels):
            length, rate = -(-side // 2**level), 40_000 / 2**level
            out.write(
                tiles(level), shape=(length, length, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="rgb",
                compression="zlib", subfiletype=min(level, 1), resolution=(rate, rate), resolutionunit="CENTIMETER",
            )  # fmt: skip


def work(path: Path, out: Path, dense: bool) -> None:
    """Segment, in this process."""
    import torch
    from torch import nn

    from allinsam_core.learning.method import WindowSettings
    from allinsam_core.model import Description, Model, load
    from study.tools import segment_slide

    class Dark(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return 20 * (0.5 - image.mean(1, keepdim=True))

    model = load()
    if dense:
        about = Description(base="mini", base_sha256="", window=WindowSettings(field=256))
        model = Model(about, nn.ModuleList([Dark()]))
    segment_slide.run(path, out, model)


def segmented(folder: Path, side: int, tissue: int, dense: bool = False) -> dict[str, Any]:
    """What `segment` says of such a slide, and the processor seconds of its process. The slide is made if missing."""
    path = folder / f"made-{side}-{tissue}.tif"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        make(path, side, tissue)
    sizes = ("--side", str(side), "--tissue", str(tissue), *(("--dense",) if dense else ()))
    before = os.times()
    subprocess.run([sys.executable, __file__, str(folder), *sizes, "--inside"], check=True, stdout=sys.stderr)
    after = os.times()
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    record: dict[str, Any] = json.loads((folder / f"{path.stem}_run.json").read_text())
    return record | {"processor_seconds": spent}


def measure(quick: bool) -> list[Row]:
    """Memory and time of two slides with the same tissue, and the annotator's time for a mask."""
    sides, tissue = ((2048, 4096), 512) if quick else ((10_000, 40_000), 1500)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for side in sides:
            found = segmented(Path(scratch), side, tissue)
            name = f"slide of {side:,} × {side:,} px"
            rows.append(Row(f"{name}, peak memory", None, found["peak_memory_bytes"], "bytes", limit=2e9, repeats=1))
            rows.append(Row(f"{name}, from start to end", None, found["processor_seconds"], repeats=1))
            rows.append(Row(f"{name}, a mm² of tiles on the clock", None, found["seconds"] / found["mm2"], repeats=1))
    return [*rows, mask_of_a_box(3 if quick else 50)]


def mask_of_a_box(repeats: int) -> Row:
    """From a box to its mask, the window already embedded, as the annotator in JupyterLab asks for it."""
    from allinsam_core.annotation.predict import BoxAnnotator, default_field
    from allinsam_core.model import base_sam

    sam = base_sam("mini")
    annotator = BoxAnnotator(sam, default_field(sam, 0.25))
    annotator.set_image(ground(0, 0, TILE, TILE, 1))
    boxes = [np.array([[x, 60, x + 22, 82]], np.float32) for x in range(40, 40 + 4 * repeats, 4)]
    seconds = []
    for box in boxes:
        annotator.embed(box)
        start = time.process_time()
        annotator.predict(box)
        seconds.append(time.process_time() - start)
    return Row("annotator, a box's mask once embedded", None, median(seconds), limit=0.15, repeats=repeats)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=40_000)
    parser.add_argument("--tissue", type=int, default=3000)
    parser.add_argument("--dense", action="store_true")
    parser.add_argument("--at-most", type=float, default=2.0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    tissue = asked.side if asked.dense else asked.tissue
    if asked.inside:
        work(asked.folder / f"made-{asked.side}-{tissue}.tif", asked.folder, asked.dense)
        return 0
    record = segmented(asked.folder, asked.side, tissue, asked.dense)
    memory = record["peak_memory_bytes"] / 2**30
    print(
        f"{asked.side} × {asked.side} px, {sum(record['nuclei'].values()):,} nuclei: {memory:.2f} GB at most, "
        f"{record['seconds']:.0f} s, {record['seconds'] / max(record['mm2'], 1e-9):.1f} s per mm² of tiles"
    )
    return int(memory > asked.at_most)


if __name__ == "__main__":
    sys.exit(main())
