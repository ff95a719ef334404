"""Where things lie in a simulated glomerulus: capsule, mesangial stalk, capillary loops, tubules.

Every map is a signed depth in µm, positive inside the structure it is named after. The order of growth is the
organ's own: the mesangial stalk enters at the vascular pole and branches into lobules, podocytes take their places
on its flanks, capillaries fill what is left of the tuft, tubules pack around the capsule.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.draw import line

from study.simulation.tissue import enlarge, noise

PODOCYTES = 2.0  # nuclear profiles per 1000 µm² of tuft; see glomerulus_cells


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Maps (H, W) float32, depth in µm, positive inside, unless stated.

    capsule: Bowman's capsule. tuft: the tuft's hull. stalk: mesangial axis. solid: loops and mesangium together, so
    that -solid is the distance from the filtration barrier into the urinary space. lumen: capillary lumens.
    septum: distance to the wall between abutting loops. blood: 0 … 1 per loop, how full of red cells.
    tubule: tubules. height: of the tubule's epithelium, µm. proximal: bool. seeds: (N, 2) float, row and column in
    pixels, places of podocyte nuclei.
    """

    spacing: float
    capsule: np.ndarray
    tuft: np.ndarray
    stalk: np.ndarray
    solid: np.ndarray
    lumen: np.ndarray
    septum: np.ndarray
    blood: np.ndarray
    tubule: np.ndarray
    height: np.ndarray
    proximal: np.ndarray
    seeds: np.ndarray


def grow(size: int, spacing: float, severity: float, rng: np.random.Generator) -> Anatomy:
    """One glomerulus, about centred, in a window of size² pixels.

    severity: 0 healthy … 1: podocytes fall to 40 %, the mesangium widens, loops narrow, the capsule thickens.
    The capsule's radius is 70 … 100 µm, or what the window holds: a small window has a small glomerulus.
    """
    window = size * spacing
    radius = min(float(rng.uniform(70, 100)), 0.43 * window)
    middle = window / 2 + rng.uniform(-0.04, 0.04, 2) * window
    pole = rng.uniform(0, 2 * np.pi)
    rows, columns = (np.indices((size, size), dtype=np.float32) * spacing) - middle[:, None, None].astype(np.float32)
    angle, distance = np.arctan2(rows, columns), np.hypot(rows, columns)
    capsule = radius * _wavy(angle, rng, range(2, 5), 0.035) - distance
    space = rng.uniform(4, 8) * (1 - 0.4 * severity)
    toward = np.exp(4 * (np.cos(angle - pole) - 1))  # the urinary space closes at the vascular pole
    tuft = (radius - space) * _wavy(angle, rng, range(4, 11), 0.055) - distance
    tuft = np.minimum(tuft, capsule - 2.0) * (1 - toward) + (capsule - 1.0) * toward
    stalk = _stalk(tuft, middle, radius, pole, severity, spacing, rng)
    area = float((tuft > 0).sum()) * spacing**2
    seeds = _seeds(tuft, stalk, area * PODOCYTES / 1000 * (1 - 0.6 * severity), spacing, rng)
    loops = _loops(tuft, stalk, seeds, severity, spacing, rng)
    solid, lumen, septum, blood = loops
    return Anatomy(spacing, capsule, tuft, stalk, solid, lumen, septum, blood, *_tubules(capsule, spacing, rng), seeds)


def _wavy(angle: np.ndarray, rng: np.random.Generator, orders: range, amplitude: float) -> np.ndarray:
    """A radius factor (H, W) about 1: a random Fourier series of the angle."""
    factor = np.ones_like(angle)
    for order in orders:
        factor += (
            amplitude
            * rng.normal()
            / (order - orders.start + 1) ** 0.5
            * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
        )
    return factor


def _stalk(
    tuft: np.ndarray, middle: np.ndarray, radius: float, pole: float, severity: float, spacing: float,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Depth in the mesangium: a tree from the vascular pole to the lobules, with twigs; wider near its root."""
    canvas = np.zeros(tuft.shape, bool)
    root = middle + 0.93 * radius * np.array([np.sin(pole), np.cos(pole)])
    trunk = middle + 0.3 * radius * np.array([np.sin(pole), np.cos(pole)])
    _draw(canvas, root, trunk, spacing, rng)
    lobules = max(4, round(radius / 13) + int(rng.integers(-1, 2)))
    start = rng.uniform(0, 2 * np.pi)
    for lobule in range(lobules):
        angle = start + 2 * np.pi * (lobule + rng.uniform(-0.25, 0.25)) / lobules
        ray = np.array([np.sin(angle), np.cos(angle)])
        fork = middle + rng.uniform(0.2, 0.35) * radius * ray
        tip = middle + rng.uniform(0.55, 0.72) * radius * ray
        _draw(canvas, trunk, fork, spacing, rng)
        _draw(canvas, fork, tip, spacing, rng)
        for _ in range(round(radius / 22)):
            base = fork + rng.uniform(0.1, 0.9) * (tip - fork)
            turn = angle + rng.choice([-1, 1]) * rng.uniform(0.5, 1.3)
            reach = rng.uniform(0.1, 0.22) * radius
            _draw(canvas, base, base + reach * np.array([np.sin(turn), np.cos(turn)]), spacing, rng)
    canvas &= tuft > 2
    away = ndimage.distance_transform_edt(~canvas).astype(np.float32) * spacing
    rows, columns = np.indices(tuft.shape, dtype=np.float32) * spacing
    from_root = np.hypot(rows - root[0], columns - root[1])
    width = 2.0 + 2.5 * np.exp(-from_root / (0.5 * radius)) + 4.0 * severity
    width = width * (1 + 0.45 * noise(rng, tuft.shape, 3.5 / spacing) * (1 + 0.5 * severity))
    return np.minimum(np.maximum(width, 0.8) - away, tuft - 0.5).astype(np.float32)


def _draw(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, spacing: float, rng: np.random.Generator) -> None:
    """A bent line from start to end (row, column in µm), drawn in place; parts outside the canvas are dropped."""
    between = (start + end) / 2 + rng.normal(0, 0.16, 2) * np.hypot(*(end - start))
    path = [np.rint(point / spacing).astype(int) for point in (start, between, end)]
    for a, b in pairwise(path):
        rows, columns = line(a[0], a[1], b[0], b[1])
        keep = (rows >= 0) & (columns >= 0) & (rows < canvas.shape[0]) & (columns < canvas.shape[1])
        canvas[rows[keep], columns[keep]] = True


def scatter(
    allowed: np.ndarray, apart: float, rng: np.random.Generator, most: float = np.inf, tries: int = 4000
) -> np.ndarray:
    """Points (N, 2) float, row and column in pixels, at least `apart` pixels from each other (dart throwing).

    allowed: (H, W) bool or weight ≥ 0; most: stop at this many points.
    """
    summed = np.cumsum(allowed, dtype=np.float64)
    if summed[-1] <= 0:
        return np.zeros((0, 2))
    drawn = np.minimum(np.searchsorted(summed, rng.random(tries) * summed[-1]), allowed.size - 1)
    darts = np.stack(np.unravel_index(drawn, allowed.shape), 1) + rng.uniform(-0.5, 0.5, (tries, 2))
    kept: list[np.ndarray] = []
    for dart in darts:
        if len(kept) >= most:
            break
        if not kept or np.min(np.sum((np.asarray(kept) - dart) ** 2, axis=1)) >= apart**2:
            kept.append(dart)
    return np.asarray(kept).reshape(-1, 2)


def _seeds(
    tuft: np.ndarray, stalk: np.ndarray, expected: float, spacing: float, rng: np.random.Generator
) -> np.ndarray:
    """Places of podocyte nuclei: off the mesangium, more at the tuft's surface than deep in its clefts."""
    weight = (tuft > -0.5) * (stalk < -4.0) * (0.35 + np.exp(-np.maximum(tuft, 0) / 6))
    return scatter(weight, 7.0 / spacing, rng, most=rng.poisson(expected))


def _nearest(
    points: np.ndarray, shape: tuple[int, int], wobble: float, spacing: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to the nearest point and to the border with the second nearest, in µm, and the nearest's index.

    Read on every second pixel through a smoothly bent grid, wobble in µm.
    """
    half = tuple(-(-side // 2) for side in shape)
    grid = np.indices(half).astype(np.float32) * 2
    bend = np.stack([noise(rng, half, 3 / spacing) for _ in range(2)]) * wobble / spacing
    near, index = cKDTree(points).query(np.moveaxis(grid + bend, 0, -1), k=2)
    nearest = enlarge((near[..., 0] * spacing).astype(np.float32), 2, shape)
    border = enlarge(((near[..., 1] - near[..., 0]) / 2 * spacing).astype(np.float32), 2, shape)
    index = np.repeat(np.repeat(index[..., 0], 2, 0), 2, 1)[: shape[0], : shape[1]]
    return nearest, border, index


def _loops(
    tuft: np.ndarray, stalk: np.ndarray, seeds: np.ndarray, severity: float, spacing: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """solid, lumen, septum and blood of Anatomy: capillaries fill the tuft that stalk and podocytes leave."""
    free = (tuft > 3.0) & (stalk < -1.0)
    clear = np.full(tuft.shape, np.inf, np.float32)
    if len(seeds):
        spots = np.ones(tuft.shape, bool)
        at = np.clip(np.rint(seeds).astype(int), 0, np.array(tuft.shape) - 1)
        spots[at[:, 0], at[:, 1]] = False
        clear = ndimage.distance_transform_edt(spots).astype(np.float32) * spacing
    centres = scatter(free & (clear > 5.8), rng.uniform(8.6, 10.4) / spacing, rng)
    if len(centres) < 2:
        return stalk, np.full_like(stalk, -9.0), np.full_like(stalk, 9.0), np.zeros_like(stalk)
    at = np.clip(np.rint(centres).astype(int), 0, np.array(tuft.shape) - 1)
    largest = np.minimum(clear[at[:, 0], at[:, 1]] - 3.3, tuft[at[:, 0], at[:, 1]])
    radii = np.minimum(rng.uniform(4.2, 9.0, len(centres)) * (1 - 0.3 * severity), np.maximum(largest, 2.4))
    near, border, index = _nearest(centres, tuft.shape, 1.5, spacing, rng)
    own = radii[index].astype(np.float32) - near
    septum = np.where(own > 0, border, 9.0).astype(np.float32)
    solid = ndimage.gaussian_filter(np.maximum(own, stalk), 0.6 / spacing)
    lumen = np.minimum(np.minimum(own, border + 0.2), -stalk + 0.8) - 0.7
    blood = rng.beta(0.4, 1.2, len(centres))[index].astype(np.float32)
    return solid, ndimage.gaussian_filter(lumen, 0.4 / spacing), septum, blood


def _tubules(
    capsule: np.ndarray, spacing: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """tubule, height and proximal of Anatomy: packed profiles outside the capsule."""
    size = np.array(capsule.shape)
    margin = int(25 / spacing)
    outside = np.pad(capsule, margin, mode="edge") < -9
    centres = scatter(outside, rng.uniform(31, 38) / spacing, rng) - margin
    if len(centres) < 2:
        flat = np.full(capsule.shape, -9.0, np.float32)
        return flat, np.full_like(flat, 8.0), np.zeros(capsule.shape, bool)
    near, border, index = _nearest(centres, (int(size[0]), int(size[1])), 3.0, spacing, rng)
    proximal = rng.random(len(centres)) < 0.68
    reach = np.where(proximal, rng.uniform(25, 34, len(centres)), rng.uniform(19, 27, len(centres)))
    height = np.where(proximal, rng.uniform(9, 12.5, len(centres)), rng.uniform(5.5, 7.5, len(centres)))
    gap = 1.2 + 0.5 * noise(rng, capsule.shape, 8 / spacing)
    depth = np.minimum(np.minimum(border, reach[index] - near), -capsule - 2.0) - gap
    depth = ndimage.gaussian_filter(depth.astype(np.float32), 1.2 / spacing)
    return depth, height[index].astype(np.float32), proximal[index]
