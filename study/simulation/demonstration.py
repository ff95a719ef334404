"""How W, S, the prototype and ω evolve on one tile whose annotation is wrong. Arrays only; notebooks draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from allinsam_core.data.case import Case
from allinsam_core.refinement import mocl
from allinsam_core.refinement.corrective import CorrectiveSettings
from study.rivals.mocl_unet import MoclUNet
from study.simulation import simulate
from study.simulation.corrupt import NoiseLaw, corrupt
from study.simulation.style import Style

LAW = NoiseLaw(drop=0.4, invent=0.3, dilate=0.3, erode=0.0, shift=0.0, contour=(0.5, 1.0))
REGIONS = ("cells", "missed", "invented", "background")


@dataclass(frozen=True)
class Snapshot:
    """The tile after `step` optimiser steps. confidence W, similarity S, omega ω: (H, W) float32.

    prototype: (C,) float32. chosen: (k', 2) int, row and column of the top-k pixels. loss: the value at this
    step. During the warm-up ω is what the corrective loss would use already.
    """

    step: int
    corrective: bool
    loss: float
    confidence: np.ndarray
    similarity: np.ndarray
    omega: np.ndarray
    prototype: np.ndarray
    chosen: np.ndarray

    def mean_in(self, regions: np.ndarray) -> dict[str, tuple[float, float, float]]:
        """Mean (W, S, ω) in each region of `Demonstration.regions`; NaN where a region is empty."""
        maps = (self.confidence, self.similarity, self.omega)
        found = {}
        for index, name in enumerate(REGIONS):
            inside = regions == index
            found[name] = tuple(float(m[inside].mean()) if inside.any() else float("nan") for m in maps)
        return found  # type: ignore[return-value]


@dataclass(frozen=True)
class Demonstration:
    """truth: the tile; noisy: the same with the annotation that training sees; snapshots in order of steps."""

    truth: Case
    noisy: Case
    snapshots: list[Snapshot]

    @property
    def regions(self) -> np.ndarray:
        """(H, W) uint8, an index into `REGIONS`."""
        return regions(self.truth, self.noisy)

    def means(self) -> pd.DataFrame:
        """Mean W, S and ω of each region at every snapshot: one line per step and region."""
        lines = [
            {
                "step": snapshot.step,
                "phase": "corrective" if snapshot.corrective else "plain",
                "region": region,
                **dict(zip(("W", "S", "ω"), values, strict=True)),
            }
            for snapshot in self.snapshots
            for region, values in snapshot.mean_in(self.regions).items()
        ]
        return pd.DataFrame(lines).set_index(["step", "phase", "region"]).round(2)


def regions(truth: Case, noisy: Case) -> np.ndarray:
    """Annotated cells, missed pixels, invented pixels, background: (H, W) uint8, an index into `REGIONS`."""
    return np.select([truth.mask & noisy.mask, truth.mask, noisy.mask], [0, 1, 2], 3).astype(np.uint8)


def demonstrate(
    settings: CorrectiveSettings,
    at: Sequence[int] = (0, 30, 60, 90, 120),
    size: int = 96,
    seed: int = 0,
    rate: float = 0.5,
    tiles: int = 8,
    learning_rate: float = 2e-3,
    model: nn.Module | None = None,
) -> Demonstration:
    """Train on tiles of one stain with corrupted annotations; look at one after each of the steps `at`.

    at: increasing; the last is the length of the training, of which `settings.warmup` is plain. size: px, a
    multiple of 16. rate: errors per nucleus, of the law `LAW`. Each step shows two of the `tiles`, as one alone
    is soon learnt by heart, errors included; the one looked at is the first with missed and invented cells.
    model: gives (logits, E) of images (B, 3, size, size); by default a narrow `MoclUNet` (about a minute on
    one core). AdamW; float32 on the CPU.
    """
    style = Style.sample(np.random.default_rng(seed))
    truths = [simulate.tile(1000 * seed + index, size, style=style) for index in range(tiles)]
    drawn = [corrupt(case, rate, seed, LAW) for case in truths]
    images = torch.stack([torch.from_numpy(c.image.copy()).permute(2, 0, 1).float() / 255 for c in drawn])
    annotations = torch.stack([torch.from_numpy(c.mask.copy())[None].float() for c in drawn])
    shown = next((i for i, c in enumerate(drawn) if {1, 2} <= set(regions(truths[i], c).flat)), 0)
    torch.manual_seed(seed)
    model = (MoclUNet(tasks=1, width=16) if model is None else model).train()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), learning_rate)
    order = np.random.default_rng(seed)
    snapshots = []
    for step in range(at[-1] + 1):
        progress = step / max(1, at[-1])
        if step in at:
            with torch.no_grad():
                logits, embedding = model(images[[shown]])
                snapshots.append(snapshot_of(settings, step, progress, logits, embedding, annotations[[shown]]))
        if step < at[-1]:
            pair = torch.from_numpy(order.permutation(tiles)[:2])
            logits, embedding = model(images[pair])
            value, _ = settings.loss(progress)(logits, embedding, annotations[pair])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return Demonstration(truths[shown], drawn[shown], snapshots)


@torch.no_grad()
def snapshot_of(
    settings: CorrectiveSettings,
    step: int,
    progress: float,
    logits: torch.Tensor,
    embedding: torch.Tensor,
    annotation: torch.Tensor,
) -> Snapshot:
    """What the corrective loss sees of one patch (B = 1) at this moment; shapes as in `mocl`."""
    value, _ = settings.loss(progress)(logits, embedding, annotation)
    _, weights = settings.loss(1.0)(logits, embedding, annotation)
    top = mocl.top_k(weights.confidence, weights.confidence, annotation, settings.k)  # only which pixels
    chosen = top.pixel[0][top.valid[0]].numpy()
    return Snapshot(
        step,
        progress >= settings.warmup,
        float(value),
        weights.confidence[0, 0].numpy(),
        weights.similarity[0, 0].numpy(),
        weights.omega[0, 0].numpy(),
        weights.prototype[0].numpy(),
        np.stack(np.divmod(chosen, annotation.shape[-1]), axis=1),
    )
