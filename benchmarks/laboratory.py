"""A laboratory's first day, on real images: five annotated ones train, the rest is segmented and scored.

    python benchmarks/laboratory.py OUT [outlines|boxes] [draw]

DSB2018's stained images (CC0) that mini-SAM's pre-training held out, and the stage-1 test images where they are at hand
(dsb2018_test/): images that it has seen with their masks need no adapting. Five, drawn at random, are written as QuPath
writes them, as outlines or as boxes, and `allinsam train` learns from them. `allinsam segment` finds the nuclei of the
rest, with that model and with mini-SAM as it is, and `allinsam score` compares. Their magnifications are mixed and
unstated: an image whose median nucleus is under 28 px wide is called 0.25 µm per pixel in its TIFF tags, another 0.125.
"""

from __future__ import annotations

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
from study.datasets import dsb2018
from study.datasets.image import read_labels, read_rgb
from study.minisam.recipe import PretrainConfig
from study.root import data_root
from study.tools.formats import write_geojson
from study.tools.score import score
from study.tools.segment import run as segment
from study.tools.train import Request, run

ANNOTATED = 5


def images() -> list[Case]:
    """The images that mini-SAM never saw, with a magnification by the size of their nuclei."""
    stained = dsb2018.load(data_root())
    config = PretrainConfig()
    order = np.random.default_rng(config.seed).permutation(len(stained))
    unseen = [stained[i] for i in order[: config.stained_held_out]]
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


def main(out: Path, how: str = "outlines", draw: int = 0) -> None:
    cases = images()
    order = np.random.default_rng(draw).permutation(len(cases))
    shutil.rmtree(out / "annotated", ignore_errors=True)
    for index in order[:ANNOTATED]:
        write(cases[index], out / "annotated", how)
    model = out / f"{how}-{draw}.safetensors"
    run(Request(out / "annotated", model, licence="CC0"), print)
    rest = [cases[i] for i in order[ANNOTATED:]]
    rows = []
    for name, weights in (("trained", str(model)), ("zero-shot", "mini")):
        folders = [out / f"draw-{draw}" / part for part in (name, "truth")]
        for case in rest:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            segment(write_image(case, out / "image.tif"), out / "made", model=weights)
            shutil.copy(out / "made" / "image_instances.tif", folders[0] / f"{case.name}.tif")
            imageio.imwrite(folders[1] / f"{case.name}.png", case.instances)
        scored = score(*folders, kind="labels")["images"]
        rows += [{"method": name, "image": image, **row} for image, row in scored.items()]
    table = pd.DataFrame(rows)
    table.to_csv(out / f"{how}-{draw}.csv", index=False)
    shown = ["dice", "aji_kumar", "pq", "f1_instance_50"]
    print(table.groupby("method")[shown].mean().round(4), f"\nmean of the other {len(rest)} images")
    by = table.pivot_table(index="image", columns="method", values=shown)
    print("ahead on", {m: int((by[m, "trained"] > by[m, "zero-shot"]).sum()) for m in shown})


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        sys.argv[2] if len(sys.argv) > 2 else "outlines",
        int(sys.argv[3]) if len(sys.argv) > 3 else 0,
    )
