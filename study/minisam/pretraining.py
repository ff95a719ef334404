"""mini-SAM's pre-training as a run with a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from allinsam_core.annotation import sam
from allinsam_core.learning.train import History
from study import records
from study.methods import check_device
from study.minisam import recipe as pretrain_run
from study.root import data_root, dataset_folder, resolved


def execute(
    config: pretrain_run.PretrainConfig, folder: Path, device: str = "auto", earlier: Path | None = None
) -> Path:
    """Pre-train (or continue), then write `run.json` beside `mini_sam.safetensors`; returns the record's path.

    earlier: the record of the weights that ship; the phases it holds are not done again, but gone on from.
    """
    check_device(device)
    folder = resolved(folder)
    root, watch = dataset_folder(data_root(), "dsb2018"), records.Stopwatch()
    start = None if earlier is None else _start(config, earlier)
    with watch.measure("fit"):
        history, sources = pretrain_run.run(config, root, folder, device, start)
    watch.seconds["fit_seconds"] = history.seconds  # over all restarts
    weights = folder / "mini_sam.safetensors"
    record = records.make(
        "pretrain-mini-sam",
        config.model_dump(mode="json"),
        data={"train": sources.cases, "held_out": sources.held_out},
        modules=[__name__],
        watch=watch,
        device=device if device in ("cpu", "cuda") else "cpu",
        earlier=None if earlier is None else _summary(earlier),
        weights={"sha256": records.file_checksum(weights), "bytes": weights.stat().st_size},
        training={"losses": history.losses, "validations": history.validations, "best": history.best},
    )
    records.save({**record, "peak_memory_bytes": history.peak_memory}, folder)
    return folder / records.FILE


def _start(config: pretrain_run.PretrainConfig, earlier: Path) -> pretrain_run.Start:
    """What the shipped weights' own record says of them. ValueError where weights or phases are not the record's."""
    if not earlier.is_file():
        raise ValueError(
            f"{earlier}: no such file, expected a pre-training's record: results/mini_sam/pretraining/run.json"
        )
    record = records.read(earlier)
    lacks = {"weights", "training", "fit_seconds", "peak_memory_bytes"} - record.keys()
    if lacks or "phases" not in record["config"]:
        raise ValueError(
            f"{earlier}: a record without {', '.join(sorted(lacks)) or 'phases'}, expected a pre-training's: "
            "results/mini_sam/pretraining/run.json"
        )
    found = records.file_checksum(sam.SHIPPED["mini"])
    expected = record["weights"]["sha256"]
    if found != expected:
        raise ValueError(
            f"{sam.SHIPPED['mini']}: sha256 is {found[:12]}…, expected {expected[:12]}…, as {earlier} says; "
            "name the record of the weights that ship"
        )
    done = [phase["name"] for phase in record["config"]["phases"]]
    names = [phase.name for phase in config.phases]
    if done != names[: len(done)] or len(done) == len(names):
        raise ValueError(f"{earlier}: its phases are {done}, the recipe's {names}; expected the first of them, not all")
    return pretrain_run.Start(
        sam.SHIPPED["mini"],
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
