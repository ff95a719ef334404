"""Commands, each a process of its own: how soon they begin, and how long an image takes from start to files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tifffile

from benchmarks.ratio import Row

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("study.tools.cli", "study.tools.segment", "study.tools.annotate", "study.tools.score")
# what a command imported before each began to import what it needs alone (without torchvision, which some lack)
FORMER = """
import importlib, pkgutil
import torch, monai.inferers, lightning_fabric
import study.tools
for module in pkgutil.iter_modules(study.tools.__path__):
    importlib.import_module('study.tools.' + module.name)
"""
CALL = "import sys; sys.argv = ['allinsam', *sys.argv[1:]]; from study.tools.cli import app; app()"
EAGER = "import allinsam_core.model as m; m.fold = lambda x: x; m.has_bfloat16 = lambda d: False\n"


def run(code: str, *arguments: str) -> tuple[float, float, str]:
    """Processor seconds and seconds on the clock of a Python process, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before, clock = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment, capture_output=True)
    after = os.times()
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return spent, time.perf_counter() - clock, done.stdout.decode()


def processes(
    name: str,
    former: str,
    present: str,
    repeats: int,
    *asked: str,
    out: Path | None = None,
    model: str | None = None,
    **about: Any,
) -> Row:
    """Medians of the processor seconds of two processes, in turns; what they say must be the same.

    out: a folder, below which each of the two writes the labels of an image; then these are compared. model: that of
    the former process alone, whose nuclei are then other ones and are not compared.
    """
    places = [() if out is None else ("--out", str(out / way)) for way in ("former", "present")]
    own = () if model is None else ("--model", model)
    runs = [(run(former, *asked, *own, *places[0]), run(present, *asked, *places[1])) for _ in range(repeats)]
    (old, old_clock), (new, new_clock) = ([median(each[way][i] for each in runs) for i in (0, 1)] for way in (0, 1))
    if model is not None:
        return Row(name, old, new, clock=(old_clock, new_clock), repeats=repeats, **about)
    if out is None:
        apart, tolerance, of = float(runs[0][0][2] != runs[0][1][2]), 0.0, "1 if they say something else"
    else:
        first, second = (
            tifffile.imread(next((out / way).glob("*_instances.tif"))) > 0 for way in ("former", "present")
        )
        apart, tolerance, of = (
            float((first != second).sum() / (first | second).sum()),
            0.001,
            "share of nuclei's pixels",
        )
    clock = old_clock, new_clock
    return Row(
        name, old, new, difference=apart, tolerance=tolerance, difference_of=of, clock=clock, repeats=repeats, **about
    )


def measure(quick: bool) -> list[Row]:
    """--help, the import of the core, and `segment`, `annotate` and `score` from start to end."""
    repeats = 1 if quick else 3
    rows = [
        processes("allinsam --help", FORMER + CALL, CALL, repeats, "--help", limit=0.5),
        processes("import allinsam_core", FORMER, "import allinsam_core", repeats, limit=0.3),
    ]
    if quick:
        return rows
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        image, boxes = picture(folder, 1000)
        asked: tuple[str, ...] = ("segment", str(image), "--spacing", "0.25")
        former = FORMER + EAGER + CALL
        name = "segment, 1000 × 1000 px"
        rows.append(processes(name, former, CALL, repeats, *asked, "--model", "mini", out=folder / "s", goal=3.0))
        note = "before: with mini-SAM, the default then; now: with mini2, the default"
        name += ", model by default"
        rows.append(processes(name, former, CALL, repeats, *asked, out=folder / "d", model="mini", goal=3.0, note=note))
        asked = ("annotate", str(image), "--spacing", "0.25", "--boxes", str(boxes))
        former = FORMER + CALL
        rows.append(processes("annotate, 500 boxes", former, CALL, repeats, *asked, out=folder / "a", limit=5.0))
        maps = (str(place) for place in label_maps(folder, 14))
        asked = ("score", *maps, "--kind", "labels", "--truth-kind", "labels", "--json")
        rows.append(processes("score, 14 images", former, CALL, repeats, *asked))
    return rows


def label_maps(folder: Path, count: int) -> tuple[Path, Path]:
    """Folders of predicted and true label maps, `count` of 1000 × 1000 px with 625 discs each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:1000, :1000]
    cell = ((y // 40) * 25 + x // 40 + 1).astype(np.uint16)
    folders = folder / "predicted", folder / "true"
    for number, place in ((number, place) for number in range(count) for place in folders):
        place.mkdir(exist_ok=True)
        shift = rng.integers(-4, 5, 2)
        inside = (y % 40 - 20 + shift[0]) ** 2 + (x % 40 - 20 + shift[1]) ** 2 < 120
        tifffile.imwrite(place / f"{number}.tif", np.where(inside, cell, 0).astype(np.uint16))
    return folders


def picture(folder: Path, side: int) -> tuple[Path, Path]:
    """A picture of 500 dark discs on pink ground, and their boxes."""
    rng = np.random.default_rng(0)
    image = np.clip(np.array([226, 160, 200]) + rng.normal(0, 8, (side, side, 1)), 0, 255).astype(np.uint8)
    y, x = np.mgrid[:side, :side]
    lines = ["x0,y0,x1,y1"]
    for place in range(500):
        row, column = divmod(place, 25)
        cy, cx = 25 + row * 48 + rng.integers(-6, 7), 22 + column * 39 + rng.integers(-5, 6)
        radius = int(rng.integers(7, 13))
        image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = (90, 60, 140)
        lines.append(f"{cx - radius},{cy - radius},{cx + radius},{cy + radius}")
    tifffile.imwrite(folder / "picture.tif", image, photometric="rgb")
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder / "picture.tif", folder / "boxes.csv"
