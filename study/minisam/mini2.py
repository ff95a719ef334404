"""Pre-train mini2 from the raw data: one recipe, one command, `python -m study.minisam.mini2 FOLDER`.

One optimiser and one rate, which falls over the last fifth of the steps: until then a run may be given another length
(`--steps`). At a few steps the real tiles of which only points are known are outlined by the network as it is then
(`pointed`), and are trained on from there. Every batch is a function of (seed, step), the outlines are stored in the
folder: killed at any moment, the same command goes on to the same weights, bit for bit on one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from allinsam_core.annotation import sam as sams
from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case
from allinsam_core.learning.augment import AugmentSettings, Batch, CropSampler
from allinsam_core.learning.devices import fabric_on
from allinsam_core.learning.optimizer import cooldown_start
from allinsam_core.learning.train import History, Sample, TrainSettings, fit, load_trained_state
from study import records
from study.datasets import brca_m2c
from study.minisam import objective, pointed
from study.minisam.corpus import Corpus, CorpusSettings, gather, toned
from study.minisam.pretrain import PromptableSam
from study.minisam.recipe import ship
from study.root import data_root

STEPS = 800
STILL = AugmentSettings(turns=False, zoom=0.0, stain=0, shift=0, blur=0, noise=0, on_nuclei=1)
PROGRESS = "progress.jsonl"
WEIGHTS = "mini_sam.safetensors"


class Mini2Config(BaseModel):
    """One pre-training. outlined: steps at which the pointed tiles are outlined, each time anew."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    geometry: str = "mini2"
    seed: int = 0
    corpus: CorpusSettings = CorpusSettings()
    real_share: float = 0.2  # of the crops, once the pointed tiles are outlined
    real_splits: tuple[str, ...] = ("train", "val")  # the official test tiles are left to measure with
    outlined: tuple[int, ...] = (400,)
    stretch: int = 200  # steps between two evaluations on the held-out images
    train: TrainSettings = TrainSettings(
        steps=STEPS,
        batch_size=8,
        learning_rate=7e-4,
        weight_decay=0.05,
        schedule="trapezoid",
        warmup=100,
        final_rate=1e-6,
        clip=1.0,
        precision="bf16",
        checkpoint_every=100,
    )
    augment: AugmentSettings = AugmentSettings(
        zoom=0.45, stain=0.45, shift=0.05, blur=0.3, noise=0.04, on_nuclei=0.7, colour=0.12
    )

    @property
    def hash(self) -> str:
        """Of everything that decides the weights."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:10]

    @property
    def rounds(self) -> list[int]:
        """The steps at which the pointed tiles are outlined, as far as this run goes."""
        return [step for step in self.outlined if step < self.train.steps]

    @property
    def stops(self) -> list[int]:
        """The steps at which training pauses, to score the held-out images or to make new outlines."""
        scored = range(self.stretch, self.train.steps, self.stretch)
        return sorted({*scored, *self.rounds, self.train.steps})

    def of_length(self, steps: int) -> Mini2Config:
        """The same run with another number of steps."""
        return self.model_copy(update={"train": self.train.model_copy(update={"steps": steps})})


def held_out_batches(corpus: Corpus, geometry: str = "mini2") -> list[Batch]:
    """Twelve fixed batches over the held-out cases, of the geometry's window and size."""
    g = sams.MINIS[geometry]
    sampler = CropSampler(corpus.held_out, g.field, g.image_size, 8, 1, STILL, [1.0] * len(corpus.held_out))
    return [sampler(step) for step in range(12)]


def run(config: Mini2Config, root: Path, folder: Path, cache: Path, device: str = "auto") -> PromptableSam:
    """Pre-train, or go on, and leave `mini_sam.safetensors` (float16) and `run.json` in `folder`.

    root: the folder of all data; cache: of simulated tiles. A line of figures is added to `progress.jsonl` after every
    stretch. Raises ValueError where the folder holds another configuration's run.
    """
    claim(folder, config)
    corpus = gather(config.corpus, root, cache)
    model = untrained(config)
    batches = held_out_batches(corpus, config.geometry)
    tiles = brca_m2c.load(root, config.real_splits) if config.outlined else []
    fabric = fabric_on(device, config.train.devices)
    history = History()
    for stop, sample in stages(config, corpus, lambda at: pointed.outlined(tiles, model, outlines(folder, at))):
        history = fit(
            model, sample, objective.step_loss(), config.train, folder, seed=config.seed, fabric=fabric,
            progress=f"pre-training {config.geometry}", stop=stop,
        )  # fmt: skip
        report(folder, config, stop, history, objective.evaluate(model, batches))
    ship(model.sam, folder / WEIGHTS)
    records.save(record("pretrain-mini2", config, corpus, history, folder / WEIGHTS), folder)
    return model


def outlines(folder: Path, step: int) -> Path:
    """Where a run's outlines of the pointed tiles lie that were made at `step`."""
    return folder / f"outlines-{step}.npz"


def stages(config: Mini2Config, corpus: Corpus, outlined: Callable[[int], list[Case]]) -> Iterator[tuple[int, Sample]]:
    """The steps at which training pauses, each with the crops of the steps before it.

    outlined: the pointed tiles as outlined at a step; asked for when training has come there.
    """
    geometry = sams.MINIS[config.geometry]
    sampler = partial(
        CropSampler,
        field=geometry.field,
        size=geometry.image_size,
        batch=config.train.batch_size,
        seed=config.seed,
        settings=config.augment,
    )
    sample = toned(sampler(corpus.cases, weights=corpus.weights), config.seed)
    for stop in config.stops:
        yield stop, sample
        if stop in config.rounds:
            mixed = corpus.with_share(outlined(stop), config.real_share)
            sample = toned(sampler(mixed.cases, weights=mixed.weights), config.seed)


def untrained(config: Mini2Config) -> PromptableSam:
    """The network that pre-training starts from."""
    torch.manual_seed(config.seed)
    return PromptableSam(sams.initialised(sams.build(config.geometry)))


def snapshot(checkpoint: Path, config: Mini2Config) -> tuple[sams.Sam, int]:
    """The network of an unfinished run's `last.ckpt`, and its step."""
    model = untrained(config)
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    load_trained_state(model, saved["model"], str(checkpoint))
    return model.sam.eval(), int(saved["step"])


def claim(folder: Path, config: Mini2Config) -> None:
    """Write the configuration into the folder, unless one is there that this run cannot go on from.

    A run can be given another length as long as neither the old nor the new one has begun to lower the rate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, checkpoint = folder / "config.json", folder / "last.ckpt"
    if file.is_file():
        found = Mini2Config.model_validate_json(file.read_text())
        if found == config:
            return
        if found.of_length(config.train.steps) != config:
            raise ValueError(f"{folder}: holds the run {found.hash}, expected {config.hash}; name another folder")
        done = int(torch.load(checkpoint, map_location="cpu", weights_only=True)["step"]) if checkpoint.is_file() else 0
        latest = min(cooldown_start(found.train), cooldown_start(config.train))
        if done > latest:
            raise ValueError(
                f"{folder}: {done} of {found.train.steps} steps are done, of {config.train.steps} at most {latest} "
                f"can be; go on with --steps {found.train.steps}, or name another folder"
            )
    with replacing(file) as unfinished:
        unfinished.write_text(config.model_dump_json(indent=1))


def report(folder: Path, config: Mini2Config, stop: int, history: History, figures: dict[str, float]) -> None:
    """A line of figures at `stop`, unless an earlier sitting wrote it."""
    file = folder / PROGRESS
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    if stop in {line["step"] for line in lines}:
        return
    left = history.seconds / stop * (config.train.steps - stop)
    recent = [loss for step, loss in history.losses if step >= stop - config.stretch]
    line = {
        "step": stop,
        "of": config.train.steps,
        "seconds": round(history.seconds),
        "hours_left": round(left / 3600, 2),
        "training_loss": sum(recent) / max(1, len(recent)),
        **figures,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with file.open("a") as out:
        out.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def record(name: str, config: Mini2Config, corpus: Corpus, history: History, weights: Path) -> dict[str, Any]:
    """The record of a finished pre-training, in the folder of its weights."""
    return {
        "run_id": name,
        "config_hash": config.hash,
        "config": config.model_dump(mode="json"),
        "commit": records.commit(),
        "environment": records.environment(),
        "data": {
            name: {"images": len(cases), "sha256": records.data_checksum(cases)}
            for name, cases in (("train", corpus.cases), ("held_out", corpus.held_out))
        },
        "weights": {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), "bytes": weights.stat().st_size},
        "fit_seconds": history.seconds,
        "peak_memory_bytes": history.peak_memory,
        "progress": [json.loads(line) for line in (weights.parent / PROGRESS).read_text().splitlines()],
        "losses": history.losses,
    }


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m study.minisam.mini2", description=__doc__)
    parser.add_argument("folder", type=Path, help="of checkpoints, figures and weights; an unfinished run is continued")
    parser.add_argument("--tiles", type=Path, help="cache of simulated tiles; FOLDER/tiles if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the order of sums, and with it the last bits of the weights, depends on the number
    run(
        Mini2Config(seed=given.seed).of_length(given.steps),
        data_root(),
        given.folder,
        given.tiles or given.folder / "tiles",
    )


if __name__ == "__main__":
    main()
