"""Pre-train mini-SAM from the raw data to the file that ships: what `allinsam pretrain` runs."""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file
from tqdm import tqdm

from allinsam_core.annotation import sam as sams
from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case
from allinsam_core.learning.augment import AugmentSettings, CropSampler
from allinsam_core.learning.devices import fabric_on
from allinsam_core.learning.train import History, fit
from study.datasets import dsb2018
from study.minisam import pretrain, recolour
from study.simulation import simulate


class PretrainConfig(BaseModel):
    """One pre-training run. shares: how often each source is drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    simulated: int = 1500  # tiles, 256 px
    simulated_held_out: int = 64
    stained_held_out: int = 15
    shares: dict[str, float] = {"simulated": 0.45, "stained": 0.3, "rendered": 0.22, "fluorescence": 0.03}
    field: int = pretrain.FIELD
    nucleus: float = pretrain.NUCLEUS
    phases: tuple[pretrain.Phase, ...] = pretrain.PHASES
    augment: AugmentSettings = pretrain.AUGMENT

    def with_steps(self, *steps: int) -> PretrainConfig:
        """The same with other lengths of the phases, in order; one number alone is for each of them."""
        lengths = steps * len(self.phases) if len(steps) == 1 else steps
        phases = [
            p.model_copy(update={"train": p.train.model_copy(update={"steps": n}), "stop": None})
            for p, n in zip(self.phases, lengths, strict=True)
        ]
        return self.model_copy(update={"phases": tuple(phases)})

    def until(self, phase: int) -> str:
        """Name and hash of everything that decides the weights at the end of a phase: where its checkpoint lives."""
        known = self.model_copy(update={"phases": self.phases[: phase + 1]})
        return f"{self.phases[phase].name}-{hashlib.sha256(known.model_dump_json().encode()).hexdigest()[:10]}"


@dataclass
class Sources:
    """Training cases with their shares, and the held-out ones."""

    cases: list[Case]
    weights: list[float]
    held_out: list[Case]


def _simulated(seed: int, size: int) -> Case:
    return simulate.tile(seed, size=size)


def simulated_tiles(count: int, first_seed: int, workers: int | None = None) -> list[Case]:
    """`count` tiles of 256 px, made in parallel."""
    with ProcessPoolExecutor(workers) as pool:
        tiles = pool.map(partial(_simulated, size=256), range(first_seed, first_seed + count), chunksize=16)
        return list(tqdm(tiles, total=count, desc="simulating", disable=None, mininterval=2))


def gather(config: PretrainConfig, dsb_root: Path) -> Sources:
    """Everything mini-SAM learns from: stained and fluorescent DSB2018 images and simulated tissue.

    Held out are the last stained DSB2018 images (in a seeded order) and simulated tiles of later seeds.
    """
    rng = np.random.default_rng(config.seed)

    def scaled(case: Case) -> Case:
        return recolour.at_nucleus_size(case, config.nucleus)

    stained = [scaled(c) for c in dsb2018.load(dsb_root, ("stained-brightfield",))]
    stained = [stained[i] for i in rng.permutation(len(stained))]
    raw = [scaled(c) for c in dsb2018.load(dsb_root, ("fluorescence",))]
    parts = {
        "simulated": simulated_tiles(config.simulated, 1_000_000),
        "stained": stained[config.stained_held_out :],
        "rendered": [recolour.as_stained(c, config.seed) for c in raw],
        "fluorescence": raw,
    }
    cases, weights = [], []
    for name, group in parts.items():
        area = np.array([c.instances.size for c in group], dtype=float)
        cases += group
        weights += list(config.shares[name] * area / area.sum())
    held_out = stained[: config.stained_held_out] + simulated_tiles(config.simulated_held_out, 2_000_000)
    return Sources(cases, weights, held_out)


@dataclass
class Start:
    """Where pre-training starts, instead of at random weights: what `phases` phases left, and their history."""

    weights: Path
    phases: int
    history: History


def run(
    config: PretrainConfig, dsb_root: Path, folder: Path, device: str = "auto", start: Start | None = None
) -> tuple[History, Sources]:
    """Pre-train and leave `mini_sam.safetensors` (float16) in `folder`. Killed, it continues when called again."""
    sources = gather(config, dsb_root)
    torch.manual_seed(config.seed)
    model = pretrain.PromptableSam(
        sams.initialised(sams.build("mini")) if start is None else sams.build("mini", start.weights)
    )
    size = model.sam.image_encoder.img_size
    still = AugmentSettings(turns=False, zoom=0.0, stain=0, shift=0, blur=0, noise=0, on_nuclei=1)
    held = CropSampler(sources.held_out, config.field, size, 8, 1, still, [1.0] * len(sources.held_out))
    batches = pretrain.held_out_batches(held, 12)
    history = History() if start is None else start.history
    for number, phase in enumerate(config.phases):
        if start is not None and number < start.phases:
            continue
        seed = config.seed + 100 * number  # other crops than in the phases before
        sampler = CropSampler(
            sources.cases, config.field, size, phase.train.batch_size, seed, config.augment, sources.weights
        )
        found = fit(
            model,
            sampler,
            pretrain.step_loss(ellipses=phase.ellipses),
            phase.train,
            folder / config.until(number),
            validate=partial(pretrain.evaluate, batches=batches, ellipses=float(phase.ellipses > 0)),
            seed=seed,
            fabric=fabric_on(device, phase.train.devices),
            progress=f"pre-training mini-SAM, {phase.name}",
            stop=phase.stop,
        )
        history = joined(history, found, sum(p.steps for p in config.phases[:number]))
    ship(model.sam, folder / "mini_sam.safetensors")
    return history, sources


def joined(before: History, after: History, steps: int) -> History:
    """One history of two phases; `steps` is the length of the first, added to the second's."""
    return History(
        before.losses + [(steps + step, loss) for step, loss in after.losses],
        before.validations + [{**v, "step": steps + v["step"]} for v in after.validations],
        steps + after.best,
        before.seconds + after.seconds,
        max(before.peak_memory, after.peak_memory),
        before.processor_seconds + after.processor_seconds,
    )


def ship(sam: sams.Sam, path: Path) -> None:
    """Write the weights in float16 (half the bytes; reading restores float32)."""
    state = {name: tensor.detach().cpu().half().contiguous() for name, tensor in sam.state_dict().items()}
    with replacing(path) as unfinished:
        save_file(state, unfinished)
