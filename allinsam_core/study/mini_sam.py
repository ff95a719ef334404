"""How good the shipped mini-SAM is, without any training on MoNuSeg: boxes to masks, and without prompts.

Measured on MoNuSeg's training and validation images only; the test images are left to the grid.
"""

from __future__ import annotations

import time
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
from allinsam_core.study.label_quality import quality

LAWS: tuple[BoxLaw, ...] = ("tight", "random")
SPLITS: tuple[Split, ...] = ("train", "val")


def measure(case: Case, sam: sams.Sam, checksum: str) -> list[dict[str, object]]:
    """One row per box law and one for the promptless mode: Dice, jaccard and instance IoU of one image."""
    named = {"image": case.name, "organ": case.organ, "split": case.split}
    rows: list[dict[str, object]] = []
    for law in LAWS:
        settings = WeakSettings(box_law=law)
        weak = annotate_case(case, sam, settings, checksum=checksum).case
        found = quality(case, weak, law)
        rows.append(
            {
                **named,
                "prompt": f"{law} boxes",
                "dice": found.dice,
                "jaccard": found.jaccard,
                "mean_instance_iou": found.mean_instance_iou,
                "median_area_ratio": float(found.nuclei["area_ratio"].median()),
                "nuclei": len(found.nuclei),
            }
        )
    prob, labels = nuclei(case.image, case.spacing)
    rows.append(
        {
            **named,
            "prompt": "none",
            "dice": pixel.evaluate(prob, case.mask, eight_bit=True).dice,
            "jaccard": pixel.evaluate(prob, case.mask, eight_bit=True).jaccard,
            "aji_kumar": instance.evaluate(labels, case.instances).aji_kumar,
            "nuclei": int(labels.max()),
        }
    )
    return rows


def execute(results: Path, splits: tuple[Split, ...] = SPLITS) -> Path:
    """Measure and write `results/mini_sam/quality/{rows.csv, run.json}`; returns the folder.

    splits: "train" and "val", or one of them; the test images are refused.
    """
    if not set(splits) <= set(SPLITS):
        raise ValueError(f"splits {splits}: expected some of {SPLITS}; the test images are left to the grid")
    folder = results / "mini_sam" / "quality"
    clock = time.monotonic()
    images = [case for split in splits for case in monuseg.load(data_root(), split)]
    sam = sams.load_mini()
    checksum = sams.weights_checksum(sam)
    rows = [
        row for case in tqdm(images, desc="mini-SAM on MoNuSeg", disable=None) for row in measure(case, sam, checksum)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "rows.csv", index=False, float_format="%.6f")
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
