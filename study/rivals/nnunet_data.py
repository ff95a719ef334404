"""Our cases as nnU-Net wants them: a raw dataset of PNG files, checked, planned and preprocessed by nnU-Net itself.

The plan (patch, depth, batch) is made from the training part alone; nnU-Net would also look at the validation images,
which for the small fractions are 25 times the size of a training crop and would decide the patch.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.io import imsave

from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError
from allinsam_core.learning.instances import targets
from study.multiclass import class_table

NAME = "Dataset001_nuclei"
PLANS = "nnUNetPlans"
CONFIGURATION = "2d"
FOLDERS = ("raw", "preprocessed", "results")


@contextlib.contextmanager
def environment(folder: Path, workers: int) -> Iterator[None]:
    """nnU-Net's paths below `folder` and its number of augmentation processes; put back as they were afterwards."""
    ours = {f"nnUNet_{name}": str((folder / name).resolve()) for name in FOLDERS}
    ours["nnUNet_n_proc_DA"] = str(workers)
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def identifier(case: Case) -> str:
    """The case's name with what nnU-Net's file names cannot hold replaced: `a@10,20,200` → `a_10_20_200`."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", case.name)


def export(
    train: Sequence[Case], val: Sequence[Case], folder: Path, cores: bool = False, kinds: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Write images (RGB PNG) and masks (see `classes`) of both parts below `folder`/raw; returns the split.

    dataset.json names the training part only: what nnU-Net makes its plan from.
    """
    raw = folder / "raw" / NAME
    names = [identifier(case) for case in (*train, *val)]
    if len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise DataError(f"{raw}: {', '.join(twice)} would name two cases, expected one; rename the images")
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True, exist_ok=True)
    for case, name in zip((*train, *val), names, strict=True):
        imsave(raw / "imagesTr" / f"{name}_0000.png", case.image, check_contrast=False)
        imsave(raw / "labelsTr" / f"{name}.png", classes(case, cores, kinds), check_contrast=False)
    write_json(description(names[: len(train)], cores, kinds), raw / "dataset.json")
    return {"train": names[: len(train)], "val": names[len(train) :]}


def classes(case: Case, cores: bool, kinds: Sequence[str] = ()) -> np.ndarray:
    """(H, W) uint8: 0 background, 1 nucleus; with cores 1 rim, 2 core: the true distance to the boundary is below 0.5.
    With kinds, the number of the nucleus's class among them, from 1 on.

    nnU-Net's usual way to instances ("border-core" in its conversions for the Cell Tracking Challenge), with a rim that
    grows with the nucleus.
    """
    if kinds:
        return class_table(case, kinds)[case.instances].astype(np.uint8)
    mask = case.mask.astype(np.uint8)
    if not cores:
        return mask
    boundary = targets(torch.from_numpy(case.instances.astype(np.int64))[None])[0, 1].numpy()
    return mask + (boundary < 0.5).astype(np.uint8)


def description(names: Sequence[str], cores: bool = False, kinds: Sequence[str] = ()) -> dict[str, Any]:
    """The content of dataset.json. Channels that are called R, G, B are z-scored image by image."""
    labels = kinds or (("rim", "core") if cores else ("nucleus",))
    return {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, **{name: number for number, name in enumerate(labels, start=1)}},
        "numTraining": len(names),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
        "dataset": {n: {"images": [f"imagesTr/{n}_0000.png"], "label": f"labelsTr/{n}.png"} for n in names},
    }


def prepare(
    train: Sequence[Case],
    val: Sequence[Case],
    folder: Path,
    gpu_memory: float,
    cores: bool = False,
    kinds: Sequence[str] = (),
) -> float:
    """Export, check, plan and preprocess, unless that is done; returns the seconds it took.

    gpu_memory: the planner's target, GB. cores: as in `classes`. Raises DataError where nnU-Net refuses the data.
    """
    done = folder / "preprocessed" / "prepared.json"  # written last
    if done.is_file():
        return float(read_json(done)["seconds"])
    clock = time.monotonic()
    split = export(train, val, folder, cores, kinds)
    preprocessed = folder / "preprocessed" / NAME
    with environment(folder, workers=1):  # the planner counts its threads by it
        _checked(folder / "raw" / NAME)
        _plan(gpu_memory)
        everything = description(split["train"] + split["val"], cores, kinds)
        for place in (folder / "raw" / NAME, preprocessed):
            write_json(everything, place / "dataset.json")
        write_json([split], preprocessed / "splits_final.json")  # fold 0 is the study's own split
        _preprocess()
    seconds = time.monotonic() - clock
    write_json({"seconds": seconds}, done)
    return seconds


def plan(folder: Path) -> dict[str, Any]:
    """What nnU-Net planned: patch (px), batch and stages."""
    made = read_json(folder / "preprocessed" / NAME / f"{PLANS}.json")["configurations"][CONFIGURATION]
    stages = made["architecture"]["arch_kwargs"]["n_stages"]
    return {"patch_size": made["patch_size"], "batch_size": made["batch_size"], "stages": stages}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def write_json(content: Any, path: Path) -> None:
    """Write the file whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _checked(raw: Path) -> None:
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    try:
        verify_dataset_integrity(str(raw), num_processes=1)
    except (AssertionError, RuntimeError, OSError) as error:
        raise DataError(
            f"{raw}: nnU-Net refuses this dataset, it says: {error} nnunet.log names the files; expected RGB images "
            "and masks of 0 and 1 (or 2) of the same shape. Delete the folder, correct the data and run again"
        ) from error


def _plan(gpu_memory: float) -> None:
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiment_dataset

    fingerprint = DatasetFingerprintExtractor(1, num_processes=1)
    fingerprint.show_progress_bar = False
    fingerprint.num_foreground_voxels_for_intensitystats = 1e6  # of 1e8: gigabytes, and only CT data are scaled by them
    fingerprint.run(overwrite_existing=True)
    plan_experiment_dataset(1, gpu_memory_target_in_gb=gpu_memory, overwrite_plans_name=PLANS)


def _preprocess() -> None:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    preprocessor = DefaultPreprocessor(verbose=False)
    preprocessor.show_progress_bar = False
    preprocessor.run(1, CONFIGURATION, PLANS, num_processes=1)
