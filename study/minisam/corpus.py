"""What mini2 is pre-trained on: stained and fluorescent DSB2018 images, simulated tissue, and pointed real tiles.

Simulated tiles are made once and kept on disk, in blocks that are read by memory map; a block's name carries a checksum
of the simulator's own source, so that a changed simulator never meets old tiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case
from allinsam_core.learning.augment import Batch
from allinsam_core.learning.train import Sample
from study.datasets import dsb2018, dsb2018_test
from study.minisam import recolour
from study.simulation import negatives, nuclei, simulate, style, tissue

BLOCK = 50  # tiles in a file
Kind = Literal["tissue", "negatives"]
RECORD = np.dtype([("image", np.uint8, 3), ("label", np.uint16)])
MAKERS: dict[str, Callable[..., Case]] = {"tissue": simulate.tile, "negatives": negatives.tile}


class CorpusSettings(BaseModel):
    """shares: how often each source is drawn; tiles in pixels at 0.25 µm/px; nucleus: median diameter (px) that the
    DSB2018 images, whose magnification is not known, are rescaled to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    tile: int = 384
    tissue: int = 1600
    negatives: int = 600
    held_out_tissue: int = 48
    held_out_stained: int = 15
    nucleus: float = 22.0
    shares: dict[str, float] = {
        "tissue": 0.38,
        "negatives": 0.1,
        "stained": 0.3,
        "rendered": 0.2,
        "fluorescence": 0.02,
    }


@dataclass
class Corpus:
    """Training cases with their weights, and the held-out ones."""

    cases: list[Case]
    weights: list[float]
    held_out: list[Case]

    def with_share(self, cases: Sequence[Case], share: float) -> Corpus:
        """The corpus with `cases` added, which are then drawn with probability `share`."""
        own = [(1 - share) * weight / sum(self.weights) for weight in self.weights]
        return Corpus(self.cases + list(cases), own + shared(cases, share), self.held_out)


def shared(cases: Sequence[Case], share: float) -> list[float]:
    """The share divided among cases by their area."""
    area = np.array([case.instances.size for case in cases], dtype=float)
    return list(share * area / area.sum())


def gather(settings: CorpusSettings, root: Path, cache: Path) -> Corpus:
    """The corpus. root: the folder of all data; cache: where simulated tiles are kept.

    Held out are the last stained images of DSB2018's training set (in a seeded order), half of its stained test images,
    which are not even read here, and simulated tiles of later seeds.
    """

    def scaled(cases: list[Case]) -> list[Case]:
        return [recolour.at_nucleus_size(case, settings.nucleus) for case in cases]

    held_out, stained = stained_parts(settings, root)
    raw = scaled(dsb2018.load(root, ("fluorescence",)))
    parts = {
        "tissue": simulated("tissue", settings.tissue, 3_000_000, settings.tile, cache),
        "negatives": simulated("negatives", settings.negatives, 3_000_000, settings.tile, cache),
        "stained": stained + scaled(dsb2018_test.load(root, "train")),
        "rendered": [recolour.as_stained(case, settings.seed) for case in raw],
        "fluorescence": raw,
    }
    if parts.keys() != settings.shares.keys():
        raise ValueError(f"shares are of {sorted(settings.shares)}, expected {sorted(parts)}")
    cases = [case for group in parts.values() for case in group]
    weights = [w for name, group in parts.items() if group for w in shared(group, settings.shares[name])]
    later = simulated("tissue", settings.held_out_tissue, 4_000_000, settings.tile, cache)
    return Corpus(cases, weights, held_out + later)


def stained_parts(settings: CorpusSettings, root: Path) -> tuple[list[Case], list[Case]]:
    """The stained images of DSB2018's training set, rescaled: those held out, and those to train on."""
    stained = [
        recolour.at_nucleus_size(case, settings.nucleus) for case in dsb2018.load(root, ("stained-brightfield",))
    ]
    order = np.random.default_rng(settings.seed).permutation(len(stained))
    shuffled = [stained[i] for i in order]
    return shuffled[: settings.held_out_stained], shuffled[settings.held_out_stained :]


def simulated(kind: Kind, count: int, first_seed: int, size: int, cache: Path, workers: int = 1) -> list[Case]:
    """`count` tiles of seeds first_seed, …, made where `cache` lacks them; killed, it goes on when called again."""
    firsts = range(first_seed, first_seed + count, BLOCK)
    files = [cache / f"{kind}-{size}-{first}-{simulator_checksum()}.npy" for first in firsts]
    missing = [(file, first) for file, first in zip(files, firsts, strict=True) if not file.is_file()]
    if missing:
        with ProcessPoolExecutor(workers) as pool:
            jobs = [pool.submit(_make_block, kind, first, size, file) for file, first in missing]
            for job in tqdm(jobs, desc=f"simulating {kind}", disable=None, mininterval=2):
                job.result()
    blocks = [np.load(file, mmap_mode="r") for file in files]
    return [_case(kind, first_seed + i, blocks[i // BLOCK][i % BLOCK]) for i in range(count)]


def _make_block(kind: Kind, first: int, size: int, file: Path) -> None:
    """(BLOCK, size, size) records: image, three bytes; label, two."""
    made = np.empty((BLOCK, size, size), RECORD)
    for index in range(BLOCK):
        case = MAKERS[kind](first + index, size=size)
        made["image"][index], made["label"][index] = case.image, case.instances
    with replacing(file) as unfinished, unfinished.open("wb") as out:
        np.save(out, made)


def _case(kind: Kind, seed: int, stored: np.ndarray) -> Case:
    """A view of the file: nothing is read before a crop is."""
    name = f"simulated-{kind}-{seed}"
    return Case(name, stored["image"], stored["label"], 0.25, "simulated", patient=name, organ="simulated")


def simulator_checksum() -> str:
    """Of the source of everything that makes a tile."""
    digest = hashlib.sha256()
    for module in (negatives, nuclei, simulate, style, tissue):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:10]


def toned(sample: Sample, seed: int, share: float = 0.7) -> Sample:
    """The sampler with other exposures: pale, over-stained and tinted slides.

    Light of each channel to the power of g, log g ~ N(0, 0.3) common to the channels plus N(0, 0.1) of each, cut to
    0.45 … 2.2: optical densities times g. share: of the items that are changed. A function of (seed, step) as before.
    """

    def toned_sample(step: int) -> Batch:
        batch = sample(step)
        rng = np.random.default_rng([seed, step, 1])
        size = len(batch.image)
        power = np.exp(rng.normal(0, 0.3, (size, 1)) + rng.normal(0, 0.1, (size, 3))).clip(0.45, 2.2)
        power[rng.random(size) >= share] = 1
        image = batch.image.clamp(min=1e-3) ** torch.from_numpy(power).float()[:, :, None, None]
        return Batch(image, batch.instances, batch.names)

    return toned_sample
