"""What a simulated tile looks like: every randomised parameter in one frozen record.

The ranges are wide on purpose (domain randomisation, Tobin et al., IROS 2017): a network pre-trained on
simulated tiles must meet real stains as one more variation. The stain vectors start from Ruifrok & Johnston
(Anal Quant Cytol Histol 2001) and Macenko et al. (ISBI 2009) and are then perturbed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Region = Literal["epithelium", "rim", "stroma", "cluster", "anywhere"]
Vector = tuple[float, float, float]

# Unit optical densities in RGB: Ruifrok & Johnston's, then Macenko et al.'s.
HAEMATOXYLIN = np.array([[0.650, 0.704, 0.286], [0.563, 0.720, 0.406]])
EOSIN = np.array([[0.072, 0.990, 0.105], [0.216, 0.801, 0.558]])

HOLLOW = 0.72  # of most nuclei
CLEARED = 0.3  # share of the tiles whose nuclei are paler inside than the cytoplasm around them


@dataclass(frozen=True)
class Population:
    """Nuclei of one kind. Lengths in µm; concentrations in log10 optical density along a stain vector."""

    region: Region
    density: float  # nuclei per 100 µm² of the region
    diameter: float  # mean diameter of the circle of equal area
    spread: float  # sd of log diameter
    elongation: float  # mean ratio of the long to the short axis
    aligned: float  # sd of the orientation about the local direction, rad; large = free
    across: bool  # long axis along the normal of the epithelium's border (columnar) instead of along it
    irregularity: float  # amplitude of the Fourier contour
    haematoxylin: float  # mean concentration
    variation: float  # sd of log concentration between nuclei
    vesicular: float  # 0 solid … 1 pale centre with a dark rim
    clumps: float  # relative amplitude of the chromatin texture
    clump_size: float  # µm
    nucleoli: float  # mean count
    edge: float  # softness of the contour
    halo: float  # 0 … 1: pale gap around the nucleus
    hollow: float = HOLLOW  # 0 … 1: how pale a vesicular centre is


@dataclass(frozen=True)
class Style:
    """The parameters of one tile. Lengths in µm, concentrations in log10 optical density, colours in RGB."""

    populations: tuple[Population, ...]
    overlap: float  # largest part of a new nucleus that may cover earlier ones
    # tissue
    epithelium: float  # fraction of the tile
    nest: float  # length scale of the nests
    lumen: float  # depth at which a nest opens into a lumen; inf = solid
    gaps: float  # fraction of empty slide
    gap_size: float
    cleft: float  # width of the retraction gap around nests
    vacuoles: float  # fraction of the cytoplasm taken by small bubbles
    vacuole_size: float
    vacuole_depth: float  # 0 … 1: how empty they are
    clear: float  # 0 … 1: cytoplasm emptied towards the cell's middle
    membrane: float  # eosin at cell borders
    perinuclear: float  # haematoxylin and eosin that thicken around nuclei
    fibre: float  # relative amplitude of the collagen texture
    fibre_width: float
    grain: float  # relative amplitude of the cytoplasm's granularity
    grain_size: float
    red_cells: float  # expected count
    red_streaks: float  # fraction of stroma coloured by blood
    pigment: float  # expected count of granule clumps
    streaks: float  # haematoxylin of dark stromal streaks (negatives)
    debris: float  # expected count of unlabelled dark specks
    # stain
    stain_h: Vector
    stain_e: Vector
    eosin_epithelium: float
    eosin_stroma: float
    basophilia: float  # haematoxylin of the cytoplasm
    background_h: float  # haematoxylin of the stroma
    transparency: float  # part of the tissue's colour seen through a nucleus
    # slide and camera
    white: Vector  # 0 … 1
    shading: float
    blur: float  # µm
    defocus: float  # µm, in patches
    sharpen: float
    noise: float  # sd at full light, grey levels; falls with the root of the light
    gamma: float
    jpeg: int  # quality; 0 = none

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Style:
        """A random style; every call uses the generator, so equal states give equal styles."""
        kind = str(rng.choice(["nests", "glands", "sheet", "stroma", "lymphoid", "scattered"],
                          p=[0.27, 0.24, 0.2, 0.12, 0.07, 0.1]))  # fmt: skip
        strength = _log(rng, 0.6, 1.35)  # pale … dark sections
        monochrome = rng.random() < 0.06  # haematoxylin alone
        eosin = (0.08 if monochrome else 1.0) * _log(rng, 0.65, 1.4)
        gappy = rng.random() < 0.15
        covered: dict[str, float] = {
            "nests": rng.uniform(0.3, 0.8), "glands": rng.uniform(0.45, 0.85), "sheet": 1.0,
            "stroma": rng.uniform(0.0, 0.2), "lymphoid": rng.uniform(0.0, 0.3),
            "scattered": rng.uniform(0.2, 1.0),
        }  # fmt: skip
        stain_h, stain_e = _stains(rng)
        drawn = cls(
            populations=_populations(rng, kind, strength),
            overlap=float(rng.choice([0.0, 0.05, 0.12, 0.25])),
            epithelium=covered[kind],
            nest=_log(rng, 6, 22),
            lumen=rng.uniform(10, 20) if kind == "glands" else np.inf,
            gaps=rng.uniform(0.1, 0.4) if gappy or kind == "lymphoid" else _log(rng, 0.005, 0.08),
            gap_size=_log(rng, 1.5, 8),
            cleft=float(rng.choice([0.0, 0.0, rng.uniform(0.5, 2.5)])),
            vacuoles=float(rng.choice([0.0, rng.uniform(0, 0.15), rng.uniform(0, 0.35)])),
            vacuole_size=_log(rng, 0.4, 2.0),
            vacuole_depth=rng.uniform(0.3, 0.95),
            clear=float(rng.choice([0.0, rng.uniform(0, 0.4), rng.uniform(0.4, 1.0)], p=[0.5, 0.3, 0.2])),
            membrane=float(rng.choice([0.0, rng.uniform(0, 0.4)])) * strength,
            perinuclear=strength * rng.uniform(0.05, 0.5),
            fibre=rng.uniform(0.08, 0.4),
            fibre_width=_log(rng, 0.2, 0.7),
            grain=rng.uniform(0.08, 0.4),
            grain_size=_log(rng, 0.2, 1.0),
            red_cells=float(rng.choice([0.0, rng.uniform(0, 25)], p=[0.9, 0.1])),
            red_streaks=float(rng.choice([0.0, rng.uniform(0.05, 0.4)], p=[0.85, 0.15])),
            pigment=float(rng.choice([0.0, rng.uniform(0, 5)], p=[0.9, 0.1])),
            streaks=float(rng.choice([0.0, rng.uniform(0.1, 0.5)], p=[0.6, 0.4])),
            debris=float(rng.choice([0.0, rng.uniform(0, 15)])),
            stain_h=stain_h,
            stain_e=stain_e,
            eosin_epithelium=0.4 * strength * eosin * _log(rng, 0.6, 1.5),
            eosin_stroma=0.4 * strength * eosin * _log(rng, 0.6, 1.6),
            basophilia=strength * float(rng.choice([rng.uniform(0, 0.12), rng.uniform(0.1, 0.35)])),
            background_h=strength * rng.uniform(0.0, 0.12),
            transparency=rng.uniform(0.45, 1.1),
            white=_white(rng, monochrome),
            shading=rng.uniform(0, 0.06),
            blur=_log(rng, 0.08, 0.26),
            defocus=float(rng.choice([0.0, rng.uniform(0.15, 0.7)], p=[0.75, 0.25])),
            sharpen=float(rng.choice([0.0, rng.uniform(0, 0.7)])),
            noise=_log(rng, 0.5, 6),
            gamma=_log(rng, 0.8, 1.25),
            jpeg=0 if rng.random() < 0.2 else int(rng.integers(40, 96)),
        )  # fmt: skip
        own = rng.spawn(1)[0]  # leaves the other tiles as they were before there were cleared ones
        return _cleared(drawn, own) if own.random() < CLEARED else drawn


def _cleared(style: Style, rng: np.random.Generator) -> Style:
    """The style with nuclei that are paler inside than the cytoplasm around them, within a dark rim.

    Common in glandular tissue, prostate above all; a network that never saw them takes rim and clumps for the nucleus.
    """

    def cleared(population: Population) -> Population:
        return replace(
            population,
            vesicular=rng.uniform(0.8, 1.1),
            hollow=rng.uniform(0.75, 1.0),
            haematoxylin=population.haematoxylin * rng.uniform(0.9, 1.4),
            clumps=rng.uniform(0.1, 0.6),
        )

    large, spindle, *others = style.populations
    spindle = cleared(spindle) if rng.random() < 0.5 else spindle
    return replace(style, populations=(cleared(large), spindle, *others), transparency=rng.uniform(0.0, 0.45))


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _stains(rng: np.random.Generator) -> tuple[Vector, Vector]:
    """Unit optical-density vectors of haematoxylin and eosin: a mix of two published pairs, perturbed."""
    mix = rng.beta(0.8, 2.0)  # mostly Macenko's pair: scanned slides absorb more blue than Ruifrok's
    drawn = []
    for pair, sd in ((HAEMATOXYLIN, 0.07), (EOSIN, 0.07)):
        vector = np.maximum(mix * pair[0] + (1 - mix) * pair[1] + rng.normal(0, sd, 3), 0.02)
        drawn.append(vector / np.linalg.norm(vector))
    if rng.random() < 0.1:  # greyish, faded slides: both stains drift towards a bluish grey
        grey = rng.uniform(0.2, 0.7)
        drawn = [(1 - grey) * v + grey * np.array([0.63, 0.63, 0.45]) for v in drawn]
        drawn = [v / np.linalg.norm(v) for v in drawn]
    return _vector(drawn[0]), _vector(drawn[1])


def _vector(values: np.ndarray) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])


def _white(rng: np.random.Generator, monochrome: bool) -> Vector:
    """Colour of the empty slide: near white, or tinted."""
    tint = 0.03 if rng.random() < 0.85 and not monochrome else 0.08
    return _vector(np.clip(rng.uniform(0.86, 0.99) + rng.normal(0, tint, 3) * [1, 1.2, 0.7], 0.6, 1.0))


def _populations(rng: np.random.Generator, kind: str, strength: float) -> tuple[Population, ...]:
    """Epithelial, spindle and lymphoid nuclei in the proportions of the layout."""
    scale = _log(rng, 0.6, 1.45)  # of all nuclei of the tile
    dark = strength * _log(rng, 0.6, 1.3)
    crowd = _log(rng, 0.55, 2.2)
    vesicular = float(rng.choice([rng.uniform(0, 0.3), rng.uniform(0.4, 1.0)], p=[0.35, 0.65]))
    edge, halo = _log(rng, 0.08, 0.4), float(rng.choice([0.0, rng.uniform(0, 0.8)], p=[0.6, 0.4]))
    columnar = bool(rng.random() < 0.5)
    large = Population(
        region="rim" if kind == "glands" else "epithelium",
        density=crowd * {"glands": 1.6, "scattered": 0.3}.get(kind, 0.75) / scale**2,
        diameter=scale * rng.uniform(5.5, 8.5), spread=rng.uniform(0.08, 0.3),
        elongation=rng.uniform(1.05, 1.8), aligned=rng.uniform(0.15, 1.5), across=columnar,
        irregularity=rng.uniform(0.02, 0.15), haematoxylin=0.46 * dark, variation=rng.uniform(0.05, 0.35),
        vesicular=vesicular, clumps=rng.uniform(0.1, 0.45), clump_size=_log(rng, 0.2, 0.6),
        nucleoli=rng.uniform(0, 2), edge=edge, halo=halo,
    )  # fmt: skip
    spindle = Population(
        region="stroma",
        density=crowd * rng.uniform(0.15, 0.6) / scale**2 * (2.0 if kind == "stroma" else 1.0),
        diameter=scale * rng.uniform(4, 6.5), spread=rng.uniform(0.15, 0.35),
        elongation=rng.uniform(1.5, 3.5), aligned=rng.uniform(0.1, 0.6), across=False,
        irregularity=rng.uniform(0.05, 0.2), haematoxylin=0.52 * dark, variation=rng.uniform(0.1, 0.35),
        vesicular=vesicular * rng.uniform(0, 1), clumps=rng.uniform(0.1, 0.4),
        clump_size=_log(rng, 0.2, 0.5), nucleoli=rng.uniform(0, 0.7),
        edge=edge, halo=halo * rng.uniform(0, 1),
    )  # fmt: skip
    lymphoid = kind == "lymphoid"
    small = Population(
        region="anywhere" if lymphoid else "cluster",
        density=crowd * (2.2 if lymphoid else _log(rng, 0.05, 1.2)) / scale**2,
        diameter=scale * rng.uniform(4.2, 5.8), spread=rng.uniform(0.05, 0.2),
        elongation=rng.uniform(1.02, 1.35), aligned=3.0, across=False,
        irregularity=rng.uniform(0.02, 0.12), haematoxylin=0.7 * dark, variation=rng.uniform(0.05, 0.25),
        vesicular=rng.uniform(0, 0.25), clumps=rng.uniform(0.1, 0.4), clump_size=_log(rng, 0.25, 0.7),
        nucleoli=0.0, edge=edge, halo=halo * rng.uniform(0, 1),
    )  # fmt: skip
    return large, spindle, small
