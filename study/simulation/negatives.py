"""Simulated tissue that a network takes for nuclei: fat, collagen, lumina, blood, debris, and few nuclei or none.

The tiles of `simulate` with another composition (Style) and, for fat, adipocytes drawn over them: large empty cells
whose thin walls and trapped specks are the commonest false nuclei of a network that never saw any.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from allinsam_core.data.case import Case
from study.simulation import simulate
from study.simulation.nuclei import grow, truth
from study.simulation.style import Style
from study.simulation.tissue import lay, noise

KINDS = ("fat", "collagen", "lumina", "blood", "specks", "blank")
FEW = (0.0, 0.05, 0.3, 1.0)  # of the style's own density of nuclei


def tile(seed: int, size: int = 256, spacing: float = 0.25) -> Case:
    """A tile as of `simulate.tile`, with its exact truth, which may hold no nucleus. seed decides everything."""
    rng = np.random.default_rng([20251, seed])
    kind = KINDS[rng.integers(len(KINDS))]
    style = composed(Style.sample(rng), kind, rng)
    margin = int(np.ceil(simulate.MARGIN / spacing))
    shape = (size + 2 * margin, size + 2 * margin)
    layout = lay(style, shape, spacing, rng)
    empty, wall = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    if kind == "fat":
        empty, wall = adipocytes(shape, spacing, rng)
        layout = replace(layout, empty=np.maximum(layout.empty, empty))
    nuclei = grow(style, layout, rng)
    bare = (1 - nuclei.cover)[..., None]
    eosin = np.asarray(style.stain_e, np.float32) * (style.eosin_stroma * rng.uniform(0.5, 1.6))
    density = simulate._density(style, layout, nuclei, rng)
    density = density * (1 - bare * empty[..., None]) + bare * wall[..., None] * eosin
    inner = (slice(margin, margin + size), slice(margin, margin + size))
    return Case(
        name=f"negative-{kind}-{seed}",
        image=simulate.photograph(style, density[inner], spacing, rng),
        instances=truth(nuclei.labels[inner]),
        spacing=spacing,
        source="simulated",
        patient=f"negative-{seed}",
        organ="simulated",
    )


def composed(style: Style, kind: str, rng: np.random.Generator) -> Style:
    """The style with few nuclei and much of what `kind` names."""
    few = float(rng.choice(FEW))
    populations = tuple(replace(p, density=p.density * few) for p in style.populations)
    style = replace(style, populations=populations, cleft=style.cleft if few == 1 else 0.0)
    if kind == "collagen":
        return replace(
            style, epithelium=rng.uniform(0, 0.2), fibre=rng.uniform(0.4, 1.0), streaks=rng.uniform(0.0, 0.6)
        )
    if kind == "lumina":
        return replace(style, gaps=rng.uniform(0.2, 0.6), gap_size=rng.uniform(1.5, 8), vacuoles=rng.uniform(0, 0.4))
    if kind == "blood":
        return replace(style, red_cells=rng.uniform(20, 120), red_streaks=rng.uniform(0, 0.5), gaps=rng.uniform(0, 0.3))
    if kind == "specks":
        return replace(style, debris=rng.uniform(20, 120), pigment=rng.uniform(0, 15))
    if kind == "blank":
        return replace(
            style, eosin_epithelium=0.02, eosin_stroma=0.02, basophilia=0.0, background_h=0.0, membrane=0.0,
            perinuclear=0.0, streaks=0.0,
        )  # fmt: skip
    return style


def adipocytes(shape: tuple[int, int], spacing: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Maps (H, W) float32 in 0 … 1: where fat cells are empty, and their walls, some of them torn.

    Voronoi cells of loosely spread centres, 15 to 60 µm wide, over the part of the tile where a smooth field is high.
    """
    width = rng.uniform(15, 60) / spacing
    count = max(3, int(3 * shape[0] * shape[1] / width**2))
    centres = rng.uniform(-0.3, 1.3, (count, 2)) * shape
    rows, columns = np.indices(shape, dtype=np.float32)
    bend = rng.uniform(0.5, 3) / spacing
    places = np.stack(
        [rows + bend * noise(rng, shape, 6 / spacing), columns + bend * noise(rng, shape, 6 / spacing)], -1
    )
    near, _ = cKDTree(centres).query(places, k=2)
    border = (near[..., 1] - near[..., 0]) / 2 * spacing  # µm to the wall
    thick = rng.uniform(0.3, 1.2) * np.exp(0.3 * noise(rng, shape, 4 / spacing))
    field = noise(rng, shape, rng.uniform(15, 40) / spacing)
    region = np.clip(0.5 + (field - np.quantile(field, rng.uniform(0, 0.6))) / 0.1, 0, 1)
    torn = np.clip(0.6 + 2 * (noise(rng, shape, 5 / spacing) + rng.uniform(0, 2)), 0, 1)
    wall = np.exp(-((border / thick) ** 2)) * torn * region
    empty = region * np.clip(border / thick, 0, 1)
    return ndimage.gaussian_filter(empty, 0.5).astype(np.float32), wall.astype(np.float32)
