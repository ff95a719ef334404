"""The molecular arm's runs: labels by some annotators → method → scores on held-out slides' truth.

A run's folder is `results/<profile>/table1/<run id>/`, with one line of `rows.csv` per test patch; see `study.run`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from allinsam_core.data.case import Case
from allinsam_core.metrics import instance, pixel
from study import records, run
from study.grid import Profile
from study.molecular.cohort import MolecularCohort, checksum, labels, prepare
from study.molecular.config import MolecularConfig
from study.molecular.patch import Patch
from study.root import resolved

OWN_ANNOTATORS = {"Expert": ("expert",), "Students": ("student1", "student2", "student3")}


def execute_grid(
    profile: Profile,
    results: Path | str,
    work: Path | str,
    cohort_folder: Path | str | None = None,
    annotators: Mapping[str, Sequence[str]] | None = None,
    reference: str = "expert",
    device: str = "auto",
) -> list[Path]:
    """Every run of a profile that is not finished, one after the other; returns the folders of all.

    cohort_folder: a laboratory's own patches (`inhouse`) instead of the simulated cohort. annotators: then, a row's
    name → the folders of masks/ that it learns from; reference: whose masks the test patches are scored against.
    """
    own = None if cohort_folder is None else resolved(cohort_folder)
    if own is not None:
        profile = on_folder(profile, checksum(own), reference, annotators or OWN_ANNOTATORS)
    cohort: MolecularCohort | None = None
    folders = []
    for number, config in enumerate(grid := cast(list[MolecularConfig], profile.grid()), start=1):
        folders.append(resolved(results) / config.place)
        if run.finished(config, results, device=device):
            continue
        cohort = cohort or MolecularCohort(own or prepare(config.cohort, resolved(work)), config.cohort.seed)
        print(f"{number} of {len(grid)}: {config.run_id}", flush=True)
        run.perform(config, task(config, cohort, resolved(work)), results, work, device)
    return folders


def on_folder(profile: Profile, sha256: str, reference: str, annotators: Mapping[str, Sequence[str]]) -> Profile:
    """The same grid on a laboratory's patches: same methods, its own annotators and reference."""
    methods = {}
    for name in profile.methods:
        own = profile.settings(name)
        axes = own.get("axes", {})
        narrowed = [each for each in axes.get("annotator", annotators) if each in annotators]
        methods[name] = {**own, "axes": {**axes, "annotator": narrowed}}
    cohort = {"source": "folder", "sha256": sha256, **dict.fromkeys(("podocyte", "mesangial", "slides"), 0)}
    common = {**profile.common, "reference": reference, "cohort": {**cohort, "injured": 0, "size": 0}}
    rows = {row: {"drawn_by": list(names)} for row, names in annotators.items()}
    axes = {**profile.axes, "annotator": rows}
    return profile.model_copy(update={"axes": axes, "common": common, "methods": methods})


def task(config: MolecularConfig, cohort: MolecularCohort, work: Path) -> run.Task:
    """What a run learns from, its labels cached below `work`, and the test patches; no validation images are used.

    The record also keeps the prediction of one normal and one injured test patch, as run lengths.
    """
    patches = {split: cohort.part(split, config.cell_type) for split in ("train", "test")}
    train = labels(config, patches["train"], work / "weak")
    test = cohort.scored(patches["test"], config.reference)
    injured = {patch.name: patch.injured for patch in patches["test"]}
    examples: dict[str, Any] = {}

    def after_scoring(case: Case, prob: np.ndarray) -> None:
        kind = "injured" if injured[case.name] else "normal"
        runs = encode(prob >= config.instances.foreground_threshold)
        examples.setdefault(kind, {"patch": case.name, "runs": runs})

    about = {
        "registration": _registration(cohort),
        "label_quality": label_quality(config, cohort, patches["train"], train),
        "examples": examples,
    }
    return run.Task(
        train=train,
        val=[],
        scored=test,
        pixels=[case.image for case in train],
        images={"train": train, "test": test},
        about=about,
        after_scoring=after_scoring,
        columns=lambda case: {"slide": case.patient, "injured": injured[case.name]},
    )


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
