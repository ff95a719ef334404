"""One run in steps that a notebook or `execute` takes one after the other: data → labels → method → scores → record.

A run's folder is `results/<profile>/<run id>/` (`Run.place` says where else), with `rows.csv`, one line per scored
image, and `run.json`, the record. The record is written last: where it exists the run is finished and is skipped, where
it does not the run is done again, training from its last checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from allinsam_core.data.case import Case, Split
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.method import Method
from allinsam_core.learning.threshold import choose
from allinsam_core.metrics import pixel
from allinsam_core.settings import SettingsError
from study import data as sources
from study import methods, records
from study.config import Run, RunConfig
from study.data import cases
from study.datasets import fractions
from study.judge import judge as judge_of
from study.root import VARIABLE, resolved
from study.simulation.corrupt import corrupt
from study.tuning import Example, tuned
from study.weak import weak_cases

if TYPE_CHECKING:
    from study.grid import Profile

Images = dict[Split, list[Case]]
AfterScoring = Callable[[Case, np.ndarray], None]
"""What is told of every scored case: its probability (H, W) float32."""


@dataclass(frozen=True)
class Task:
    """What one run learns from and is scored on.

    train, val: with the labels that a method may see. scored: with the truth. pixels: of all training images, for
    methods that learn without labels. images: all of the data, by split. about: more for the record.
    columns: what a row says of its image besides the scores. after_scoring: called
    with every scored case and its probability.
    """

    train: list[Case]
    val: list[Case]
    scored: list[Case]
    pixels: list[np.ndarray]
    images: dict[str, list[Case]]
    about: dict[str, Any] = field(default_factory=dict)
    columns: Callable[[Case], dict[str, Any]] = lambda case: {"patient": case.patient, "organ": case.organ}
    after_scoring: AfterScoring = lambda case, prob: None


def execute(
    config: Run,
    results: Path | str,
    work: Path | str,
    root: Path | str | None = None,
    device: str = "auto",
    maps: bool = False,
    data: Images | None = None,
) -> Path:
    """Do the run unless it is finished; returns its folder. Relative paths lead from the repository's root.

    work: where checkpoints live (not for committing). root: where MoNuSeg lies. maps: also keep 8-bit probability maps
    in `work`. data: the images of `cases(config.data, root)`, where many runs share them.
    """
    if not isinstance(config, RunConfig):
        raise SettingsError(f"{config.run_id} is a run of the molecular arm; `make study-table1` does those")
    if finished(config, results, root, device):
        return resolved(results) / config.place
    images = cases(config.data, None if root is None else resolved(root)) if data is None else data
    return perform(config, task(config, images, resolved(work)), results, work, device, maps)


def execute_grid(
    profile: Profile, results: Path | str, work: Path | str, root: Path | str | None = None, device: str = "auto"
) -> list[Path]:
    """Do every run of a profile of segmentation that is not finished, one data set's after another's.

    Returns the folders of all, in that order.
    """

    def key(config: Run) -> str:
        return config.data.model_dump_json() if isinstance(config, RunConfig) else ""

    folders, shared, grid = [], {}, profile.grid()
    keys = list(dict.fromkeys(map(key, grid)))
    for number, config in enumerate(sorted(grid, key=lambda config: keys.index(key(config))), start=1):
        if finished(config, results, root, device) or not isinstance(config, RunConfig):
            folders.append(execute(config, results, work, root, device))
            continue
        print(f"{number} of {len(grid)}: {config.run_id}", flush=True)
        if key(config) not in shared:  # read once; only one data set at a time is kept
            shared = {key(config): cases(config.data, None if root is None else resolved(root))}
        folders.append(execute(config, results, work, root, device, data=shared[key(config)]))
    return folders


def finished(config: Run, results: Path | str, root: Path | str | None = None, device: str = "auto") -> bool:
    """Whether the run is done. What was asked for is checked first, so that a record hides no wrong folder or device.

    Raises SettingsError for a device that is not there, MissingData for a folder that was named and holds no data.
    """
    methods.check_device(device)
    if isinstance(config, RunConfig):
        named = os.environ.get(VARIABLE) if root is None else root
        sources.check_root(config.data, resolved(named) if named else None)
    return records.is_finished(resolved(results) / config.place / records.FILE, config.hash)


def perform(
    config: Run, given: Task, results: Path | str, work: Path | str, device: str = "auto", maps: bool = False
) -> Path:
    """Learn, predict, score and write; returns the run's folder."""
    scratch, watch = resolved(work) / config.place, records.Stopwatch()
    method = methods.build(config, device)
    print(method.describe(), flush=True)
    method.prepare(given.pixels, resolved(work) / "pretext")
    with watch.measure("fit"):
        learned = method.fit(given.train, given.val, scratch) if given.train else {}
    with watch.measure("predict"):
        threshold = chosen_threshold(config, method, given.val)
        parting = chosen_instances(config, method, given.val, given.train, threshold)
        tables = score(config, method, given, threshold, parting, scratch / "maps" if maps else None)
    method.save(scratch / "trained.safetensors", config.base_weights, {"run": config.run_id})
    about = record(config, method, given.images, given.train, learned, watch, threshold, parting, **given.about)
    return records.save(about, resolved(results) / config.place, **tables)


# ---- what a run learns from


def task(config: RunConfig, images: Images, work: Path) -> Task:
    """Images, labels and the declared part of them. Weak labels are cached below `work`."""
    crops = config.data.rule == "crops"  # of whole images, only those of the fraction need labels
    wanted = images["train"] if crops else declared_part(config, images["train"])
    train, val = (annotated(config, part, work / "weak") for part in (wanted, images["val"]))
    part = declared_part(config, train) if crops else train
    if config.validation_share == "fraction":
        val = declared_part(config, val)
    about = {} if config.noise is None else {"label_dice": agreement(train, wanted)}
    pixels = [case.image for case in images["train"]]
    return Task(part, val, images[config.scored], pixels, {str(split): part for split, part in images.items()}, about)


def annotated(config: RunConfig, images: list[Case], cache: Path) -> list[Case]:
    """The images with the labels a method may learn from: the truth, or masks made from the true boxes, or with errors.

    Label "weak" and noise leave no true mask to training or validation; only the test images keep theirs. Each seed
    has errors of its own, the same for every method.
    """
    if config.noise is not None:
        images = [corrupt(case, config.noise.rate, config.seed, config.noise.law) for case in images]
    if config.annotator is None:
        return images
    asked = config.annotator
    return [weak.case for weak in weak_cases(images, asked.build(), asked.boxes, cache)]


def agreement(labelled: Sequence[Case], truth: Sequence[Case]) -> float:
    """Mean pixel Dice of annotations with the truth of the same images: how good the labels are that a run saw."""
    pairs = zip(labelled, truth, strict=True)
    return float(np.mean([pixel.evaluate(one.mask.astype(np.float32), true.mask).dice for one, true in pairs]))


def declared_part(config: RunConfig, images: list[Case]) -> list[Case]:
    """The declared fraction of the training images, or as much of the validation images; fraction 0 is no training."""
    if config.fraction == 0:
        return []
    return fractions.subset(images, config.fraction, config.seed, config.data.rule, config.data.crop)


# ---- what comes of it


def chosen_threshold(config: Run, method: Method, val: Sequence[Case]) -> float:
    """0.5, or what the configuration has chosen on the validation images, by the labels the method may see there."""
    if getattr(config, "threshold_chosen_on", None) is None:
        return 0.5
    shown = tqdm(val, desc="choosing the threshold", disable=None)
    return choose((method.predict(method.given(case)), case.mask) for case in shown)


def chosen_instances(
    config: Run, method: Method, val: Sequence[Case], train: Sequence[Case], threshold: float = 0.5
) -> InstanceSettings:
    """How nuclei are parted: as configured, or what `tuning` makes of it on validation and as many training images."""
    if getattr(config, "tuning", None) is None:
        return config.instances

    def examples(cases: Sequence[Case]) -> list[Example]:
        shown = tqdm(cases, desc="choosing how nuclei are parted", disable=None)
        return [Example(method.maps_of(case, threshold), case.instances, case.spacing) for case in shown]

    return tuned(examples(val), examples(train[: len(val)]), config.instances)


def score(
    config: Run,
    method: Method,
    given: Task,
    threshold: float = 0.5,
    parting: InstanceSettings | None = None,
    maps: Path | None = None,
) -> dict[str, pd.DataFrame]:
    """Predict and score every image: the judge's tables, every metric under its own name.

    threshold: nucleus from this probability on. parting: how nuclei are parted, by default as configured. maps: a
    folder to keep 8-bit probability maps in.
    """
    judge = judge_of(config)
    for case in tqdm(given.scored, desc="scoring", disable=None):
        prob, found = method.segment(case, parting or config.instances, threshold)
        given.after_scoring(case, prob)
        if maps is not None:
            maps.mkdir(parents=True, exist_ok=True)
            np.save(maps / f"{case.name}.npy", np.floor(prob * 255 + 0.5).astype(np.uint8))
        judge.add(case, prob, found, given.columns(case))
    return judge.tables()


def record(
    config: Run,
    method: Method,
    images: Mapping[str, Sequence[Case]],
    train: Sequence[Case],
    learned: dict[str, Any],
    watch: records.Stopwatch,
    threshold: float = 0.5,
    parting: InstanceSettings | None = None,
    **about: Any,
) -> dict[str, Any]:
    """The run's record. images: all of the data, by split. train: what was learnt from. learned: what `fit` returned.

    threshold, parting: what was chosen, where a choice was asked for. The seconds of `fit`, which count over
    all restarts, take the place of the watch's.
    """
    learned = dict(learned)
    for kind in ("seconds", "processor_seconds"):
        watch.seconds[f"fit_{kind}"] = learned.pop(kind, watch.seconds[f"fit_{kind}"])
    peak = max(records.peak_memory(), learned.pop("peak_memory", 0))
    if getattr(config, "threshold_chosen_on", None) is not None:
        about["threshold"] = threshold
    if parting is not None and getattr(config, "tuning", None) is not None:
        about["instances_chosen"] = parting.model_dump(mode="json")
    found = records.make(
        config.run_id,
        config.model_dump(mode="json"),
        data=images,
        modules=modules(config),
        watch=watch,
        simulated=config.simulated,
        device=method.runs_on,
        training_part={"images": len(train), "pixels": sum(case.instances.size for case in train)},
        parameters=method.cost() if train else {**method.cost(), "trained": 0},
        training=learned,
        **about,
    )
    return {**found, "peak_memory_bytes": peak}


def modules(config: Run) -> list[str]:
    """The modules that this run is made of: this one, its method's and its data's, each with all that it imports."""
    own = [sources.SOURCES[config.data.source]] if isinstance(config, RunConfig) else ["study.molecular.run"]
    return [__name__, methods.KINDS[config.model.kind], *own]
