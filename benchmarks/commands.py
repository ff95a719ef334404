"""Commands, each a process of its own: how soon they begin, and how long an image takes from start to files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import tifffile

from benchmarks.ratio import Row

ROOT = Path(__file__).resolve().parents[1]
# what a command imported before each began to import what it needs alone
FORMER = """
import importlib, pkgutil
import torch, torchvision, monai.inferers, lightning_fabric
import study.tools
for module in pkgutil.iter_modules(study.tools.__path__):
    importlib.import_module('study.tools.' + module.name)
"""
EAGER = "import allinsam_core.model as m; m.fold = lambda x: x; m.has_bfloat16 = lambda d: False\n"


def seconds(code: str, *arguments: str) -> tuple[float, float]:
    """Processor seconds and seconds on the clock of a Python process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before, clock = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment, capture_output=True)
    after = os.times()
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return spent, time.perf_counter() - clock


def processes(name: str, former: str, present: str, repeats: int, *arguments: str, **about: object) -> Row:
    """Medians of the processor seconds of two processes, in turns."""
    pairs = [(seconds(former, *arguments), seconds(present, *arguments)) for _ in range(repeats)]
    old, new = ([pair[i] for pair in pairs] for i in (0, 1))
    return Row(
        name,
        median(s for s, _ in old),
        median(s for s, _ in new),
        clock=(median(c for _, c in old), median(c for _, c in new)),
        **about,  # type: ignore[arg-type]
    )


def measure(quick: bool) -> list[Row]:
    """--help, the import of the core, and `segment` and `annotate` from start to files."""
    repeats = 1 if quick else 3
    call = "import sys; sys.argv = ['allinsam', *sys.argv[1:]]; from study.tools.cli import app; app()"
    rows = [
        processes("allinsam --help", FORMER + call, call, repeats, "--help", limit=0.5),
        processes("import allinsam_core", FORMER, "import allinsam_core", repeats, limit=0.3),
    ]
    if quick:
        return rows
    with tempfile.TemporaryDirectory() as scratch:
        image, boxes = picture(Path(scratch), 1000)
        asked = ("segment", str(image), "--out", scratch, "--spacing", "0.25")
        rows.append(processes("segment, 1000 × 1000 px", FORMER + EAGER + call, call, repeats, *asked, goal=3.0))
        asked = ("annotate", str(image), "--boxes", str(boxes), "--out", scratch, "--spacing", "0.25")
        rows.append(processes("annotate, 500 boxes", FORMER + call, call, repeats, *asked, limit=5.0))
    return rows


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
