"""Seeded H&E-like tiles with exact instance truth, for tests, the smoke study and pre-training.

A tile is grown, stained and photographed: nests and stroma (tissue.py), nuclei (nuclei.py), then light by the
Beer–Lambert law, I = I0 · 10^−(c_h·H + c_e·E) (Ruifrok & Johnston 2001, eq. 1, in base 10), then the optics,
sensor and JPEG coder of a scanner. All parameters are drawn per tile (style.py). Lengths are in µm, so the
spacing sets the magnification.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from allinsam_core.data.case import Case, Split
from study.datasets.splits import grouped
from study.simulation.nuclei import Nuclei, grow, truth
from study.simulation.style import Style
from study.simulation.tissue import Layout, lay, noise, stain

if TYPE_CHECKING:
    from study.data import DataSettings

__all__ = ["Style", "by_split", "cohort", "tile"]

BLOOD = np.array([0.10, 0.75, 0.65])  # optical density of red cells, RGB
PIGMENT = np.array([0.45, 0.60, 0.75])
MARGIN = 4.0  # µm grown around the tile, so that nuclei are cut by its border


def by_split(settings: DataSettings, root: Path | None) -> dict[Split, list[Case]]:
    """Simulated tissue as a source of runs: the cohort of `settings.simulated`. root: nothing is read from it."""
    return grouped(cohort(**settings.arguments(cohort)))


def tile(seed: int, size: int = 256, spacing: float = 0.25, style: Style | None = None) -> Case:
    """One simulated tile: image (size, size, 3) uint8 RGB, instances (size, size) uint16 with labels 1 … n.

    seed: decides everything (with the style, if given); equal seeds give equal tiles on one platform.
    spacing: µm per pixel, 0.1 … 1. Later nuclei lie on top; pieces that occlusion cuts off and nuclei with
    fewer than 12 visible pixels are not in the truth (nuclei.truth). ValueError for a size below 32 or a
    spacing outside its range.
    """
    if size < 32 or not 0.1 <= spacing <= 1:
        raise ValueError(f"size {size} px and spacing {spacing} µm/px; expected size ≥ 32 and spacing in 0.1 … 1")
    rng = np.random.default_rng([20250, seed])
    style = Style.sample(rng) if style is None else style
    margin = int(np.ceil(MARGIN / spacing))
    shape = (size + 2 * margin, size + 2 * margin)
    layout = lay(style, shape, spacing, rng)
    nuclei = grow(style, layout, rng)
    density = _density(style, layout, nuclei, rng)
    inner = (slice(margin, margin + size), slice(margin, margin + size))
    image = photograph(style, density[inner], spacing, rng)
    return Case(
        name=f"simulated-{seed}",
        image=image,
        instances=truth(nuclei.labels[inner]),
        spacing=spacing,
        source="simulated",
        patient=f"simulated-{seed}",
        organ="simulated",
    )


def cohort(
    train: int = 6, val: int = 2, test: int = 4, size: int = 256, seed: int = 0, spacing: float = 0.25
) -> list[Case]:
    """Tiles of the three splits, every one a patient of its own; seeds 1000·seed, 1000·seed + 1, …"""
    counts: tuple[tuple[Split, int], ...] = (("train", train), ("val", val), ("test", test))
    splits = [split for split, count in counts for _ in range(count)]
    if len(splits) > 1000:
        raise ValueError(f"{len(splits)} tiles asked for; expected at most 1000: seeds would overlap")
    return [replace(tile(1000 * seed + index, size, spacing), split=split) for index, split in enumerate(splits)]


def _density(style: Style, layout: Layout, nuclei: Nuclei, rng: np.random.Generator) -> np.ndarray:
    """Optical density (H, W, 3) float32, base 10."""
    blue, pink = stain(style, layout, nuclei.cover, nuclei.centres, rng)
    blood, pigment = _extras(style, layout, rng)
    through = 1 - (1 - style.transparency) * nuclei.cover
    around = 1 - nuclei.halo * (1 - nuclei.cover)
    blue = blue * through * around + nuclei.haematoxylin
    pink = pink * through * around
    blood = blood * (1 - nuclei.cover)
    parts = (
        (blue, style.stain_h),
        (pink, style.stain_e),
        (blood, 0.5 * BLOOD + 0.5 * np.asarray(style.stain_e)),
        (pigment, PIGMENT),
    )
    density = np.zeros((*blue.shape, 3), np.float32)
    for amount, vector in parts:
        if amount.any():
            density += amount[..., None].astype(np.float32) * np.asarray(vector, np.float32)
    return density


def _extras(style: Style, layout: Layout, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distractors that carry no label: red cells and blood streaks; pigment granules and specks of debris."""
    shape, spacing = layout.epithelium.shape, layout.spacing
    blood, pigment = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    if style.red_streaks > 0:
        field = noise(rng, shape, 2 / spacing) + 2 * (1 - layout.epithelium)
        level = float(np.quantile(field[::4, ::4], 1 - style.red_streaks * 0.5))
        blood += rng.uniform(0.2, 0.7) * np.clip((field - level) / 1.5, 0, 1) * (1 - layout.epithelium)
    middle = rng.uniform(0, shape[0], 2)
    for _ in range(rng.poisson(style.red_cells)):
        at = middle + rng.normal(0, 10 / spacing, 2)
        _disc(blood, at, rng.uniform(2.2, 3.4) / spacing, rng.uniform(0.3, 0.7), hollow=rng.uniform(0, 0.5))
    for _ in range(rng.poisson(style.pigment)):
        middle = rng.uniform(0, shape[0], 2)
        for _ in range(rng.integers(5, 25)):
            _disc(pigment, middle + rng.normal(0, 2 / spacing, 2), rng.uniform(0.2, 0.6) / spacing, 0.8)
    for _ in range(rng.poisson(style.debris)):
        _disc(pigment, rng.uniform(0, shape[0], 2), rng.uniform(0.2, 0.7) / spacing, rng.uniform(0.2, 0.7))
    return blood, pigment


def _disc(field: np.ndarray, at: np.ndarray, radius: float, level: float, hollow: float = 0.0) -> None:
    """Draw a soft disc in place, paler in the middle by the part `hollow`."""
    row, column, reach = int(at[0]), int(at[1]), int(radius + 3)
    rows = slice(max(row - reach, 0), max(row + reach + 1, 0))
    columns = slice(max(column - reach, 0), max(column + reach + 1, 0))
    window = field[rows, columns]
    if window.size == 0:
        return
    dy = np.arange(window.shape[0])[:, None] + rows.start - at[0]
    dx = np.arange(window.shape[1])[None, :] + columns.start - at[1]
    distance = np.hypot(dy, dx)
    disc = np.clip((radius - distance) / 1.5 + 0.5, 0, 1) * (1 - hollow * np.exp(-((2 * distance / radius) ** 2)))
    np.maximum(window, level * disc, out=window)


def photograph(style: Style, density: np.ndarray, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """Image (H, W, 3) uint8 of optical densities: light, focus, sharpening, sensor noise, gamma, JPEG."""
    shape = density.shape[:2]
    light = np.power(np.float32(10), -density) * np.asarray(style.white, np.float32)
    across, down = np.meshgrid(np.linspace(-1, 1, shape[1]), np.linspace(-1, 1, shape[0]))
    slant = rng.uniform(-1, 1, 3)
    light *= (1 + style.shading * (slant[0] * across + slant[1] * down + slant[2] * across * down))[..., None]
    sigma = style.blur / spacing
    light = ndimage.gaussian_filter(light, (sigma, sigma, 0))
    if style.defocus > 0:
        far = np.clip(0.5 + noise(rng, shape, 12 / spacing), 0, 1)[..., None]
        wide = style.defocus / spacing
        light = light + far * (ndimage.gaussian_filter(light, (wide, wide, 0)) - light)
    if style.sharpen > 0:
        light = light + style.sharpen * (light - ndimage.gaussian_filter(light, (1.2, 1.2, 0)))
    light = np.power(np.clip(light, 0, 1), style.gamma) * 255
    light += rng.standard_normal(light.shape, dtype=np.float32) * (style.noise * np.sqrt(light / 255))
    image = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return image if style.jpeg == 0 else _compressed(image, style.jpeg)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """The image (H, W, 3) uint8 after JPEG coding."""
    coded = io.BytesIO()
    Image.fromarray(image).save(coded, "JPEG", quality=quality)
    return np.asarray(Image.open(coded)).copy()
