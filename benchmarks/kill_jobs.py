"""Small pieces of all long work, for `kills.py` to interrupt: inputs, command, steps to end it at, results."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml
from safetensors import safe_open

from study.simulation import simulate
from study.tools.formats import write_geojson

ROOT = Path(__file__).resolve().parents[1]
VOLATILE = (
    "seconds",
    "mm2",
    "peak_memory",
    "started",
    "finished",
    "sha256",
    "environment",
    "commit",
    "code",
)  # of records

UUID = re.compile(rb"urn:uuid:[0-9a-f-]{36}")  # of an OME-TIFF, another in each file


@dataclass(frozen=True)
class Job:
    """prepare: makes the inputs in a folder. command: of a folder, whose `out` takes the results; allinsam and its
    words, python and a script, or, with `group`, any program, all of whose processes are ended with the one that took
    the step. steps: events as `interrupt/sitecustomize.py` knows them, with their number; "request:SHARE" ends the
    command when a server has sent that share of a file.
    """

    prepare: Callable[[Path], None]
    command: Callable[[Path], list[str]]
    steps: tuple[str, ...]
    group: bool = False


def outcome(folder: Path) -> dict[str, str]:
    """Every result below `folder` by its path: its content, without what is another in each run (times, memory)."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".ipynb" or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.suffix == ".json":
            found[name] = json.dumps(_stable(json.loads(path.read_text())))
        elif path.name == "own.safetensors":
            found[name] = _model(path)
        elif path.suffix == ".html":
            found[name] = ""  # says how long it took
        elif path.suffix != ".ckpt":  # what is left of a training: its times are in it
            found[name] = UUID.sub(b"", path.read_bytes()).hex()
    return found


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _stable(v) for k, v in value.items() if not any(word in k for word in VOLATILE)}
    return [_stable(v) for v in value] if isinstance(value, list) else value


def _model(path: Path) -> str:
    """A model file of `allinsam train`: its tensors, and what it says without times."""
    with safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name).tobytes().hex() for name in sorted(file.keys())}
        note = _stable(json.loads(file.metadata()["note"]))
    return json.dumps([tensors, note])


# ---- inputs


def _profile(folder: Path, methods: dict[str, Any], seeds: int = 1) -> None:
    train = {"steps": 6, "batch_size": 1, "validate_every": 3, "checkpoint_every": 2, "learning_rate": 1e-3}
    data = {"source": "simulated", "crop": 40, "simulated": {"train": 2, "val": 1, "test": 2, "size": 96}}
    axes = {"label": {"complete": {}, "weak": {"annotator": {"name": "mini", "weights": "shipped"}}}}
    profile = {
        "name": "own",
        "about": "Small.",
        "axes": {**axes, "fraction": [1.0], "seed": list(range(seeds))},
        "common": {"data": data, "train": train},
        "methods": methods,
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))


UNET = {"model": {"kind": "unet", "channels": [4, 8]}, "window": {"field": 64, "size": 64}}
OTSU = {"model": {"kind": "otsu"}, "axes": {"label": ["complete"], "fraction": [0.0]}}


def _tile(folder: Path, size: int = 128) -> None:
    case = simulate.tile(1, size=size)
    tifffile.imwrite(folder / "a.tif", case.image, photometric="rgb", resolution=(40_000, 40_000), resolutionunit=3)
    write_geojson(folder / "a.geojson", case.instances)


def _annotated(folder: Path) -> None:
    """Three annotated images; boxes in one, outlines in the others."""
    (folder / "data").mkdir()
    for seed, name in enumerate(("p1_a", "p2_a", "p3_a")):
        case = simulate.tile(seed, size=96)
        file = folder / "data" / f"{name}.tif"
        tifffile.imwrite(file, case.image, photometric="rgb", resolution=(40_000, 40_000), resolutionunit=3)
        if seed:
            write_geojson(file.with_suffix(".geojson"), case.instances)
        else:
            file.with_suffix(".csv").write_text("x0,y0,x1,y1\n10,10,30,32\n50,48,70,66\n")


def _slide(folder: Path) -> None:
    image = np.tile(simulate.tile(3, size=256).image, (2, 2, 1))
    shared: dict[str, Any] = {"photometric": "rgb", "tile": (128, 128), "resolutionunit": 3}
    with tifffile.TiffWriter(folder / "s.tif") as tiff:
        tiff.write(image, resolution=(40_000, 40_000), **shared)
        tiff.write(image[::2, ::2], resolution=(20_000, 20_000), subfiletype=1, **shared)
    os.utime(folder / "s.tif", (0, 0))  # work on a slide is known by its time


def _script(text: str) -> Callable[[Path], list[str]]:
    """A few lines of Python, with the folder as HERE."""
    return lambda folder: ["python", f"from pathlib import Path\nHERE = Path({str(folder)!r})\n{text}"]


def _run(method: str, label: str) -> Callable[[Path], list[str]]:
    def command(folder: Path) -> list[str]:
        places = [f"--results={folder}/out/results", f"--work={folder}/out/work", "--device=cpu"]
        return ["allinsam", "run", f"--profile={folder}/own.yaml", f"--method={method}", f"--label={label}", *places]

    return command


def _snakemake(folder: Path) -> list[str]:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    if not (out / "notebooks").exists():
        (out / "notebooks").symlink_to(ROOT / "notebooks")
    call = f"{sys.executable} -m snakemake -s {ROOT}/workflow/Snakefile --directory {out} --cores 1 --rerun-incomplete"
    config = f"--config profile={folder}/own.yaml"
    python = f"export PATH={Path(sys.executable).parent}:$PATH"
    return ["sh", "-c", f"{python}; {call} --unlock {config} >/dev/null 2>&1; exec {call} {config}"]


GRID = """
from study import grid
from study.run import execute_grid
execute_grid(grid.profile(HERE / "own.yaml"), HERE / "out/results", HERE / "out/work", device="cpu")
"""
PRETRAINING = """
import os
from allinsam_core.learning.train import TrainSettings
from study.minisam import pretrain, pretraining, recipe
from study.simulation import simulate
os.environ["ALLINSAM_DATA"] = str(HERE)
tiles = [simulate.tile(seed, size=64) for seed in (1, 2)]
pretrain.held_out_batches = lambda sampler, count: [sampler(0)]
recipe.gather = lambda config, root: recipe.Sources(tiles, [0.5, 0.5], tiles[:1])
train = TrainSettings(steps=4, batch_size=1, learning_rate=1e-3, validate_every=2, warmup=1, checkpoint_every=1)
phases = tuple(pretrain.Phase(name=name, ellipses=share, train=train) for name, share in (("one", 0.0), ("two", 1.0)))
pretraining.execute(recipe.PretrainConfig(field=64, phases=phases), HERE / "out", "cpu")
"""
SLIDE = """
from allinsam_core.model import load
from study.tools import segment_slide
segment_slide.run(HERE / "s.tif", HERE / "out", load("mini"), whole=True, side=256)
"""
STEP = "call:allinsam_core.learning.train:_step"

JOBS: dict[str, Job] = {
    "training": Job(
        lambda folder: _profile(folder, {"unet": UNET}),
        _run("unet", "complete"),
        (
            f"{STEP} 1", f"{STEP} 2", "open:.last-* 1", "rename:last.ckpt 2", f"{STEP} 3", "call:study.run:score 1",
            "rename:trained.safetensors 1", "open:.rows-* 1", "rename:rows.csv 1", "rename:run.json 1",
        ),
    ),
    "weak-label cache": Job(
        lambda folder: _profile(folder, {"unet": UNET}),
        _run("unet", "weak"),
        (
            "call:study.weak:annotate_case 1", "open:.*.npz 1", "rename:*.npz 1", "rename:*.npz 2",
            "call:study.weak:annotate_case 3", f"{STEP} 4", "rename:run.json 1",
        ),
    ),
    "grid": Job(
        lambda folder: _profile(folder, {"otsu": OTSU, "unet": UNET}, seeds=2),
        _script(GRID),
        ("rename:run.json 2", f"{STEP} 3", "rename:last.ckpt 1", "rename:rows.csv 2", f"{STEP} 9", "rename:run.json 1"),
    ),
    "grid of notebooks": Job(
        lambda folder: _profile(folder, {"otsu": OTSU}, seeds=3),
        _snakemake,
        ("rename:rows.csv 1", "call:study.run:score 1", "rename:run.json 1", "call:study.tools.notebook:run 1"),
        group=True,
    ),
    "pre-training": Job(
        lambda folder: None,
        _script(PRETRAINING),
        (
            f"{STEP} 1", "rename:last.ckpt 1", f"{STEP} 2", "open:.last-* 1", f"{STEP} 4", "rename:last.ckpt 2",
            "rename:mini_sam.safetensors 1", "rename:run.json 1",
        ),
    ),
    "allinsam train": Job(
        _annotated,
        lambda folder: ["allinsam", "train", f"{folder}/data", f"--out={folder}/out/own.safetensors", "--steps=6"],
        (
            "rename:*.npz 1", f"{STEP} 2", "rename:last.ckpt 1", f"{STEP} 4", "rename:own.safetensors 1",
            "call:study.tools.train:compare 1", "rename:own.safetensors 2", "rename:run.json 1",
        ),
    ),
    "segment": Job(
        _tile,
        lambda folder: ["allinsam", "segment", f"{folder}/a.tif", f"--out={folder}/out"],
        (
            "call:allinsam_core.nuclei:segment 1", "rename:a_probability.png 1", "open:.a_instances-* 1",
            "rename:a_instances.tif 1", "rename:a.geojson 1", "rename:a.csv 1", "rename:a_overlay.png 1",
        ),
    ),
    "annotate": Job(
        _tile,
        lambda here: ["allinsam", "annotate", f"{here}/a.tif", f"--boxes={here}/a.geojson", f"--out={here}/out"],
        (
            "call:allinsam_core.annotation.predict:BoxAnnotator.annotate 1", "rename:a_instances.tif 1",
            "rename:a.geojson 1", "rename:a_rois.zip 1", "rename:a_provenance.csv 1", "rename:a_overlay.png 1",
        ),
    ),
    "whole slide": Job(
        _slide,
        _script(SLIDE),
        (
            "open:.0*.png 1", "rename:0*.png 2", "rename:0*.png 2", "rename:*.npz 1", "rename:*.npz 2",
            "rename:s.geojson 1", "rename:s_labels.ome.tif 1", "rename:s_quality.html 1", "rename:s_run.json 1",
        ),
    ),
    "download": Job(
        lambda folder: None,  # the server is of kills.py, which writes the manifest
        lambda folder: ["allinsam", "data", "fetch", "it"],
        (
            "request:0 1", "request:0.01 1", "request:0.5 1", "request:0.99 1", "rename:tissue.zip 1", "open:b.bin 1",
            "rename:tissue 1",
        ),
    ),
}  # fmt: skip
