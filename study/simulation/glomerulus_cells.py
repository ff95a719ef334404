"""The cells of a simulated glomerulus: which nuclei lie where, and what is drawn of them.

How many, in profiles per 1000 µm² of tuft: a design-based count gives 558 podocytes, 1383 other tuft cells and 367
parietal cells per adult glomerulus (Puelles et al., JASN 2015, medians). In a tuft of 180 µm diameter, cut at 3 µm,
with nuclei of 6 … 8 µm, Abercrombie's relation profiles/area = cells/volume · (section + nucleus) gives about 2.0
podocytes, 4.1 others. The split of the others, 2 mesangial to 3 endothelial, is an assumption, and so are all sizes
of nuclei except the podocyte's (about 8 µm; Venkatareddy et al., JASN 2014, measure its mean caliper).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from study.simulation.glomerulus_anatomy import Anatomy, scatter
from study.simulation.nuclei import SMALLEST, Nuclei, outline, stamp
from study.simulation.style import Population
from study.simulation.tissue import noise

_NUCLEUS = Population(
    region="anywhere", density=0.0, diameter=7.0, spread=0.1, elongation=1.2, aligned=0.4, across=False,
    irregularity=0.05, haematoxylin=0.34, variation=0.15, vesicular=0.4, clumps=0.25, clump_size=0.5, nucleoli=0.5,
    edge=0.25, halo=0.0,
)  # fmt: skip
POPULATIONS: dict[str, Population] = {
    "podocyte": replace(_NUCLEUS, diameter=7.6, elongation=1.35, vesicular=0.65, haematoxylin=0.32, nucleoli=1.0),
    "mesangial": replace(_NUCLEUS, diameter=6.2, elongation=1.35, aligned=1.0, irregularity=0.11, haematoxylin=0.43,
                         vesicular=0.15),
    "endothelial": replace(_NUCLEUS, diameter=5.8, elongation=1.8, aligned=0.25, haematoxylin=0.42, vesicular=0.2),
    "parietal": replace(_NUCLEUS, diameter=5.6, elongation=2.2, aligned=0.12, haematoxylin=0.40, vesicular=0.3),
    "tubular": replace(_NUCLEUS, diameter=6.8, elongation=1.08, vesicular=0.55, haematoxylin=0.33, nucleoli=1.0),
    "distal": replace(_NUCLEUS, diameter=6.3, elongation=1.1, vesicular=0.35, haematoxylin=0.40),
    "interstitial": replace(_NUCLEUS, diameter=5.0, elongation=2.6, aligned=0.3, haematoxylin=0.45, vesicular=0.1),
}  # fmt: skip
MESANGIAL, ENDOTHELIAL = 1.6, 2.4  # per 1000 µm² of tuft
PARIETAL, TUBULAR, DISTAL, INTERSTITIAL = 2.6, 2.6, 3.6, 2.2  # per 100 µm of circumference; per 1000 µm² (three)
KEPT = 0.55  # part of a nucleus that must fit its room


@dataclass(frozen=True, eq=False)
class Cells:
    """ink, cover: (H, W) float32, haematoxylin concentration and opacity. labels: (H, W) int32, 0 = background.

    kinds: kind of label 1, 2, …, in drawing order.
    """

    ink: np.ndarray
    cover: np.ndarray
    labels: np.ndarray
    kinds: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Group:
    """Nuclei of one kind: where they may be (depth in µm, positive = allowed) and their centres in pixels."""

    kind: str
    room: np.ndarray
    centres: np.ndarray
    stretch: float = 1.0  # of the mean diameter


def populate(anatomy: Anatomy, severity: float, darkness: float, rng: np.random.Generator) -> Cells:
    """Draw the nuclei of every kind, each clipped to its room.

    A nucleus of which less than half fits, or that would cover another one by more than a tenth, is left out.
    darkness: factor on all haematoxylin.
    """
    shape = anatomy.solid.shape
    ink, cover, halo = (np.zeros(shape, np.float32) for _ in range(3))
    made = Nuclei(ink, cover, halo, np.zeros(shape, np.int32), np.zeros((0, 2)))
    kinds: list[str] = []
    for group in _groups(anatomy, severity, rng):
        base = POPULATIONS[group.kind]
        population = replace(base, haematoxylin=base.haematoxylin * darkness, diameter=base.diameter * group.stretch)
        chromatin = noise(rng, (128, 128), max(0.7, population.clump_size / anatomy.spacing))
        slope = np.gradient(ndimage.gaussian_filter(group.room, 1.0 / anatomy.spacing))
        direction = np.arctan2(slope[0], slope[1]) + np.pi / 2
        pixels = group.room / anatomy.spacing
        for row, column in np.clip(np.rint(group.centres).astype(int), 0, np.array(shape) - 1):
            one = outline(population, direction, anatomy.spacing, int(row), int(column), rng)
            full = int((one.depth > 0).sum())
            one = replace(one, depth=np.minimum(one.depth, pixels[one.rows, one.columns]))
            inside = one.depth > 0
            taken = int((made.labels[one.rows, one.columns][inside] > 0).sum())
            if inside.sum() < max(SMALLEST, KEPT * full) or taken > 0.1 * inside.sum():
                continue
            kinds.append(group.kind)
            stamp(made, one, population, chromatin, len(kinds), anatomy.spacing, rng)
    return Cells(made.haematoxylin, made.cover, made.labels, tuple(kinds))


def _groups(anatomy: Anatomy, severity: float, rng: np.random.Generator) -> Iterator[_Group]:
    """Podocytes outside the loops, mesangial cells in the matrix, and the look-alikes that carry no label."""
    spacing, unit = anatomy.spacing, anatomy.spacing**2 / 1000
    tuft = float((anatomy.tuft > 0).sum()) * unit
    urinary = np.minimum(-anatomy.solid - 0.1, anatomy.capsule - 1.2)
    yield _Group("podocyte", urinary, anatomy.seeds, 1 + 0.08 * severity)

    matrix = np.minimum(anatomy.solid - 0.4, -anatomy.lumen)
    weight = np.clip(matrix, 0, 2) * (anatomy.stalk > 0.3)
    most = rng.poisson(MESANGIAL * tuft * (1 + 0.5 * severity))
    yield _Group("mesangial", matrix + 0.5, scatter(weight, 6.2 / spacing, rng, most))

    weight = (anatomy.lumen > 0.8) & (anatomy.lumen < 2.4)
    most = rng.poisson(ENDOTHELIAL * tuft * (1 - 0.3 * severity))
    inner = np.minimum(anatomy.lumen + 0.5, 4.2 - anatomy.lumen)
    yield _Group("endothelial", inner, scatter(weight, 7.5 / spacing, rng, most))

    lining = np.minimum(anatomy.capsule - 0.3, 3.6 - anatomy.capsule)
    weight = (lining > 1.2) & (anatomy.tuft < -0.8)
    around = 2 * np.sqrt(np.pi * float((anatomy.capsule > 0).sum())) * spacing / 100
    yield _Group("parietal", lining, scatter(weight, 9 / spacing, rng, rng.poisson(PARIETAL * around)))

    basal = np.abs(anatomy.tubule - 0.42 * anatomy.height)
    room = np.minimum(anatomy.tubule - 0.7, anatomy.height - anatomy.tubule)
    for kind, chosen, density in (("tubular", anatomy.proximal, TUBULAR), ("distal", ~anatomy.proximal, DISTAL)):
        weight = (basal < 1.2) & chosen & (room > 1.5)
        area = float(((anatomy.tubule > 0) & chosen).sum()) * unit
        yield _Group(kind, room, scatter(weight, 8 / spacing, rng, rng.poisson(density * area)))

    between = np.minimum(-anatomy.tubule, -anatomy.capsule - 1.0)
    area = float((between > 0).sum()) * unit
    most = rng.poisson(INTERSTITIAL * area * (1 + severity))
    yield _Group("interstitial", between, scatter(between > 0.8, 8 / spacing, rng, most))
