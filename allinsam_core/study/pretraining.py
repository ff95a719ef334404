"""mini-SAM's pre-training as a run with a record."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from allinsam_core.data.root import data_root, dataset_folder
from allinsam_core.learning import pretrain_run
from allinsam_core.study import records


def execute(config: pretrain_run.PretrainConfig, folder: Path, device: str = "auto") -> Path:
    """Pre-train (or continue), then write `run.json` beside `mini_sam.safetensors`; returns the record's path."""
    root = dataset_folder(data_root(), "dsb2018")
    started = time.time()
    history, sources = pretrain_run.run(config, root, folder, device)
    weights = folder / "mini_sam.safetensors"
    record = {
        "run_id": "pretrain-mini-sam",
        "config_hash": records.hash_of(config.model_dump(mode="json")),
        "config": config.model_dump(mode="json"),
        "commit": records.commit(),
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
