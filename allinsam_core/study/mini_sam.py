"""How good the shipped mini-SAM is, without any training on MoNuSeg: boxes to masks, and without prompts.

Measured on MoNuSeg's training and validation images only; the test images are left to the grid.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.boxes import BoxLaw
from allinsam_core.annotation.weak import WeakSettings, annotate_case
from allinsam_core.data import monuseg
from allinsam_core.data.case import Case, Split
from allinsam_core.data.root import data_root
from allinsam_core.learning.segment import nuclei
from allinsam_core.metrics import instance, pixel
from allinsam_core.study import records
from allinsam_core.study.label_quality import by_size, quality

LAWS: tuple[BoxLaw, ...] = ("tight", "random")
SPLITS: tuple[Split, ...] = ("train", "val")


@dataclass(frozen=True, eq=False)
class Measured:
    """One image: rows, one per prompt; nuclei, one line per box of `label_quality.nuclei` with image and prompt."""

    rows: list[dict[str, object]]
    nuclei: pd.DataFrame


def measure(case: Case, sam: sams.Sam, checksum: str, cache: Path | None = None) -> Measured:
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
    prob, labels = nuclei(case.image, case.spacing)
    scores = pixel.evaluate(prob, case.mask, eight_bit=True)
    rows.append(
        {
            **named,
            "prompt": "none",
            "dice": scores.dice,
            "jaccard": scores.jaccard,
            "aji_kumar": instance.evaluate(labels, case.instances).aji_kumar,
            "nuclei": int(labels.max()),
        }
    )
    return Measured(rows, pd.concat(tables, ignore_index=True))


def worst(table: pd.DataFrame, count: int = 20, smallest: int = 100) -> pd.DataFrame:
    """The `count` nuclei of at least `smallest` px whose mask from a tight box is worst; look at these first."""
    tight = table[(table["prompt"] == "tight boxes") & (table["truth_area"] >= smallest)]
    return tight.sort_values(["instance_iou", "image", "label"], kind="stable").head(count)


def execute(results: Path, splits: tuple[Split, ...] = SPLITS, cache: Path | None = None) -> Path:
    """Measure and write `results/mini_sam/quality/`: rows, sizes, worst (`.csv`) and `run.json`; its folder.

    splits: "train" and "val", or one of them; the test images are refused. cache: of weak labels, shared with the
    grid's runs.
    """
    if not set(splits) <= set(SPLITS):
        raise ValueError(f"splits {splits}: expected some of {SPLITS}; the test images are left to the grid")
    folder = results / "mini_sam" / "quality"
    clock = time.monotonic()
    images = [case for split in splits for case in monuseg.load(data_root(), split)]
    sam = sams.load_mini()
    checksum = sams.weights_checksum(sam)
    found = [measure(case, sam, checksum, cache) for case in tqdm(images, desc="mini-SAM on MoNuSeg", disable=None)]
    table = pd.concat([f.nuclei for f in found], ignore_index=True)
    tables = {
        "rows": pd.DataFrame([row for f in found for row in f.rows]),
        "sizes": table.groupby("prompt").apply(by_size).reset_index(),
        "worst": worst(table),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tables.items():
        content.to_csv(folder / f"{name}.csv", index=False, float_format="%.6f")
    record = {
        "run_id": "mini-sam-quality",
        "config_hash": checksum[:10],
        "config": {"weights": checksum, "laws": LAWS, "boxes": WeakSettings().model_dump(mode="json")},
        "commit": records.commit(),
        "simulated": False,
        "seed": WeakSettings().seed,
        "environment": records.environment(),
        "data": {" and ".join(splits): {"images": len(images), "sha256": records.data_checksum(images)}},
        "seconds": time.monotonic() - clock,
        "peak_memory_bytes": records.peak_memory(),
    }
    records.write(record, folder / "run.json")
    return folder
