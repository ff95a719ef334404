"""One run of the molecular arm: labels by some annotators → method → fit → score on held-out slides' truth.

A run's folder is `results/<profile>/table1/<run id>/` (`MolecularConfig.folder`) with `rows.csv` (one line per test
patch) and `run.json`, written last: where it exists the run is finished and is skipped, where it does not training goes
on from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from allinsam_core.data.case import Case, Split
from allinsam_core.learning import instances
from allinsam_core.learning.method import Method
from allinsam_core.learning.train import peak_memory
from allinsam_core.metrics import instance, pixel
from study import records
from study.molecular import methods as molecular_methods
from study.molecular.cohort import MolecularCohort, checksum, labels, prepare
from study.molecular.config import MolecularConfig, MolecularProfile
from study.molecular.patch import Patch
from study.run import parameters


def execute_grid(
    profile: MolecularProfile,
    results: Path,
    work: Path,
    cohort_folder: Path | None = None,
    annotators: dict[str, tuple[str, ...]] | None = None,
    reference: str = "expert",
    device: str = "auto",
) -> list[Path]:
    """Every run of a profile that is not finished, one after the other; returns the folders of all.

    cohort_folder: a laboratory's own patches (`data.inhouse`) instead of the simulated cohort. annotators: then, a
    row's name → the folders of masks/ that it learns from; reference: whose masks the test patches are scored against.
    """
    if cohort_folder is not None:
        named = annotators or {"Expert": ("expert",), "Students": ("student1", "student2", "student3")}
        profile = profile.on_folder(checksum(cohort_folder), reference, named)
    cohort: MolecularCohort | None = None
    folders = []
    for number, config in enumerate(grid := profile.grid(), start=1):
        if not records.is_finished(config.folder(results) / "run.json", config.hash):
            cohort = cohort or MolecularCohort(cohort_folder or prepare(config.cohort, work), config.cohort.seed)
            print(f"{number} of {len(grid)}: {config.run_id}", flush=True)
            execute(config, cohort, results, work, device)
        folders.append(config.folder(results))
    return folders


def execute(config: MolecularConfig, cohort: MolecularCohort, results: Path, work: Path, device: str = "auto") -> Path:
    """Do the run, finished or not; returns its folder. work: checkpoints and cached labels, not for committing."""
    started, folder = time.time(), config.folder(results)
    splits: tuple[Split, ...] = ("train", "test")
    patches = {split: cohort.part(split, config.cell_type) for split in splits}
    train = labels(config, patches["train"], work / "weak")
    test = cohort.scored(patches["test"], config.reference)
    method = molecular_methods.build(config, device)
    clock = time.monotonic()
    learned = method.fit(train, [], work / config.profile / config.arm / config.run_id)
    fit_seconds = learned.pop("seconds", time.monotonic() - clock)
    clock = time.monotonic()
    rows, examples = score(config, method, patches["test"], test)
    record = {
        "run_id": config.run_id,
        "config_hash": config.hash,
        "config": config.model_dump(mode="json"),
        "commit": records.commit(),
        "simulated": config.cohort.source == "simulated",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "environment": records.environment(method.fabric.device),
        "data": {
            "train": {"images": len(train), "sha256": records.data_checksum(train)},
            "test": {"images": len(test), "sha256": records.data_checksum(test)},
        },
        "registration": _registration(cohort),
        "label_quality": label_quality(config, cohort, patches["train"], train),
        "parameters": parameters(method),
        "fit_seconds": fit_seconds,
        "predict_seconds": time.monotonic() - clock,
        "peak_memory_bytes": max(peak_memory(), learned.pop("peak_memory", 0)),
        "training": learned,
        "examples": examples,
    }
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "rows.csv", index=False, float_format="%.6f")
    records.write(record, folder / "run.json")
    return folder


def score(
    config: MolecularConfig, method: Method, patches: Sequence[Patch], test: Sequence[Case]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Predict and score every test patch; and the run-length codes of one normal and one injured prediction."""
    rows: list[dict[str, Any]] = []
    examples: dict[str, Any] = {}
    for patch, case in zip(patches, test, strict=True):
        prob = method.predict(case.image)
        found = instances.from_probability(prob, config.instances)
        scores = {**asdict(pixel.evaluate(prob, case.mask)), **asdict(instance.evaluate(found, case.instances))}
        rows.append({"image": case.name, "slide": case.patient, "injured": patch.injured, **scores})
        kind = "injured" if patch.injured else "normal"
        examples.setdefault(kind, {"patch": case.name, "runs": encode(prob >= config.instances.threshold)})
    return pd.DataFrame(rows), examples


def encode(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask (H, W) bool, row by row: background first, then in turn."""
    flat = mask.ravel()
    ends = np.flatnonzero(np.diff(flat, prepend=False))
    return np.diff([0, *ends, flat.size]).tolist()


def decode(runs: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool of `encode`d run lengths. ValueError when they do not fill the shape."""
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if flat.size != shape[0] * shape[1]:
        raise ValueError(f"runs cover {flat.size} pixels, expected {shape[0]} × {shape[1]}")
    return flat.reshape(shape)


def label_quality(
    config: MolecularConfig, cohort: MolecularCohort, patches: Sequence[Patch], train: Sequence[Case]
) -> dict[str, float]:
    """How near the training labels are to the simulated truth, mean over patches; empty for real data."""
    if config.cohort.source != "simulated":
        return {}
    truths = {case.name: case for case in cohort.scored(patches, "truth")}
    pixels = [pixel.evaluate(case.mask, truths[case.name].mask).f1_pixel_macro for case in train]
    objects = [instance.evaluate(case.instances, truths[case.name].instances).f1_instance_50 for case in train]
    return {"f1_pixel_macro": float(np.mean(pixels)), "f1_instance_50": float(np.nanmean(objects))}


def _registration(cohort: MolecularCohort) -> dict[str, Any]:
    """How the simulated IF was brought into register: patches left out, median error in px; empty for real data."""
    path = cohort.folder / "cohort.json"
    if not path.is_file():
        return {}
    said = records.read(path)
    errors = said["registration_error_px"]
    return {
        "patches": said["patches"],
        "failed": len(said["registration_failed"]),
        "median_px": float(np.median(errors)),
    }
