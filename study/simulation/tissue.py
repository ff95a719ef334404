"""Simulated tissue around the nuclei: where nests, stroma, lumens and gaps lie, how much stain they take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from study.simulation.style import Region, Style


def noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Gaussian noise (H, W) float32 smoothed with sigma pixels, mean 0, sd 1; drawn coarse if smooth."""
    step = max(1, int(sigma / 1.3))
    coarse = tuple(-(-side // step) + 2 for side in shape)
    field = rng.standard_normal(coarse, dtype=np.float32)
    field = ndimage.gaussian_filter(field, sigma / step, mode="wrap", truncate=3)
    field = (field - field.mean()) / max(float(field.std()), 1e-6)
    return enlarge(field, step, shape)


def enlarge(field: np.ndarray, step: int, shape: tuple[int, ...]) -> np.ndarray:
    """The field (h, w) float32 read linearly every 1/step, cut to the given shape, clamped at its edges."""
    for axis, side in enumerate(shape):
        at = np.arange(side, dtype=np.float32) / step
        lower = np.minimum(at.astype(int), field.shape[axis] - 1)
        part = (at - lower).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        upper = np.minimum(lower + 1, field.shape[axis] - 1)
        field = field.take(lower, axis) * (1 - part) + field.take(upper, axis) * part
    return field


def _ramp(field: np.ndarray, fraction: float, softness: float) -> np.ndarray:
    """0 … 1 map that covers about the given fraction where the field is highest."""
    if fraction <= 0:
        return np.zeros_like(field)
    level = float(np.quantile(field[::4, ::4], 1 - min(fraction, 1.0)))
    return np.clip(0.5 + (field - level) / softness, 0, 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Layout:
    """Maps (H, W) float32: epithelium, empty (lumen, gap) and cluster in 0 … 1; depth in µm inside a nest;
    fibres, sd about 1; direction in rad of nuclei: along a nest's border, along the fibres in stroma.
    """

    spacing: float
    epithelium: np.ndarray
    depth: np.ndarray
    empty: np.ndarray
    direction: np.ndarray
    fibres: np.ndarray
    cluster: np.ndarray

    def weight(self, region: Region) -> np.ndarray:
        """Relative density of nuclei (H, W) in 0 … 1."""
        full = 1 - np.minimum(self.empty * 1.2, 1)
        if region == "anywhere":
            return full
        if region == "stroma":
            return full * (1 - self.epithelium)
        if region == "cluster":
            return full * self.cluster
        if region == "rim":
            return full * self.epithelium * np.exp(-(((self.depth - 4.0) / 2.5) ** 2))
        return full * self.epithelium


def lay(style: Style, shape: tuple[int, ...], spacing: float, rng: np.random.Generator) -> Layout:
    """Nests are the high ground of a smooth random field; lumens open at a given depth inside them."""
    field = noise(rng, shape, style.nest / spacing) + 0.08 * noise(rng, shape, 1.5 / spacing)
    epithelium = _ramp(field, style.epithelium, 0.08)
    if style.epithelium >= 1:
        epithelium = np.ones_like(epithelium)
    inside = epithelium > 0.5
    depth = ndimage.distance_transform_edt(inside).astype(np.float32) * spacing
    fine, rough = noise(rng, shape, 0.5 / spacing), noise(rng, shape, 1.5 / spacing)
    empty = np.clip((depth + 0.5 * fine + 0.8 * rough - style.lumen) / 0.8, 0, 1)
    gaps = noise(rng, shape, style.gap_size / spacing) + rng.uniform(0, 0.2) * fine + 0.3 * rough
    empty = np.maximum(empty, _ramp(gaps, style.gaps, rng.uniform(0.2, 0.8)))
    if style.cleft > 0 and not inside.all():
        outside = ndimage.distance_transform_edt(~inside) * spacing
        parted = np.clip((style.cleft * (0.5 + noise(rng, shape, 5 / spacing)) - outside) / 0.5, 0, 1)
        empty = np.maximum(empty, parted * (outside > 0))
    fibres, turned = _fibres(style, shape, spacing, rng)
    slope = np.gradient(ndimage.gaussian_filter(field, 2.0 / spacing))
    direction = np.where(inside, np.arctan2(slope[0], slope[1]) + np.pi / 2, turned)
    cluster = _ramp(noise(rng, shape, 6 / spacing), rng.uniform(0.05, 0.4), 0.8)
    return Layout(spacing, epithelium, depth, empty.astype(np.float32), direction.astype(np.float32), fibres, cluster)


def _fibres(
    style: Style, shape: tuple[int, ...], spacing: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Collagen-like texture and its direction in rad, both (H, W).

    Thin and coarse streaks of noise are read along a turned and smoothly bent grid.
    """
    width = max(0.6, style.fibre_width / spacing)
    streaks = np.zeros((max(shape), max(shape) // 3), np.float32)  # wraps around
    for scale, amplitude in ((1.0, 1.0), (2.5, 0.5)):
        layer = rng.standard_normal(streaks.shape, dtype=np.float32)
        layer = ndimage.gaussian_filter(layer, (scale * width, 1.5 * width), mode="wrap", truncate=3)
        streaks += amplitude * layer / max(float(layer.std()), 1e-6)
    angle = rng.uniform(0, np.pi)
    rows, columns = np.indices(shape, dtype=np.float32)
    bend = noise(rng, shape, 9 / spacing) * rng.uniform(1, 6) + noise(rng, shape, 2.5 / spacing) * rng.uniform(0, 0.8)
    across = columns * np.sin(angle) + rows * np.cos(angle) + bend / spacing
    along = (columns * np.cos(angle) - rows * np.sin(angle)) / 4
    down, right = np.gradient(across)
    texture = ndimage.map_coordinates(streaks, [across, along], order=1, mode="grid-wrap")
    return texture * (0.7 + 0.4 * noise(rng, shape, 4 / spacing)), np.arctan2(down, right) + np.pi / 2


def _cells(layout: Layout, centres: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi cells of the nuclei: distance to the cell's border in µm, and a tone per cell (sd 1)."""
    shape = layout.epithelium.shape
    if len(centres) < 2:
        return np.full(shape, 5.0, np.float32), np.zeros(shape, np.float32)
    rows, columns = np.indices((-(-shape[0] // 2), -(-shape[1] // 2))) * 2
    wobble = noise(rng, rows.shape, 1.0 / layout.spacing) * 0.6 / layout.spacing
    near, index = cKDTree(centres).query(np.stack([rows + wobble, columns + wobble], -1), k=2)
    border = ((near[..., 1] - near[..., 0]) / 2 * layout.spacing).astype(np.float32)
    tone = rng.standard_normal(len(centres)).astype(np.float32)[index[..., 0]]
    return enlarge(border, 2, shape), enlarge(tone, 2, shape)


def stain(
    style: Style, layout: Layout, cover: np.ndarray, centres: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Haematoxylin and eosin concentrations (H, W) of the tissue behind its nuclei.

    cover: (H, W) opacity of the nuclei, whose cytoplasm fills gaps and thickens around them.
    centres: (N, 2) row, column of the nuclei.
    """
    shape, spacing = layout.epithelium.shape, layout.spacing
    inside, fibres = layout.epithelium, layout.fibres
    border, tone = _cells(layout, centres, rng)
    near = ndimage.gaussian_filter(cover, 0.9 / spacing)
    grain = noise(rng, shape, max(0.5, style.grain_size / spacing))
    cloud = noise(rng, shape, 3 / spacing)
    cytoplasm = 1 + style.grain * grain + 0.15 * cloud + 0.12 * tone + 0.25 * style.fibre * fibres
    cytoplasm = cytoplasm * (1 - style.clear * np.clip((border - 0.4) / 1.2, 0, 1) * (1 - near))
    bubbles = noise(rng, shape, max(0.8, style.vacuole_size / spacing))
    cytoplasm = cytoplasm * (1 - style.vacuole_depth * _ramp(bubbles, style.vacuoles, 0.9))
    smear = noise(rng, shape, 1.2 / spacing)
    matrix = 1 + style.fibre * fibres + 0.6 * style.grain * grain + 0.2 * cloud + 0.15 * smear
    walls = style.membrane * np.exp(-((border / 0.3) ** 2)) * np.clip(0.5 + 0.6 * smear, 0, 1)
    eosin = inside * (style.eosin_epithelium * cytoplasm + walls) + (1 - inside) * style.eosin_stroma * matrix
    blue = inside * style.basophilia * np.maximum(cytoplasm * (1 + 0.3 * smear + 0.2 * cloud), 0)
    blue = blue + (1 - inside) * style.background_h * matrix
    if style.streaks > 0:
        blue = blue + (1 - inside) * style.streaks * np.clip(fibres - 1.5, 0, 1.5)
    present = np.maximum(1 - layout.empty, np.minimum(1.6 * near, 1))
    blue = np.maximum(blue, 0) * present + 0.6 * style.perinuclear * near
    return blue, np.maximum(eosin, 0.02) * present + 0.4 * style.perinuclear * near
