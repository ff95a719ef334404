"""Simulated nuclei: smooth random contours, chromatin, placement, exact instance truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from study.simulation.style import HOLLOW, Population, Style
from study.simulation.tissue import Layout, noise

SMALLEST = 12  # visible pixels below which a nucleus leaves the truth


@dataclass(eq=False)
class Nuclei:
    """What the nuclei add to a tile. All maps (H, W) float32 except labels (H, W) int32, 0 = background.

    haematoxylin: concentration; cover: 0 … 1 opacity; halo: 0 … 1 pale gap; centres: (N, 2) row, column.
    """

    haematoxylin: np.ndarray
    cover: np.ndarray
    halo: np.ndarray
    labels: np.ndarray
    centres: np.ndarray


@dataclass(frozen=True, eq=False)
class Shape:
    """One nucleus in its window: rows and columns of the canvas, depth below its contour in pixels."""

    rows: slice
    columns: slice
    depth: np.ndarray
    radius: float
    u: np.ndarray  # normalised coordinate along the long axis
    v: np.ndarray


def grow(style: Style, layout: Layout, rng: np.random.Generator) -> Nuclei:
    """Place and draw every population. A later nucleus lies on top of an earlier one."""
    shape = layout.epithelium.shape
    ink, cover, halo = (np.zeros(shape, np.float32) for _ in range(3))
    made = Nuclei(ink, cover, halo, np.zeros(shape, np.int32), np.zeros((0, 2)))
    centres: list[tuple[float, float]] = []
    for population in style.populations:
        weight = layout.weight(population.region)
        wanted = int(rng.poisson(population.density * weight.sum() * layout.spacing**2 / 100))
        if wanted == 0:
            continue
        chromatin = noise(rng, (128, 128), population.clump_size / layout.spacing)
        summed = np.cumsum(weight, dtype=np.float64)
        candidates = np.searchsorted(summed, rng.random(2 * wanted) * summed[-1])
        places = np.unravel_index(np.minimum(candidates, weight.size - 1), shape)
        for row, column in zip(*places, strict=True):
            if wanted == 0:
                break
            if made.labels[row, column] and rng.random() > style.overlap:
                continue
            one = outline(population, layout.direction, layout.spacing, int(row), int(column), rng)
            inside = one.depth > 0
            taken = made.labels[one.rows, one.columns][inside] > 0
            if inside.sum() < SMALLEST or taken.sum() > style.overlap * inside.sum():
                continue
            centres.append((row, column))
            stamp(made, one, population, chromatin, len(centres), layout.spacing, rng)
            wanted -= 1
    made.centres = np.array(centres, dtype=float).reshape(-1, 2)
    return made


def outline(
    population: Population, direction: np.ndarray, spacing: float, row: int, column: int, rng: np.random.Generator
) -> Shape:
    """A bent superellipse whose radius carries a random Fourier series, in the window that holds it.

    direction: (H, W) float, rad, that the population's `aligned` and `across` refer to. spacing: µm per pixel.
    """
    radius = float(population.diameter / 2 * np.exp(rng.normal(0, population.spread)) / spacing)
    ratio = max(1.0, 1 + (population.elongation - 1) * rng.lognormal(0, 0.35))
    long, short = radius * ratio**0.5, radius / ratio**0.5
    along = direction[row, column] + (np.pi / 2 if population.across else 0.0)
    angle = float(along + rng.normal(0, population.aligned))
    cosine, sine = math.cos(angle), math.sin(angle)
    reach = int(np.ceil(long * 1.25 + 3))
    height, width = direction.shape
    rows = slice(max(row - reach, 0), min(row + reach + 1, height))
    columns = slice(max(column - reach, 0), min(column + reach + 1, width))
    dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - row
    dx = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - column
    u = (dx * cosine + dy * sine) / long
    v = (dy * cosine - dx * sine) / short
    v = v + rng.normal(0, 0.12 * (ratio - 1) ** 0.5) * u * u
    power = rng.uniform(1.75, 2.5)
    rho = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
    phi = np.arctan2(v, u)
    contour = np.ones_like(rho)
    for order in range(2, 6):
        amplitude = population.irregularity * rng.normal() / (order - 1)
        contour += np.clip(amplitude, -0.25, 0.25) * np.cos(order * phi + rng.uniform(0, 2 * np.pi))
    return Shape(rows, columns, (1 - rho / np.maximum(contour, 0.4)) * short, radius, u, v)


def stamp(
    made: Nuclei, one: Shape, population: Population, chromatin: np.ndarray, label: int, spacing: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Draw one nucleus into the maps."""
    window = (one.rows, one.columns)
    texture = _window_of(chromatin, one.depth.shape, rng)
    level = float(population.haematoxylin * np.exp(rng.normal(0, population.variation)))
    pale = min(population.vesicular * rng.uniform(0.6, 1.2), 1.0)
    rim = max(0.9, 0.35 / spacing)
    amount = 1 - population.hollow * pale * np.clip(one.depth / (2 * rim), 0, 1)
    amount = amount + (0.1 + 0.45 * pale * population.hollow / HOLLOW) * np.exp(-(((one.depth - 0.8 * rim) / rim) ** 2))
    amount = amount + population.clumps * (texture + 1.5 * pale * np.maximum(texture - 0.5, 0))
    for _ in range(rng.poisson(population.nucleoli)):
        at_u, at_v, size = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0.12, 0.25)
        amount = amount + rng.uniform(0.3, 0.9) * np.exp(-((one.u - at_u) ** 2 + (one.v - at_v) ** 2) / size**2)
    soft = max(0.5, population.edge / spacing * rng.lognormal(0, 0.4))
    cover = np.clip(0.5 + one.depth / (2 * soft), 0, 1)
    cover = (cover * cover * (3 - 2 * cover)).astype(np.float32)
    drawn = np.maximum(level * amount, 0.04)
    seen = rng.uniform(0.7, 1.0)
    before = made.haematoxylin[window]
    made.haematoxylin[window] = before * (1 - seen * cover) + drawn * cover
    made.cover[window] = 1 - (1 - made.cover[window]) * (1 - cover)
    if population.halo > 0:
        gap = max(1.0, rng.uniform(0.3, 1.0) / spacing)
        pale_gap = population.halo * rng.uniform(0.3, 1) * np.exp(-(((one.depth + gap) / gap) ** 2))
        made.halo[window] = np.maximum(made.halo[window], pale_gap)
    made.labels[window][one.depth > 0] = label


def _window_of(field: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A random window of a noise field, which is continued periodically."""
    rows, columns = (
        (int(rng.integers(full)) + np.arange(part)) % full for full, part in zip(field.shape, shape, strict=True)
    )
    return field[np.ix_(rows, columns)]


def truth(labels: np.ndarray) -> np.ndarray:
    """Instances (H, W) uint16, labels 1 … n in drawing order, from drawn labels (H, W) int.

    A nucleus is its largest 4-connected visible piece; the pieces that occlusion or the tile's border cut
    off, and nuclei with fewer than SMALLEST visible pixels, are background: too little is left to annotate.
    """
    kept = np.zeros(labels.shape, np.uint16)
    count = 0
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        visible = labels[window] == label
        pieces, found = ndimage.label(visible)
        if found > 1:
            visible = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
        if visible.sum() >= SMALLEST:
            count += 1
            kept[window][visible] = count
    return kept
