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
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from allinsam_core.annotation import sam as sams
from allinsam_core.atomic import replacing
from allinsam_core.learning.augment import AugmentSettings, Batch, CropSampler
from allinsam_core.learning.devices import fabric_on
from allinsam_core.learning.optimizer import cooldown_start
from allinsam_core.learning.train import History, TrainSettings, fit, load_trained_state
from study import records
from study.datasets import brca_m2c
from study.minisam import objective, pointed
from study.minisam.corpus import Corpus, CorpusSettings, gather, toned
from study.minisam.pretrain import PromptableSam
from study.minisam.recipe import ship
from study.root import data_root

STEPS = 18_000
STILL = AugmentSettings(turns=False, zoom=0.0, stain=0, shift=0, blur=0, noise=0, on_nuclei=1)
PROGRESS = "progress.jsonl"


class Mini2Config(BaseModel):
    """One pre-training. outlined: steps at which the pointed tiles are outlined, each time anew."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    geometry: str = "mini2"
    seed: int = 0
    corpus: CorpusSettings = CorpusSettings()
    real_share: float = 0.2  # of the crops, once the pointed tiles are outlined
    real_splits: tuple[str, ...] = ("train", "val")  # the official test tiles are left to measure with
    outlined: tuple[int, ...] = (900, 3600, 9000)
    stretch: int = 500  # steps between two evaluations on the held-out images
    train: TrainSettings = TrainSettings(
        steps=STEPS,
        batch_size=8,
        learning_rate=7e-4,
        weight_decay=0.05,
        schedule="trapezoid",
        warmup=200,
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


def held_out_batches(corpus: Corpus, field: int, size: int) -> list[Batch]:
    """Twelve fixed batches over the held-out cases."""
    sampler = CropSampler(corpus.held_out, field, size, 8, 1, STILL, [1.0] * len(corpus.held_out))
    return [sampler(step) for step in range(12)]


def run(config: Mini2Config, root: Path, folder: Path, cache: Path, device: str = "auto") -> PromptableSam:
    """Pre-train, or go on, and leave `mini_sam.safetensors` (float16) and `run.json` in `folder`.

    root: the folder of all data; cache: of simulated tiles. A line of figures is added to `progress.jsonl` after every
    stretch. Raises ValueError where the folder holds another configuration's run.
    """
    _claim(folder, config)
    corpus = gather(config.corpus, root, cache)
    model = untrained(config)
    geometry = sams.MINIS[config.geometry]
    batches = held_out_batches(corpus, geometry.field, geometry.image_size)
    tiles = brca_m2c.load(root, config.real_splits) if config.outlined else []
    sampler = partial(
        CropSampler,
        field=geometry.field,
        size=geometry.image_size,
        batch=config.train.batch_size,
        seed=config.seed,
        settings=config.augment,
    )
    sample = toned(sampler(corpus.cases, weights=corpus.weights), config.seed)
    fabric = fabric_on(device, config.train.devices)
    history = History()
    for stop in config.stops:
        history = fit(
            model, sample, objective.step_loss(), config.train, folder, seed=config.seed, fabric=fabric,
            progress=f"pre-training {config.geometry}", stop=stop,
        )  # fmt: skip
        _report(folder, config, stop, history, model, batches)
        if stop in config.rounds:
            real = pointed.outlined(tiles, model, folder / f"outlines-{stop}.npz")
            mixed = corpus.with_share(real, config.real_share)
            sample = toned(sampler(mixed.cases, weights=mixed.weights), config.seed)
    ship(model.sam, folder / "mini_sam.safetensors")
    records.write(_record(config, corpus, history, folder), folder / "run.json")
    return model


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


def _claim(folder: Path, config: Mini2Config) -> None:
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


def _report(
    folder: Path, config: Mini2Config, stop: int, history: History, model: PromptableSam, batches: list[Batch]
) -> None:
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
        **objective.evaluate(model, batches),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with file.open("a") as out:
        out.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def _record(config: Mini2Config, corpus: Corpus, history: History, folder: Path) -> dict[str, Any]:
    weights = folder / "mini_sam.safetensors"
    return {
        "run_id": "pretrain-mini2",
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
        "progress": [json.loads(line) for line in (folder / PROGRESS).read_text().splitlines()],
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
