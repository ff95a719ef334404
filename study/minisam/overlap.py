"""The overlap of mini-SAM's training images with MoNuSeg, as rows and a record."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from study import records
from study.datasets import dsb2018, monuseg
from study.minisam import patch_matching as overlap
from study.root import data_root


def execute(results: Path) -> Path:
    """Match every stained DSB2018 image with all 44 MoNuSeg images; returns `results/mini_sam/overlap`."""
    watch, root = records.Stopwatch(), data_root()
    stained = dsb2018.load(root, ("stained-brightfield",))
    images = [case for split in ("train", "val", "test") for case in monuseg.load(root, split)]
    references = [(case.name, overlap.grey(case)) for case in images]
    with watch.measure():
        matches = [overlap.closest(case, references) for case in tqdm(stained, desc="matching", disable=None)]
    table = pd.DataFrame([{**asdict(m), "same": m.same} for m in matches])
    record = records.make(
        "mini-sam-overlap",
        {"patch": overlap.PATCH, "same": overlap.SAME},
        data={"dsb2018": stained, "monuseg": images},
        modules=[__name__],
        watch=watch,
        largest_correlation=float(table["correlation"].max()),
        same=int(table["same"].sum()),
    )
    return records.save(record, results / "mini_sam" / "overlap", rows=table)
