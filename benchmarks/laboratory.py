"""A laboratory's first day, on real images: five annotated ones train, others are segmented and scored.

    python benchmarks/laboratory.py OUT [outlines|boxes] [steps]

DSB2018's stained images (CC0) have mixed, unstated magnifications; those whose median nucleus is 14 to 28 px wide stand
for one, called 0.25 µm per pixel. Five are written as QuPath writes them, as outlines or as boxes, and `allinsam train`
learns from them. `allinsam segment` then finds the nuclei of the others, with that model and with mini-SAM as it is,
and `allinsam score` compares. The others are images that mini-SAM's pre-training held out, and the stage-1 test images
where they are at hand (dsb2018_test/): to images that it was trained on with their masks mini-SAM needs no adapting.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import shapely
from shapely.geometry import mapping

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from allinsam_core.annotation import boxes
from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case
from allinsam_core.data.image import read_labels, read_rgb
from allinsam_core.data.root import data_root
from study.datasets import dsb2018
from study.minisam.recipe import PretrainConfig
from study.tools.formats import write_geojson
from study.tools.score import score
from study.tools.segment import run as segment
from study.tools.train import Request, run

SPACING = 0.25
DIAMETERS = (14, 28)  # px
ANNOTATED = 5


def images() -> tuple[list[Case], list[Case]]:
    """Of about one magnification: the images that mini-SAM was trained on, and those that it never saw."""
    stained = dsb2018.load(data_root())
    config = PretrainConfig()
    order = np.random.default_rng(config.seed).permutation(len(stained))
    unseen, seen = ([stained[i] for i in part] for part in np.split(order, [config.stained_held_out]))
    for path in sorted((data_root() / "dsb2018_test" / "images").glob("*.png")):
        pixels = read_rgb(path)
        labels = read_labels(path.parents[1] / "instances" / path.name, (pixels.shape[0], pixels.shape[1]))
        unseen.append(Case(path.stem, pixels, labels, SPACING, "dsb2018_test"))
    return [c for c in seen if _suits(c)], [c for c in unseen if _suits(c)]


def _suits(case: Case) -> bool:
    area = np.bincount(case.instances.ravel())[1:]
    return DIAMETERS[0] <= float(np.median(np.sqrt(4 / np.pi * area[area > 0]))) <= DIAMETERS[1]


def write(case: Case, folder: Path, how: str) -> None:
    """An image and its annotation, as QuPath exports them."""
    folder.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(folder / f"{case.name}.png", case.image)
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


def main(out: Path, how: str = "outlines", steps: int | None = None) -> None:
    seen, others = images()
    shutil.rmtree(out / "annotated", ignore_errors=True)
    for index in np.random.default_rng(0).permutation(len(seen))[:ANNOTATED]:
        write(seen[index], out / "annotated", how)
    model = out / f"{how}.safetensors"
    run(Request(out / "annotated", model, spacing=SPACING, steps=steps, licence="CC0"), print)
    rows = []
    for name, weights in (("trained", str(model)), ("zero-shot", "mini")):
        for case in others:
            for folder in (out / "truth", out / name):
                folder.mkdir(parents=True, exist_ok=True)
            imageio.imwrite(out / "image.png", case.image)
            imageio.imwrite(out / "truth" / f"{case.name}.png", case.instances)
            segment(out / "image.png", out / "made", SPACING, model=weights)
            shutil.copy(out / "made" / "image_instances.tif", out / name / f"{case.name}.tif")
        scored = score(out / name, out / "truth", kind="labels")["images"]
        rows += [{"method": name, "image": image, **row} for image, row in scored.items()]
    table = pd.DataFrame(rows)
    table.to_csv(out / f"{how}.csv", index=False)
    shown = ["dice", "aji_kumar", "pq", "f1_instance_50"]
    print(table.groupby("method")[shown].mean().round(4), f"\nmean of {len(others)} images never seen before")
    ahead = table.pivot_table(index="image", columns="method", values=shown)
    print({m: int((ahead[m, "trained"] > ahead[m, "zero-shot"]).sum()) for m in shown}, "of them ahead")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3], *map(int, sys.argv[3:4]))
