"""Training crops, the same for every method: one random window per item, turned, rescaled and restained.

A batch is a function of (seed, step) alone, so a run that was killed continues with the very same data.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from skimage.color import hed_from_rgb, rgb_from_hed

from allinsam_core.data.case import Case
from allinsam_core.settings import Settings


class AugmentSettings(Settings):
    """How far training crops are changed. All zeros and no turns: the released code, which augments nothing."""

    turns: bool = True  # flips and quarter turns
    zoom: float = 0.25  # side length times exp(U(-zoom, zoom))
    stain: float = 0.2  # relative change of each stain's amount
    shift: float = 0.02  # added to each stain's amount (optical density)
    blur: float = 0.2  # probability of a Gaussian blur, σ ≤ 1 px
    noise: float = 0.02  # largest standard deviation of additive noise, intensities in [0, 1]
    on_nuclei: float = 0.0  # probability that a window holds a given nucleus pixel, where the case has any
    colour: float = 0.0  # standard deviation of a random mixing of the channels' optical densities


@dataclass(frozen=True)
class Batch:
    """image: (B, 3, S, S) float32 in [0, 1]. instances: (B, S, S) int64. names: where each item comes from."""

    image: torch.Tensor
    instances: torch.Tensor
    names: tuple[str, ...]

    @property
    def mask(self) -> torch.Tensor:
        """(B, 1, S, S) float32 foreground."""
        return (self.instances > 0).float()[:, None]

    def to(self, device: torch.device) -> Batch:
        return Batch(self.image.to(device), self.instances.to(device), self.names)


class CropSampler:
    """Batches of random crops. field: window side in image pixels; size: side of what the network sees.

    A case smaller than the window is continued by reflection (image and labels alike). weights: how often
    each case is sampled; by default in proportion to its area.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        field: int,
        size: int,
        batch: int,
        seed: int,
        settings: AugmentSettings,
        weights: Sequence[float] | None = None,
    ) -> None:
        if not cases:
            raise ValueError("no training cases: nothing to sample crops from")
        self.cases, self.field, self.size, self.batch = list(cases), field, size, batch
        self.seed, self.settings = seed, settings
        share = np.array([c.instances.size for c in cases] if weights is None else weights, dtype=float)
        self.weight = share / share.sum()

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        items = [self._item(rng) for _ in range(self.batch)]
        return Batch(
            torch.stack([i for i, _, _ in items]),
            torch.stack([m for _, m, _ in items]),
            tuple(n for _, _, n in items),
        )

    def _item(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, str]:
        s = self.settings
        case = self.cases[rng.choice(len(self.cases), p=self.weight)]
        side = max(8, round(self.field * np.exp(rng.uniform(-s.zoom, s.zoom))))
        image, instances = _window(case, side, rng, on_nucleus=rng.random() < s.on_nuclei)
        if s.turns:
            quarter, mirror = int(rng.integers(4)), bool(rng.integers(2))
            image, instances = np.rot90(image, quarter), np.rot90(instances, quarter)
            if mirror:
                image, instances = image[:, ::-1], instances[:, ::-1]
        if s.stain or s.shift or s.colour:
            image = restain(image, rng, s)
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
        labels = torch.from_numpy(np.ascontiguousarray(instances).astype(np.int64))
        if side != self.size:
            pixels = F.interpolate(
                pixels[None],
                size=(self.size, self.size),
                mode="bilinear",
                antialias=True,
                align_corners=False,
            )[0]
            labels = F.interpolate(labels[None, None].float(), size=(self.size, self.size), mode="nearest-exact")[
                0, 0
            ].long()
        if rng.random() < s.blur:
            sigma = float(rng.uniform(0.2, 1.0))
            pixels = torch.from_numpy(gaussian_filter(pixels.numpy(), (0, sigma, sigma)))
        if s.noise:
            grain = rng.normal(0, rng.uniform(0, s.noise), tuple(pixels.shape))
            pixels = pixels + torch.from_numpy(grain).float()
        return pixels.clamp(0, 1), labels, case.name


def prefetched(sample: Callable[[int], Batch], indices: Iterable[int]) -> Generator[Batch]:
    """The batches sample(index), each made in a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as thread:
        current: Future[Batch] | None = None
        for index in indices:
            following = thread.submit(sample, index)
            if current is not None:
                yield current.result()
            current = following
        if current is not None:
            yield current.result()


def _window(case: Case, side: int, rng: np.random.Generator, on_nucleus: bool) -> tuple[np.ndarray, np.ndarray]:
    """A random side × side window of the case, continued by reflection where the case is too small."""
    height, width = case.instances.shape
    image, instances = case.image, case.instances
    grow = [(max(0, side - n) // 2, max(0, side - n + 1) // 2) for n in (height, width)]
    if any(sum(g) for g in grow):
        image = np.pad(image, (*grow, (0, 0)), mode="reflect")
        instances = np.pad(instances, grow, mode="reflect")
        height, width = instances.shape
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    if on_nucleus and instances.any():
        pixels = np.flatnonzero(instances)
        row, col = divmod(int(pixels[rng.integers(len(pixels))]), width)
        top = int(np.clip(row - rng.integers(side), 0, height - side))
        left = int(np.clip(col - rng.integers(side), 0, width - side))
    return image[top : top + side, left : left + side], instances[top : top + side, left : left + side]


def restain(image: np.ndarray, rng: np.random.Generator, settings: AugmentSettings) -> np.ndarray:
    """Change the amounts of haematoxylin, eosin and residual (Tellez et al. 2018; Ruifrok & Johnston 2001).

    With `colour` the stains' own colours change too. image: (H, W, 3) uint8 RGB; returns the same.
    """
    density = -np.log10((image.astype(np.float32) + 1) / 256)
    amounts = density @ hed_from_rgb.astype(np.float32)
    factor = rng.uniform(1 - settings.stain, 1 + settings.stain, 3).astype(np.float32)
    amounts = amounts * factor + rng.uniform(-settings.shift, settings.shift, 3).astype(np.float32)
    density = amounts @ rgb_from_hed.astype(np.float32)
    if settings.colour:
        mixing = np.eye(3, dtype=np.float32) + rng.normal(0, settings.colour, (3, 3)).astype(np.float32)
        density = density @ mixing
    return np.clip(np.rint(256 * np.power(np.float32(10), -density) - 1), 0, 255).astype(np.uint8)
