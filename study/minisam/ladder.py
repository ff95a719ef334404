"""The ladder of trials behind mini2: what holds a small SAM down, one rung after another, each with its figures.

`python -m study.minisam.ladder NAME …` measures one set of weights on MoNuSeg's validation images: adapted on a part of
the training images (`--steps`), or as it is (`--steps 0`): nuclei found without a prompt and masks of tight boxes.
Every rung leaves `results/mini_sam/ladder/NAME.json` and a line of `rows.csv`, the bad ones too. Test images are never
read.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict

from allinsam_core.annotation import sam as sams
from allinsam_core.data.case import Case
from allinsam_core.learning import instances
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.method import NetworkMethod, WindowSettings
from allinsam_core.learning.train import TrainSettings
from allinsam_core.metrics import instance, pixel
from study import records
from study.datasets import monuseg
from study.datasets.fractions import subset
from study.minisam import mini2, pointed
from study.minisam.label_quality import quality
from study.minisam.pretrain import PromptableSam
from study.root import data_root
from study.weak import WeakSettings, annotate_case

THRESHOLDS = (0.0, -0.5, -1.0)  # of the logits of masks from boxes
SIDE = 450  # px, the middle of an image whose boxes are answered


class Rung(BaseModel):
    """One trial. weights: "shipped" (geometry mini), "random", or a file: `.safetensors`, or the `last.ckpt` of a
    pre-training. steps: of training on MoNuSeg; 0: none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    geometry: str = "mini2"
    weights: str = "random"
    trainable: Literal["adapter", "everything"] = "adapter"
    fraction: float = 1.0
    seed: int = 0
    steps: int = 240
    batch_size: int = 4
    rate: float = 1e-3
    note: str = ""

    @property
    def train(self) -> TrainSettings:
        """The loop's settings; the validation images are looked at four times."""
        return TrainSettings(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.rate,
            final_rate=1e-6,
            warmup=20,
            clip=1.0,
            precision="bf16",
            validate_every=max(1, self.steps // 4),
            select="dice",
            checkpoint_every=50,
        )


def network(rung: Rung) -> tuple[sams.Sam, dict[str, Any]]:
    """The SAM of a rung, and what its weights are."""
    if rung.weights == "random":
        torch.manual_seed(rung.seed)
        return sams.initialised(sams.build(rung.geometry)), {"weights": "random"}
    path = sams.weights_file(rung.weights, rung.geometry)
    if path.suffix == ".ckpt":
        found, step = mini2.snapshot(path, mini2.Mini2Config(geometry=rung.geometry))
        return found, {"weights": sams.weights_checksum(found), "pretraining_steps": step}
    found = sams.build(rung.geometry, path)
    return found, {"weights": sams.weights_checksum(found)}


def adapted(rung: Rung, sam: sams.Sam, folder: Path) -> dict[str, Any]:
    """Train on the part of MoNuSeg's training images, then score the validation images."""
    train = subset(monuseg.load(data_root(), "train"), rung.fraction, rung.seed)
    val = monuseg.load(data_root(), "val")
    torch.manual_seed(rung.seed)
    model = AdaptedSam(sam, trainable=rung.trainable)
    size = sam.image_encoder.img_size
    window = WindowSettings(field=sams.MINIS[rung.geometry].field, size=size)
    method = NetworkMethod(model, window, rung.train, AugmentSettings(), seed=rung.seed)
    history = method.fit(train, val, folder)
    scores = []
    for case in val:
        prob = method.predict(case.image)
        found = instance.evaluate(instances.from_probability(prob), case.instances)
        scores.append((pixel.evaluate(prob, case.mask).dice, found.f1_instance_50, found.aji_kumar))
    return {**_means(scores, "adapted"), "seconds": history["seconds"], "validations": history["validations"]}


def untouched(sam: sams.Sam) -> dict[str, Any]:
    """Without any training on MoNuSeg: nuclei without a prompt (mini2), masks of tight boxes at each threshold."""
    val = monuseg.load(data_root(), "val")
    figures: dict[str, Any] = {}
    if sams.mini_geometry(sam) == sams.MINIS["mini2"]:
        model = PromptableSam(sam).eval()
        scores = []
        for case in val:
            prob, centre, boundary = pointed.promptless(model, case.image)
            found = instance.evaluate(instances.nuclei(np.stack([prob, centre, boundary])), case.instances)
            scores.append((pixel.evaluate(prob, case.mask).dice, found.f1_instance_50, found.aji_kumar))
        figures |= _means(scores, "promptless")
    return {**figures, "boxes": [_boxes(sam, [case.middle(SIDE) for case in val], t) for t in THRESHOLDS]}


def _means(scores: list[tuple[float, float, float]], what: str) -> dict[str, float]:
    """Means over images of Dice, f1_instance_50 and aji_kumar."""
    names = ("dice", "f1_instance_50", "aji_kumar")
    return {f"{what}_{name}": float(value) for name, value in zip(names, np.mean(scores, axis=0), strict=True)}


def _boxes(sam: sams.Sam, cases: list[Case], threshold: float) -> dict[str, float]:
    """Masks of tight boxes at one threshold: mean over images of Dice and of the mean instance IoU."""
    sam.mask_threshold = threshold
    found = [quality(case, annotate_case(case, sam, WeakSettings()).case) for case in cases]
    return {
        "threshold": threshold,
        "dice": float(np.mean([f.dice for f in found])),
        "mean_instance_iou": float(np.mean([f.mean_instance_iou for f in found])),
    }


def climb(rung: Rung, results: Path, folder: Path) -> dict[str, Any]:
    """Measure a rung and record it. folder: where its training's checkpoint lives."""
    clock = time.monotonic()
    sam, known = network(rung)
    figures = adapted(rung, sam, folder / rung.name) if rung.steps else untouched(sam)
    config = rung.model_dump(mode="json") | {"weights": Path(rung.weights).name}
    record = {
        "run_id": f"ladder-{rung.name}",
        "config_hash": records.hash_of(config),
        "config": config,
        "commit": records.commit(),
        "environment": records.environment(),
        "parameters": sum(p.numel() for p in sam.parameters()),
        **known,
        **figures,
        "total_seconds": time.monotonic() - clock,
    }
    place = results / "mini_sam" / "ladder"
    place.mkdir(parents=True, exist_ok=True)
    records.write(record, place / f"{rung.name}.json")
    rows(place).to_csv(place / "rows.csv", index=False, float_format="%.4f")
    return record


def rows(place: Path) -> pd.DataFrame:
    """A line per rung that is recorded in `place`."""
    kept = (
        "adapted_dice", "adapted_f1_instance_50", "adapted_aji_kumar", "promptless_dice", "promptless_f1_instance_50",
        "promptless_aji_kumar", "pretraining_steps", "seconds", "commit",
    )  # fmt: skip
    lines = []
    for file in sorted(place.glob("*.json")):
        record = records.read(file)
        best: dict[str, float] = max(record.get("boxes", []), key=lambda b: b["mean_instance_iou"], default={})
        boxes = {f"boxes_{name}": value for name, value in best.items()}
        lines.append(record["config"] | {name: record.get(name) for name in kept} | boxes)
    return pd.DataFrame(lines)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m study.minisam.ladder", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--folder", type=Path, required=True, help="of the trainings' checkpoints")
    parser.add_argument("name")
    for name, field in Rung.model_fields.items():
        if name != "name":
            parser.add_argument(f"--{name.replace('_', '-')}", default=field.default)
    given = vars(parser.parse_args(arguments))
    results, folder = given.pop("results"), given.pop("folder")
    torch.set_num_threads(1)
    record = climb(Rung.model_validate(given), results, folder)
    print({k: v for k, v in record.items() if k not in ("environment", "validations")})


if __name__ == "__main__":
    main()
