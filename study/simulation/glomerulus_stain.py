"""The colours of a simulated glomerulus: PAS by optical densities, immunofluorescence by expression and optics."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from study.molecular.patch import HAEMATOXYLIN, MAGENTA, MARKERS, Marker
from study.simulation.glomerulus_anatomy import Anatomy
from study.simulation.glomerulus_cells import Cells
from study.simulation.simulate import photograph
from study.simulation.style import Style, Vector
from study.simulation.tissue import noise

# Mean nuclear expression, 1 = the marker's typical positive cell. WT1: podocytes, weak in some parietal cells.
# GATA3: mesangial cells, and outside the glomerulus the distal nephron and some fibroblasts (Grigorieva et al.,
# JASN 2019). The figures are assumptions.
EXPRESSION: dict[Marker, dict[str, float]] = {
    "WT1": {"podocyte": 1.0, "parietal": 0.3},
    "GATA3": {"mesangial": 1.0, "distal": 0.8, "interstitial": 0.2, "parietal": 0.06},
    "DAPI": dict.fromkeys(
        ("podocyte", "mesangial", "endothelial", "parietal", "tubular", "distal", "interstitial"), 1.0
    ),
}


@dataclass(frozen=True)
class SlideStyle:
    """What the patches of one slide share. Concentrations in log10 optical density, IF in grey levels 0 … 255.

    bleed: the part of each other channel that leaks into a marker (0: WT1 into GATA3, 1: GATA3 into WT1, 2: DAPI
    into both). spread: sd of log expression between cells. attenuation: factor on WT1 and GATA3.
    """

    camera: Style
    haematoxylin: Vector
    magenta: Vector
    strength_h: float
    strength_pas: float
    injured: bool
    severity: float
    gain: tuple[float, float, float]  # WT1, GATA3, DAPI: grey level of a typical positive nucleus
    background: tuple[float, float, float]
    bleed: tuple[float, float, float]
    spread: float
    attenuation: float
    haze: float  # part of the light that is out of focus
    thickness: float  # sd of log section thickness within a patch

    @classmethod
    def sample(cls, rng: np.random.Generator, injured: bool) -> SlideStyle:
        """A random slide. Equal generator states give equal slides."""
        camera = replace(
            Style.sample(rng), white=_near(rng, np.array([0.95, 0.945, 0.94]), 0.015), shading=rng.uniform(0, 0.04),
            blur=rng.uniform(0.18, 0.32), defocus=0.0, sharpen=rng.uniform(0, 0.5), noise=rng.uniform(1, 3),
            gamma=rng.uniform(0.93, 1.07), jpeg=int(rng.integers(75, 95)),
        )  # fmt: skip
        severity = float(rng.uniform(0.5, 0.9)) if injured else float(rng.uniform(0.0, 0.1))
        return cls(
            camera=camera,
            haematoxylin=_unit(_near(rng, np.array(HAEMATOXYLIN), 0.03)),
            magenta=_unit(_near(rng, np.array(MAGENTA), 0.03)),
            strength_h=float(rng.uniform(0.8, 1.35)),
            strength_pas=float(rng.uniform(0.75, 1.3)),
            injured=injured,
            severity=severity,
            gain=(float(rng.uniform(110, 170)), float(rng.uniform(100, 160)), float(rng.uniform(120, 180))),
            background=(float(rng.uniform(8, 22)), float(rng.uniform(8, 22)), float(rng.uniform(4, 12))),
            bleed=(float(rng.uniform(0.08, 0.26)), float(rng.uniform(0.08, 0.26)), float(rng.uniform(0.06, 0.16))),
            spread=float(rng.uniform(0.28, 0.38)) + 0.12 * severity,
            attenuation=1 - 0.45 * severity,
            haze=float(rng.uniform(0.1, 0.22)),
            thickness=float(rng.uniform(0.03, 0.1)),
        )

    def threshold(self, marker: Marker) -> float:
        """Grey level 0.18 of the way from this slide's negative nuclei to a typical positive one's full light.

        So low, because blur and weak expression dim the positive nuclei; it about maximises the F1 of mean marker
        over the nucleus against the truth.
        It stands in for the pathologist's optimal threshold per marker and slide (paper §4.1), which is not public.
        """
        at = MARKERS.index(marker)
        if marker == "DAPI":
            return self.background[at] + 0.35 * self.gain[at]
        leak = self.bleed[2] * self.gain[2] + 1.5 * self.background[at]
        return leak + 0.18 * self.gain[at] * self.attenuation


def _near(rng: np.random.Generator, vector: np.ndarray, sd: float) -> Vector:
    drawn = np.clip(vector + rng.normal(0, sd, 3), 0.02, 1.0)
    return float(drawn[0]), float(drawn[1]), float(drawn[2])


def _unit(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector[0] / length, vector[1] / length, vector[2] / length


def _band(depth: np.ndarray, width: float) -> np.ndarray:
    """A soft line of half-width `width` along depth 0."""
    return np.exp(-((depth / width) ** 2)).astype(np.float32)


def _inside(depth: np.ndarray, soft: float = 0.35) -> np.ndarray:
    return np.clip(0.5 + depth / (2 * soft), 0, 1).astype(np.float32)


def pas(anatomy: Anatomy, cells: Cells, slide: SlideStyle, rng: np.random.Generator) -> np.ndarray:
    """The PAS image (H, W, 3) uint8 RGB: Beer–Lambert on haematoxylin and magenta, then the slide's camera."""
    shape, spacing = anatomy.solid.shape, anatomy.spacing
    grain, cloud = noise(rng, shape, 0.7 / spacing), noise(rng, shape, 5 / spacing)
    schiff = _tuft(anatomy, slide.severity, grain, cloud, rng) + _surroundings(
        anatomy, slide.severity, grain, cloud, rng
    )
    blue = (
        0.035
        + 0.05 * np.maximum(_inside(anatomy.solid), _inside(anatomy.tuft - 3, 4))
        + 0.07 * _inside(anatomy.tubule) * (anatomy.tubule < anatomy.height)
    )
    blue = blue * (1 + 0.25 * cloud + 0.25 * grain) * np.minimum(schiff / 0.06, 1)
    body = ndimage.gaussian_filter(cells.cover, 1.6 / spacing)  # cytoplasm around nuclei, also into urinary space
    schiff, blue = schiff + 0.07 * body, blue + 0.05 * body
    thick = np.exp(slide.thickness * noise(rng, shape, 30 / spacing))
    schiff = schiff * (1 - 0.75 * cells.cover) * slide.strength_pas * thick
    blue = (np.maximum(blue, 0) * (1 - 0.5 * cells.cover) * slide.strength_h + 1.2 * cells.ink) * thick
    density = blue[..., None] * np.asarray(slide.haematoxylin, np.float32)
    density = density + np.maximum(schiff, 0)[..., None] * np.asarray(slide.magenta, np.float32)
    return photograph(slide.camera, density.astype(np.float32), spacing, rng)


def _tuft(
    anatomy: Anatomy, severity: float, grain: np.ndarray, cloud: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Magenta inside Bowman's capsule: matrix, basement membrane, walls between loops, red cells, podocyte feet."""
    shape, spacing = anatomy.solid.shape, anatomy.spacing
    within = _inside(anatomy.capsule)
    solid, lumen = _inside(anatomy.solid), _inside(anatomy.lumen)
    fibril = noise(rng, shape, 0.9 / spacing)
    matrix = (0.26 + 0.1 * severity) * (1 + 0.25 * fibril + 0.15 * cloud) * _inside(anatomy.stalk + 0.6, 0.9)
    wall = 0.13 * (1 + 0.2 * grain)
    amount = solid * (1 - lumen) * np.maximum(matrix, wall)
    patchy = np.clip(1 + 0.3 * noise(rng, shape, 2 / spacing), 0.3, 1.7)
    amount += (0.36 + 0.08 * severity) * patchy * _band(anatomy.solid - 0.1, 0.55 + 0.25 * severity)
    amount += 0.28 * patchy * _band(anatomy.septum, 0.5) * solid
    red = np.clip(0.6 + 1.2 * noise(rng, shape, 1.6 / spacing), 0, 1) * (anatomy.blood > 0.45) * anatomy.blood
    amount += lumen * (0.02 + 0.15 * red)
    feet = np.exp(-np.maximum(-anatomy.solid, 0) / 1.8) * (1 - solid) * np.clip(0.6 + 0.6 * fibril, 0, 1.5)
    bodies = 0.075 * _inside(anatomy.tuft - 3, 4) * (1 - solid) * np.clip(0.7 + 0.35 * cloud + 0.25 * fibril, 0.1, 1.6)
    return (amount + np.maximum(0.10 * feet, bodies) + 0.008) * within


def _surroundings(
    anatomy: Anatomy, severity: float, grain: np.ndarray, cloud: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Magenta outside: the capsule, tubules with basement membrane and brush border, interstitium."""
    shape, spacing = anatomy.solid.shape, anatomy.spacing
    outside = 1 - _inside(anatomy.capsule)
    rough = noise(rng, shape, 1.2 / spacing)
    tubule, above = _inside(anatomy.tubule), anatomy.height - anatomy.tubule + 0.7 * rough
    cytoplasm = np.where(anatomy.proximal, 0.15, 0.075) * (1 + 0.3 * grain + 0.25 * cloud + 0.15 * rough)
    epithelium = tubule * _inside(above, 0.6)
    amount = epithelium * cytoplasm
    brush = np.where(anatomy.proximal, 0.36, 0.05) * (1 + 0.35 * rough + 0.2 * grain)
    amount += tubule * np.clip(brush, 0, 1) * _band(above + 0.3, 1.3)
    amount += 0.38 * _band(anatomy.tubule, 0.6) * (1 + 0.2 * rough)
    loose = np.clip(0.05 + 0.045 * noise(rng, shape, 1.5 / spacing), 0, 1) * (1 - tubule)
    capsule = (0.42 + 0.1 * severity) * _band(anatomy.capsule, 0.75 + 0.6 * severity) * (1 + 0.15 * rough)
    return (amount + loose) * outside + capsule


def fluorescence(
    anatomy: Anatomy, cells: Cells, slide: SlideStyle, displacement: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The IF image (H, W, 3) uint8, channels MARKERS.

    Light of a nucleus = gain · expression; then bleed-through, autofluorescent background, out-of-focus haze, the
    displacement (H, W, 2) in pixels (the image at x shows the tissue at x + displacement), shot and read noise.
    """
    shape, spacing = anatomy.solid.shape, anatomy.spacing
    soft = ndimage.gaussian_filter(cells.cover, 0.3 / spacing)
    light = np.zeros((len(MARKERS), *shape), np.float32)
    for at, marker in enumerate(MARKERS):
        level = _expression(cells.kinds, marker, slide, rng)[cells.labels]
        texture = np.clip(1 + 0.18 * noise(rng, shape, 0.8 / spacing), 0.3, None)
        light[at] = slide.gain[at] * level * texture * np.where(cells.labels > 0, np.maximum(soft, 0.5), 0)
    wt1, gata3, dapi = light.copy()
    light[0] += slide.bleed[1] * gata3 + slide.bleed[2] * dapi
    light[1] += slide.bleed[0] * wt1 + slide.bleed[2] * dapi
    tissue = 0.35 + _inside(anatomy.tubule) * 0.9 + _inside(anatomy.solid) * 0.45
    tissue = tissue + 1.2 * _inside(anatomy.lumen) * (anatomy.blood > 0.45) * anatomy.blood
    tissue = tissue * np.clip(1 + 0.35 * noise(rng, shape, 4 / spacing), 0, None)
    drift = 1 + 0.2 * noise(rng, shape, 40 / spacing)  # uneven light and stain
    made = np.empty_like(light)
    grid = np.indices(shape, dtype=np.float32) + np.moveaxis(displacement, -1, 0)
    for at in range(len(MARKERS)):
        one = light[at] * np.clip(drift, 0.5, 1.5) + slide.background[at] * tissue
        one = (1 - slide.haze) * ndimage.gaussian_filter(one, 0.35 / spacing) + slide.haze * ndimage.gaussian_filter(
            one, 5 / spacing
        )
        if displacement.any():
            one = ndimage.map_coordinates(one, grid, order=1, mode="nearest")
        made[at] = one + rng.standard_normal(shape, dtype=np.float32) * np.sqrt(4 + 1.2 * np.maximum(one, 0))
    return np.clip(np.rint(np.moveaxis(made, 0, -1)), 0, 255).astype(np.uint8)


def _expression(kinds: tuple[str, ...], marker: Marker, slide: SlideStyle, rng: np.random.Generator) -> np.ndarray:
    """Expression by label (n + 1,) float32, 0 for the background: log-normal about the kind's mean."""
    mean = np.array([0.0, *(EXPRESSION[marker].get(kind, 0.0) for kind in kinds)])
    if marker == "DAPI":
        return (mean * np.exp(rng.normal(0, 0.2, len(mean)))).astype(np.float32)
    cell = np.exp(rng.normal(0, slide.spread, len(mean)))
    return (mean * cell * slide.attenuation).astype(np.float32)
