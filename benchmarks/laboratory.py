"""A laboratory's first day, on real images: five annotated ones train, the rest is segmented and scored.

    python benchmarks/laboratory.py OUT [--images monuseg|dsb2018] [--marked outlines|boxes] [--base mini2]
                                        [--steps 600] [--draw 0] [--table results/laboratory]

monuseg: five of MoNuSeg's training images, drawn at random; its six validation images are the rest (no test image is
read). dsb2018: stained images (CC0) that mini-SAM's pre-training held out, and the stage-1 test images, which mini2 has
seen; their magnifications are mixed and unstated: an image whose median nucleus is under 28 px wide is called 0.25 µm
per pixel in its TIFF tags, another 0.125. The five are written as QuPath writes them, and `allinsam train` learns from
them. `allinsam segment` finds the nuclei of the rest, with that model and with its base as it is, and `allinsam score`
compares. A line for each image and model goes to TABLE/IMAGES-MARKED-BASE-DRAW.csv.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import shapely
import tifffile
from shapely.geometry import mapping

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from allinsam_core.annotation import boxes
from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case
from study.datasets import dsb2018, monuseg
from study.datasets.image import read_labels, read_rgb
from study.minisam.recipe import PretrainConfig
from study.root import data_root
from study.tools.formats import write_geojson
from study.tools.score import score
from study.tools.segment import run as segment
from study.tools.train import Request, run

ANNOTATED = 5
LICENCES = {"monuseg": "CC BY-NC-SA 4.0", "dsb2018": "CC0"}


def stained() -> list[Case]:
    """The images of DSB2018 that mini-SAM never saw, with a magnification by the size of their nuclei."""
    all_stained = dsb2018.load(data_root())
    config = PretrainConfig()
    order = np.random.default_rng(config.seed).permutation(len(all_stained))
    unseen = [all_stained[i] for i in order[: config.stained_held_out]]
    for path in sorted((data_root() / "dsb2018_test" / "images").glob("*.png")):
        pixels = read_rgb(path)
        labels = read_labels(path.parents[1] / "instances" / path.name, (pixels.shape[0], pixels.shape[1]))
        unseen.append(Case(path.stem, pixels, labels, float("nan"), "dsb2018_test"))
    return [replace(case, spacing=0.25 if diameter(case) < 28 else 0.125) for case in unseen]


def diameter(case: Case) -> float:
    """Median equivalent diameter of the nuclei, px."""
    area = np.bincount(case.instances.ravel())[1:]
    return float(np.median(np.sqrt(4 / np.pi * area[area > 0])))


def write_image(case: Case, path: Path) -> Path:
    """A TIFF that says how large its pixels are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = 10_000 / case.spacing
    tifffile.imwrite(path, case.image, photometric="rgb", resolution=(rate, rate), resolutionunit="CENTIMETER")
    return path


def write(case: Case, folder: Path, how: str) -> None:
    """An image and its annotation, as QuPath exports them."""
    write_image(case, folder / f"{case.name}.tif")
    path = folder / f"{case.name}.geojson"
    if how == "outlines":
        write_geojson(path, case.instances)
        return
    features = [
        {"type": "Feature", "geometry": mapping(shapely.box(*side)), "properties": {"objectType": "annotation"}}
        for side in boxes.tight(case.instances).tolist()
    ]
    with replacing(path) as file:
        file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def drawn(images: str, draw: int) -> tuple[list[Case], list[Case]]:
    """The annotated images, and the rest."""
    rng = np.random.default_rng(draw)
    if images == "monuseg":
        train = monuseg.load(data_root(), "train")
        return [train[i] for i in rng.permutation(len(train))[:ANNOTATED]], monuseg.load(data_root(), "val")
    cases = stained()
    order = rng.permutation(len(cases))
    return [cases[i] for i in order[:ANNOTATED]], [cases[i] for i in order[ANNOTATED:]]


def main(out: Path, images: str, marked: str, base: str, steps: int | None, draw: int, table: Path) -> None:
    annotated, rest = drawn(images, draw)
    shutil.rmtree(out / "annotated", ignore_errors=True)
    for case in annotated:
        write(case, out / "annotated", marked)
    name = f"{images}-{marked}-{base}-{draw}"
    model = out / f"{name}.safetensors"
    run(Request(out / "annotated", model, licence=LICENCES[images], base=base, steps=steps), print)
    rows = []
    for method, weights in (("trained", str(model)), ("untrained", base)):
        folders = [out / name / part for part in (method, "truth")]
        for case in rest:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            segment(write_image(case, out / "image.tif"), out / "made", model=weights)
            shutil.copy(out / "made" / "image_instances.tif", folders[0] / f"{case.name}.tif")
            imageio.imwrite(folders[1] / f"{case.name}.png", case.instances)
        scored = score(*folders, kind="labels")["images"]
        rows += [{"method": method, "image": image, **row} for image, row in scored.items()]
    found = pd.DataFrame(rows)
    with replacing(table / f"{name}.csv") as file:
        found.to_csv(file, index=False)
    shown = ["dice", "aji_kumar", "pq", "f1_instance_50"]
    print(found.groupby("method")[shown].mean().round(4), f"\nmean of the other {len(rest)} images")
    by = found.pivot_table(index="image", columns="method", values=shown)
    print("ahead on", {m: int((by[m, "trained"] > by[m, "untrained"]).sum()) for m in shown})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", choices=LICENCES, default="monuseg")
    parser.add_argument("--marked", choices=("outlines", "boxes"), default="outlines")
    parser.add_argument("--base", choices=("mini", "mini2"), default="mini2")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--table", type=Path, default=Path("results/laboratory"))
    main(**vars(parser.parse_args()))
