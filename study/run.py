"""One run: data → method → fit → predict → score → rows and record.

A run's folder is `results/<profile>/<run id>/`, of noisy labels `results/<profile>/noise/<run id>/`, with `rows.csv`
(one line per test image) and `run.json` (the record). The record is written last: where it exists the run is
finished and is skipped, where it does not the run is done again, training from its last checkpoint.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn
from tqdm import tqdm

from allinsam_core.annotation import boxes, sam
from allinsam_core.annotation.weak import weak_cases
from allinsam_core.data import fractions, monuseg, splits
from allinsam_core.data.case import Case, Split
from allinsam_core.data.root import data_root
from allinsam_core.learning import checkpoint, instances, threshold
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.method import BoxPrompted, Method, NetworkMethod
from allinsam_core.learning.train import peak_memory
from allinsam_core.metrics import instance, pixel
from study import methods, records
from study.config import DataSettings, RunConfig
from study.rivals.beds import Beds
from study.rivals.lvit import OracleText
from study.rivals.xie import SelfSupervised
from study.simulation import glomerulus, simulate
from study.simulation.corrupt import corrupt
from study.tuning import Example, tuned


def cases(data: DataSettings, root: Path | None) -> dict[Split, list[Case]]:
    """The study's images by split. root: where MoNuSeg lies; simulated data need none."""
    if data.source == "simulated":
        made = simulate.cohort(**data.simulated)
        return {split: [c for c in made if c.split == split] for split in ("train", "val", "test")}
    if data.source == "glomerulus":
        counts: dict[str, Any] = dict(data.simulated)
        made = [patch.case("truth") for patch in glomerulus.cohort(**counts)]
        return {split: [c for c in made if c.split == split] for split in ("train", "val", "test")}
    folder = root if root is not None else data_root()
    found: dict[Split, list[Case]] = {split: monuseg.load(folder, split) for split in ("train", "val", "test")}
    splits.refuse_overlap(**found)
    if data.source == "monuseg_20x":
        found = {split: [case.halved() for case in images] for split, images in found.items()}
    return found


def execute(
    config: RunConfig,
    results: Path,
    work: Path,
    root: Path | None = None,
    device: str = "auto",
    maps: bool = False,
    data: dict[Split, list[Case]] | None = None,
) -> Path:
    """Do the run unless it is finished; returns its folder.

    work: where checkpoints live (not for committing). maps: also keep 8-bit probability maps there. data: the
    images of `cases(config.data, root)`, where many runs share them.
    """
    folder = results / config.place
    if records.is_finished(folder / "run.json", config.hash):
        return folder
    started = time.time()
    data = cases(config.data, root) if data is None else data
    labelled = {split: annotated(config, data[split], work / "weak") for split in ("train", "val")}
    train = training_part(config, labelled["train"])
    method = methods.build(config, device)
    scratch = work / config.place
    if isinstance(method, NetworkMethod):
        print(
            f"device {method.fabric.device}, precision {config.train.precision}, "
            f"attention as in segment-anything (eager); parameters {parameters(method)}"
        )
    if isinstance(method, SelfSupervised):
        method.pretrain([case.image for case in data["train"]], work / "pretext")
    clock = time.monotonic()
    learned = method.fit(train, labelled["val"], scratch) if train else {}
    fit_seconds = learned.pop("seconds", time.monotonic() - clock)
    clock = time.monotonic()
    cut = chosen_threshold(config, method, labelled["val"])
    settings = chosen_instances(config, method, labelled["val"], train, cut)
    rows = score(config, method, data[config.scored], scratch / "maps" if maps else None, cut, settings)
    record = {
        "run_id": config.run_id,
        "config_hash": config.hash,
        "config": config.model_dump(mode="json"),
        "commit": records.commit(),
        "simulated": config.simulated,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "environment": records.environment(getattr(getattr(method, "fabric", None), "device", "cpu")),
        "data": {name: {"images": len(part), "sha256": records.data_checksum(part)} for name, part in data.items()},
        "training_part": {"images": len(train), "pixels": sum(c.instances.size for c in train)},
        "parameters": parameters(method, fitted=bool(train)),
        "fit_seconds": fit_seconds,
        "predict_seconds": time.monotonic() - clock,
        "peak_memory_bytes": max(peak_memory(), learned.pop("peak_memory", 0)),
        "training": learned,
    }
    if config.noise is not None:
        record["label_dice"] = agreement(labelled["train"], data["train"])
    if config.threshold is not None:
        record["threshold"] = cut
    if config.tuning is not None:
        record["instances_chosen"] = settings.model_dump(mode="json")
    if isinstance(method, NetworkMethod):
        checkpoint.save(method.model, scratch / "trained.safetensors", config.base_weights, {"run": config.run_id})
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "rows.csv", index=False, float_format="%.6f")
    records.write(record, folder / "run.json")
    return folder


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
    annotator = None if asked.name == "ellipse" else sam.build(asked.name, sam.weights_file(asked.weights))
    return [weak.case for weak in weak_cases(images, annotator, asked.boxes, cache)]


def agreement(drawn: list[Case], truth: list[Case]) -> float:
    """Mean pixel Dice of annotations with the truth of the same images: how good the labels are that a run saw."""
    pairs = zip(drawn, truth, strict=True)
    return float(np.mean([pixel.evaluate(d.mask.astype(np.float32), t.mask).dice for d, t in pairs]))


def training_part(config: RunConfig, train: list[Case]) -> list[Case]:
    """The declared part of the training images; fraction 0 is no training at all."""
    if config.fraction == 0:
        return []
    return fractions.subset(train, config.fraction, config.seed, config.data.rule, config.data.crop)


def chosen_threshold(config: RunConfig, method: Method | BoxPrompted, val: list[Case]) -> float:
    """0.5, or what the configuration has chosen on the validation images, by the labels the method may see there."""
    if config.threshold is None or isinstance(method, BoxPrompted):
        return 0.5
    told = tqdm(val, desc="choosing the threshold", disable=None)
    return threshold.choose((_maps(config, method, case)[0], case.mask) for case in told)


def chosen_instances(
    config: RunConfig, method: Method | BoxPrompted, val: list[Case], train: list[Case], cut: float
) -> InstanceSettings:
    """The configuration's settings, or what `tuning` makes of them on the validation and as many training images."""
    if config.tuning is None or isinstance(method, BoxPrompted):
        return config.instances

    def examples(cases: list[Case]) -> list[Example]:
        shown = tqdm(cases, desc="choosing how nuclei are parted", disable=None)
        return [Example(_at(_maps(config, method, case), cut), case.instances, case.spacing) for case in shown]

    return tuned(examples(val), examples(train[: len(val)]), config.instances)


def score(
    config: RunConfig,
    method: Method | BoxPrompted,
    images: list[Case],
    maps: Path | None = None,
    cut: float = 0.5,
    settings: InstanceSettings | None = None,
) -> pd.DataFrame:
    """Predict and score every image: one row per image, every metric under its own name. cut: nucleus from there on.

    settings: how nuclei are parted; by default as the configuration says.
    """
    rows: list[dict[str, Any]] = []
    for case in tqdm(images, desc="scoring", disable=None):
        prob, found = predicted(config, method, case, cut, settings)
        if maps is not None:
            maps.mkdir(parents=True, exist_ok=True)
            np.save(maps / f"{case.name}.npy", np.floor(prob * 255 + 0.5).astype(np.uint8))
        scores = {
            **asdict(pixel.evaluate(prob, case.mask, eight_bit=config.eight_bit)),
            **asdict(instance.evaluate(found, case.instances)),
        }
        rows.append({"image": case.name, "patient": case.patient, "organ": case.organ, **scores})
    return pd.DataFrame(rows)


def predicted(
    config: RunConfig,
    method: Method | BoxPrompted,
    case: Case,
    cut: float = 0.5,
    settings: InstanceSettings | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Probability (H, W) float32 and labels (H, W) of a test image. Methods see its pixels, nothing of its truth.

    cut: the probability that is moved to 0.5.

    The references that take true boxes see those too; their labels are kept as they are, their probability is 0 or 1.
    `OracleText` is told a sentence about the truth, and is marked so wherever it is shown.
    """
    if isinstance(method, BoxPrompted):
        found = method.predict_boxes(case.image, boxes.tight(case.instances), case.spacing)
        return (found > 0).astype(np.float32), found
    maps = _at(_maps(config, method, case), cut)
    return maps[0], instances.nuclei(maps, settings or config.instances, case.spacing)


def _at(maps: np.ndarray, cut: float) -> np.ndarray:
    """The maps, with the probability `cut` moved to 0.5."""
    return np.stack([threshold.moved(maps[0], cut), *maps[1:]])


def _maps(config: RunConfig, method: Method, case: Case) -> np.ndarray:
    """Probability and, where the run has them, instance maps: (1 or 3, H, W) float32."""
    given = method.told(case) if isinstance(method, OracleText) else case.image
    if config.instance_maps is not None and isinstance(method, NetworkMethod | Beds):
        return method.predict_maps(given)
    return method.predict(given)[None]


def parameters(method: Method | BoxPrompted, fitted: bool = True) -> dict[str, int]:
    """Total and trained parameters; zero for methods without a network. fitted: whether the run trained at all."""
    network = getattr(method, "model", None)
    if not isinstance(network, nn.Module):
        return {"total": 0, "trained": 0}
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return {"total": sum(n for n, _ in sizes), "trained": sum(n for n, trained in sizes if trained and fitted)}
