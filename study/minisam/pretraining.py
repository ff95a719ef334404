"""mini-SAM's pre-training as a run with a record."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from allinsam_core.annotation import sam
from allinsam_core.data.root import data_root, dataset_folder
from allinsam_core.learning.train import History
from study import records
from study.minisam import recipe as pretrain_run


def execute(
    config: pretrain_run.PretrainConfig, folder: Path, device: str = "auto", earlier: Path | None = None
) -> Path:
    """Pre-train (or continue), then write `run.json` beside `mini_sam.safetensors`; returns the record's path.

    earlier: the record of the weights that ship; the phases it holds are not done again, but gone on from.
    """
    root = dataset_folder(data_root(), "dsb2018")
    started = time.time()
    start = None if earlier is None else _start(config, earlier)
    history, sources = pretrain_run.run(config, root, folder, device, start)
    weights = folder / "mini_sam.safetensors"
    record = {
        "run_id": "pretrain-mini-sam",
        "config_hash": records.hash_of(config.model_dump(mode="json")),
        "config": config.model_dump(mode="json"),
        "commit": records.commit(),
        "earlier": None if earlier is None else _summary(earlier),
        "last_started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "environment": records.environment(device if device in ("cpu", "cuda") else "cpu"),
        "data": {
            "train": {"images": len(sources.cases), "sha256": records.data_checksum(sources.cases)},
            "held_out": {"images": len(sources.held_out), "sha256": records.data_checksum(sources.held_out)},
        },
        "weights": {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), "bytes": weights.stat().st_size},
        "fit_seconds": history.seconds,
        "peak_memory_bytes": history.peak_memory,
        "training": {"losses": history.losses, "validations": history.validations, "best": history.best},
    }
    records.write(record, folder / "run.json")
    return folder / "run.json"


def _start(config: pretrain_run.PretrainConfig, earlier: Path) -> pretrain_run.Start:
    """What the shipped weights' own record says of them. ValueError where weights or phases are not the record's."""
    if not earlier.is_file():
        raise ValueError(
            f"{earlier}: no such file, expected a pre-training's record: results/mini_sam/pretraining/run.json"
        )
    record = records.read(earlier)
    found = hashlib.sha256(sam.MINI_WEIGHTS.read_bytes()).hexdigest()
    expected = record["weights"]["sha256"]
    if found != expected:
        raise ValueError(
            f"{sam.MINI_WEIGHTS}: sha256 is {found[:12]}…, expected {expected[:12]}…, as {earlier} says; "
            "name the record of the weights that ship"
        )
    done = [phase["name"] for phase in record["config"]["phases"]]
    names = [phase.name for phase in config.phases]
    if done != names[: len(done)] or len(done) == len(names):
        raise ValueError(f"{earlier}: its phases are {done}, the recipe's {names}; expected the first of them, not all")
    return pretrain_run.Start(
        sam.MINI_WEIGHTS,
        len(done),
        History(
            **{name: record["training"][name] for name in ("losses", "validations", "best")},
            seconds=record["fit_seconds"],
            peak_memory=record["peak_memory_bytes"],
        ),
    )


def _summary(earlier: Path) -> dict[str, Any]:
    """Of an earlier record, what identifies it and what it cost."""
    record = records.read(earlier)
    return {name: record[name] for name in ("config_hash", "commit", "weights", "fit_seconds", "data", "environment")}
