"""The overlap of mini-SAM's training images with MoNuSeg, as rows and a record."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from allinsam_core.data import monuseg
from allinsam_core.data.root import data_root
from study import records
from study.datasets import dsb2018
from study.minisam import patch_matching as overlap


def execute(results: Path) -> Path:
    """Match every stained DSB2018 image with all 44 MoNuSeg images; returns `results/mini_sam/overlap`."""
    folder = results / "mini_sam" / "overlap"
    clock = time.monotonic()
    root = data_root()
    stained = dsb2018.load(root, ("stained-brightfield",))
    images = [case for split in ("train", "val", "test") for case in monuseg.load(root, split)]
    references = [(case.name, overlap.grey(case)) for case in images]
    matches = [overlap.closest(case, references) for case in tqdm(stained, desc="matching", disable=None)]
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([{**asdict(m), "same": m.same} for m in matches])
    table.to_csv(folder / "rows.csv", index=False, float_format="%.4f")
    record = {
        "run_id": "mini-sam-overlap",
        "config_hash": f"{overlap.PATCH}px-{overlap.SAME}",
        "commit": records.commit(),
        "environment": records.environment(),
        "data": {
            "dsb2018": {"images": len(stained), "sha256": records.data_checksum(stained)},
            "monuseg": {"images": len(images), "sha256": records.data_checksum(images)},
        },
        "largest_correlation": float(table["correlation"].max()),
        "same": int(table["same"].sum()),
        "seconds": time.monotonic() - clock,
        "peak_memory_bytes": records.peak_memory(),
    }
    records.write(record, folder / "run.json")
    return folder
