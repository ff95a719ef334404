"""Seeded PAS + IF patches of simulated glomeruli with exact truth: the stand-in for the paper's private cohort.

Made to ask one question: can a marker's image let a lay annotator match an expert, and can corrective learning repair
what they get wrong? So the classes differ by place (podocytes outside the capillary loops, mesangial cells inside the
matrix), look-alikes abound, and the marker is imperfect.

What it cannot imitate: one plane is grown instead of cut from a volume, so nuclei seen through the section's
depth, tangential cuts and overlapping cells are rare, and loops often appear as rings cut off from their stalk;
the IF shows the very nuclei of the PAS section (restained, not the next section); no arterioles,
juxtaglomerular apparatus, casts, crescents, sclerosis, inflammation, folds or air bubbles; injury is one axis
from healthy to diffuse mesangial expansion with podocyte loss; chromatin is noise, so fine nuclear morphology
holds less than a pathologist uses; stain and scanner vary over far narrower ranges than between laboratories. A
score on these patches is a statement about the method, never about tissue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from allinsam_core.data.case import Case, Split
from study.datasets.splits import grouped
from study.molecular import slide_split
from study.molecular.patch import CELL_TYPES, MARKERS, SPACING, CellType, Patch, Truth
from study.simulation import glomerulus_anatomy, glomerulus_cells
from study.simulation.glomerulus_stain import SlideStyle, fluorescence, pas
from study.simulation.nuclei import truth
from study.simulation.tissue import noise

if TYPE_CHECKING:
    from study.data import DataSettings

SLIDES, INJURED = 11, 3  # paper §4.1
PODOCYTE_PATCHES, MESANGIAL_PATCHES = 1147, 789
SMALLEST_SIZE = 128


def by_split(settings: DataSettings, root: Path | None) -> dict[Split, list[Case]]:
    """The simulated cohort as a source of runs, with its true masks. root: nothing is read from it."""
    return grouped(each.case("truth") for each in cohort(**settings.arguments(cohort)))


def patch(
    seed: int, slide: SlideStyle, *, slide_seed: int = 0, size: int = 512, cell_type: CellType = "podocyte",
    misregistered: bool = False,
) -> Patch:  # fmt: skip
    """One simulated patch, size² pixels at 0.5 µm/px, masks and instances of the annotator "truth".

    seed: the glomerulus; slide: the stain, injury and marker quality; slide_seed: decides the slide's
    misregistration, which is the same for all its patches. ValueError for a size below 128.
    """
    if size < SMALLEST_SIZE:
        raise ValueError(f"size {size} px, expected at least {SMALLEST_SIZE}: a glomerulus needs the room")
    rng = np.random.default_rng([30720, seed])
    severity = float(np.clip(slide.severity + rng.normal(0, 0.12 if slide.injured else 0.03), 0, 1))
    slide = replace(slide, severity=severity)
    anatomy = glomerulus_anatomy.grow(size, SPACING, severity, rng)
    cells = glomerulus_cells.populate(anatomy, severity, slide.strength_h, rng)
    displacement = misregistration(slide_seed, size) if misregistered else np.zeros((size, size, 2), np.float32)
    image = pas(anatomy, cells, slide, rng)
    molecular = fluorescence(anatomy, cells, slide, displacement, rng)
    instances, kinds = _exact(cells)
    known = Truth(instances, kinds, anatomy.capsule > 0, displacement)
    return Patch(
        name=f"simulated-{seed}",
        slide=f"simulated-{slide_seed}",
        cell_type=cell_type,
        pas=image,
        molecular=molecular,
        injured=slide.injured,
        simulated=True,
        masks={"truth": {each: known.of(each) > 0 for each in CELL_TYPES}},
        thresholds={marker: slide.threshold(marker) for marker in MARKERS},
        truth=known,
    )


def _exact(cells: glomerulus_cells.Cells) -> tuple[np.ndarray, tuple[str, ...]]:
    """Instances (H, W) uint16 by the rule of `nuclei.truth`, with the kind of each label."""
    instances = truth(cells.labels)
    first = np.unique(instances, return_index=True)
    drawn = cells.labels.ravel()[first[1]]
    return instances, tuple(cells.kinds[label - 1] for value, label in zip(first[0], drawn, strict=True) if value > 0)


def misregistration(seed: int, size: int, shift: float = 5.0, smooth: float = 1.5) -> np.ndarray:
    """A small known deformation (size, size, 2) float32, row and column displacement in pixels.

    A shift of up to `shift` pixels, a turn of up to 0.6°, a scaling of up to 0.6 % and a smooth field of sd `smooth`
    pixels on a length scale of 60 px: what is left after the slides were aligned as wholes (an assumption).
    """
    rng = np.random.default_rng([30721, seed])
    turn, scale = np.deg2rad(rng.uniform(-0.6, 0.6)), rng.uniform(-0.006, 0.006)
    rows, columns = np.indices((size, size), dtype=np.float32) - (size - 1) / 2
    down, right = rng.uniform(-shift, shift, 2)
    field = np.stack([down + scale * rows + turn * columns, right + scale * columns - turn * rows], -1)
    for axis in range(2):
        field[..., axis] += smooth * noise(rng, (size, size), 60)
    return field.astype(np.float32)


@dataclass(frozen=True)
class Slide:
    """A simulated slide: its name, look and how many patches of each pool come from it."""

    name: str
    seed: int
    style: SlideStyle
    patches: dict[CellType, int]

    @property
    def injured(self) -> bool:
        return self.style.injured


class Cohort(Sequence[Patch]):
    """Patches made when they are asked for: `cohort[i]`, equal for equal seeds; podocyte pool first.

    slides: its slides. splits: slide → split, by `slide_split.by_slide`. entries: (slide number, cell type, number
    within the slide) of every patch.
    """

    def __init__(self, slides: Sequence[Slide], size: int, misregistered: bool, seed: int = 0) -> None:
        self.slides, self.size, self.misregistered = tuple(slides), size, misregistered
        counts = {slide.name: sum(slide.patches.values()) for slide in slides}
        self.splits = slide_split.by_slide({slide.name: slide.injured for slide in slides}, counts, seed)
        self.entries = tuple(
            (number, cell_type, count)
            for cell_type in CELL_TYPES
            for number, slide in enumerate(self.slides)
            for count in range(slide.patches[cell_type])
        )

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, at: int) -> Patch: ...
    @overload
    def __getitem__(self, at: slice) -> list[Patch]: ...
    def __getitem__(self, at: int | slice) -> Patch | list[Patch]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        number, cell_type, count = self.entries[at]
        slide = self.slides[number]
        seed = (slide.seed * len(CELL_TYPES) + CELL_TYPES.index(cell_type)) * 10_000 + count
        made = patch(
            seed, slide.style, slide_seed=slide.seed, size=self.size, cell_type=cell_type,
            misregistered=self.misregistered,
        )  # fmt: skip
        name = f"{slide.name}_{cell_type}_{count:04d}"
        return replace(made, name=name, slide=slide.name, split=self.splits[slide.name])


def cohort(
    podocyte: int = PODOCYTE_PATCHES, mesangial: int = MESANGIAL_PATCHES, *, slides: int = SLIDES,
    injured: int = INJURED, size: int = 512, seed: int = 0, misregistered: bool = False,
) -> Cohort:  # fmt: skip
    """The paper's cohort (§4.1) in simulation: 11 slides, 3 of them injured, 1147 and 789 patches of 512² pixels.

    Patches are shared out evenly over the slides, whose order is mixed (the paper's shares are not known). The
    slide's stain, injury and marker quality are drawn from the seed. ValueError for impossible numbers.
    """
    if not 0 <= injured <= slides or slides < 1 or min(podocyte, mesangial) < 0:
        raise ValueError(
            f"{slides} slides, {injured} injured, {podocyte} + {mesangial} patches; "
            "expected at least 1 slide, at most all of them injured, and no negative number"
        )
    rng = np.random.default_rng([30722, seed])
    sick = set(rng.permutation(slides)[:injured].tolist())
    wanted: dict[CellType, int] = {"podocyte": podocyte, "mesangial": mesangial}
    made = [
        Slide(
            name=f"S{number + 1:02d}",
            seed=seed * slides + number,
            style=SlideStyle.sample(np.random.default_rng([30723, seed, number]), number in sick),
            patches={kind: total // slides + (number < total % slides) for kind, total in wanted.items()},
        )
        for number in range(slides)
    ]
    return Cohort(made, size, misregistered, seed)
