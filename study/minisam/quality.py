"""How good a shipped small SAM is, without any training on MoNuSeg: boxes to masks, and without prompts.

Measured on MoNuSeg's training and validation images only; the test images are left to the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.boxes import BoxLaw
from allinsam_core.data.case import Case, Split
from allinsam_core.metrics import instance, pixel
from study import records
from study.datasets import monuseg
from study.minisam.label_quality import by_size, quality
from study.root import data_root
from study.tools.segment import nuclei
from study.weak import WeakSettings, annotate_case

LAWS: tuple[BoxLaw, ...] = ("tight", "random")
SPLITS: tuple[Split, ...] = ("train", "val")


@dataclass(frozen=True, eq=False)
class Measured:
    """One image: rows, one per prompt; nuclei, one line per box of `label_quality.nuclei` with image and prompt."""

    rows: list[dict[str, object]]
    nuclei: pd.DataFrame


def measure(case: Case, sam: sams.Sam, checksum: str, cache: Path | None = None, model: str = "mini") -> Measured:
    """Boxes of each law answered by SAM and by their inscribed ellipses, and SAM without any prompt."""
    named = {"image": case.name, "organ": case.organ, "split": case.split}
    rows: list[dict[str, object]] = []
    tables = []
    for law, annotator in product(LAWS, (sam, None)):
        prompt = f"{law} boxes" if annotator else f"ellipses of {law} boxes"
        weak = annotate_case(case, annotator, WeakSettings(box_law=law), cache, checksum).case
        found = quality(case, weak, law)
        tables.append(found.nuclei.assign(image=case.name, organ=case.organ, prompt=prompt))
        rows.append(
            {
                **named,
                "prompt": prompt,
                "dice": found.dice,
                "jaccard": found.jaccard,
                "mean_instance_iou": found.mean_instance_iou,
                "median_area_ratio": float(found.nuclei["area_ratio"].median()),
                "nuclei": len(found.nuclei),
            }
        )
    prob, labels = nuclei(case.image, case.spacing, model=model)
    parted = instance.evaluate(labels, case.instances)
    scores = pixel.evaluate(prob, case.mask, eight_bit=True)
    rows.append(
        {
            **named,
            "prompt": "none",
            "dice": scores.dice,
            "jaccard": scores.jaccard,
            "aji_kumar": parted.aji_kumar,
            "f1_instance_50": parted.f1_instance_50,
            "nuclei": int(labels.max()),
        }
    )
    return Measured(rows, pd.concat(tables, ignore_index=True))


def worst(table: pd.DataFrame, count: int = 20, smallest: int = 100) -> pd.DataFrame:
    """The `count` nuclei of at least `smallest` px whose mask from a tight box is worst; look at these first."""
    tight = table[(table["prompt"] == "tight boxes") & (table["truth_area"] >= smallest)]
    return tight.sort_values(["instance_iou", "image", "label"], kind="stable").head(count)


THRESHOLDS = (0.0, -0.5, -1.0, -1.5, -2.0)


def mask_thresholds(results: Path, side: int = 450) -> Path:
    """What each threshold of the mask logits is worth, on the middle `side` px of the validation images.

    Writes `results/mini_sam/mask_threshold/rows.csv`, a line per threshold, law of the boxes and image, and `run.json`;
    returns the folder. `sam.MINI_MASK_THRESHOLD` was chosen by it: masks of tight boxes about as large as the nuclei.
    """
    watch = records.Stopwatch()
    sam = sams.load_mini()
    whole = monuseg.load(data_root(), "val")
    corners = [((height - side) // 2, (width - side) // 2) for height, width in (c.instances.shape for c in whole)]
    images = [case.crop(*corner, side) for case, corner in zip(whole, corners, strict=True)]
    rows = []
    with watch.measure():
        for threshold, law, case in tqdm(list(product(THRESHOLDS, LAWS, images)), desc="thresholds", disable=None):
            sam.mask_threshold = threshold
            found = quality(case, annotate_case(case, sam, WeakSettings(box_law=law)).case, law)
            rows.append(
                {
                    "threshold": threshold,
                    "boxes": law,
                    "image": case.name,
                    "dice": found.dice,
                    "mean_instance_iou": found.mean_instance_iou,
                    "median_area_ratio": float(found.nuclei["area_ratio"].median()),
                }
            )
    config = {"weights": sams.weights_checksum(sam), "thresholds": THRESHOLDS, "laws": LAWS, "side": side}
    record = _record("mini-sam-mask-threshold", config, {"val": images}, watch)
    return records.save(record, results / "mini_sam" / "mask_threshold", rows=pd.DataFrame(rows))


def _record(
    run_id: str, config: dict[str, Any], images: dict[str, list[Case]], watch: records.Stopwatch
) -> dict[str, Any]:
    """The record of a measurement of the shipped weights. config: with the weights' checksum."""
    return records.make(run_id, config, data=images, modules=[__name__], watch=watch, seed=WeakSettings().seed)


def execute(results: Path, splits: tuple[Split, ...] = SPLITS, cache: Path | None = None, model: str = "mini") -> Path:
    """Measure and write `results/mini_sam/quality/`, for mini2 `quality-mini2/`; returns the folder.

    It holds `rows.csv`, `sizes.csv`, `worst.csv` and `run.json`.
    splits: "train" and "val", or one of them; the test images are refused. cache: of weak labels, shared with the
    grid's runs.
    """
    if not set(splits) <= set(SPLITS):
        raise ValueError(f"splits {splits}: expected some of {SPLITS}; the test images are left to the grid")
    watch = records.Stopwatch()
    images = [case for split in splits for case in monuseg.load(data_root(), split)]
    sam = sams.load_mini(model)
    checksum = sams.weights_checksum(sam)
    with watch.measure():
        found = [
            measure(case, sam, checksum, cache, model)
            for case in tqdm(images, desc=f"{model} on MoNuSeg", disable=None)
        ]
    table = pd.concat([f.nuclei for f in found], ignore_index=True)
    tables = {
        "rows": pd.DataFrame([row for f in found for row in f.rows]),
        "sizes": table.groupby("prompt").apply(by_size).reset_index(),
        "worst": worst(table),
    }
    config = {
        "weights": checksum,
        "mask_threshold": sam.mask_threshold,
        "laws": LAWS,
        "boxes": WeakSettings().model_dump(mode="json"),
    }
    name = "quality" if model == "mini" else f"quality-{model}"
    record = _record(f"mini-sam-{name}", config, {" and ".join(splits): images}, watch)
    return records.save(record, results / "mini_sam" / name, **tables)
