"""One nucleus at a time: what the writers of large results take, and what is measured of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import find_objects
from skimage.color import rgb2hed
from skimage.measure import regionprops

MEASURES = (
    "area_um2", "perimeter_um", "major_axis_um", "minor_axis_um", "eccentricity", "solidity",
    "density_haematoxylin", "density_eosin", "density_total",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Nucleus:
    """mask: (h, w) bool, its first pixel (top, left) of the image. label: > 0. kind: class, "" = none.

    confidence: in [0, 1]. measured: `MEASURES` by name; {} where nothing was measured.
    """

    label: int
    top: int
    left: int
    mask: np.ndarray
    kind: str = ""
    confidence: float = 1.0
    measured: dict[str, float] = field(default_factory=dict)


def from_labels(
    instances: np.ndarray,
    labels: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    confidence: Sequence[float] | None = None,
    image: np.ndarray | None = None,
    spacing: float = 1.0,
    corner: tuple[int, int] = (0, 0),
) -> Iterator[Nucleus]:
    """The nuclei of a label map (H, W), 0 = background, in order of `labels` (by default all present).

    classes, confidence: one for each label. image: (H, W, 3) uint8 of the same pixels; given, nuclei are measured,
    in µm by `spacing` µm per pixel and as optical densities of the stains. corner: of the map in a larger image.
    """
    places = find_objects(instances.astype(np.int32, copy=False))
    chosen = [n for n, place in enumerate(places, start=1) if place is not None] if labels is None else labels
    for index, value in enumerate(chosen):
        rows, columns = places[value - 1]
        mask = instances[rows, columns] == value
        measured = {} if image is None else measure(mask, image[rows, columns], spacing)
        yield Nucleus(
            int(value),
            corner[0] + rows.start,
            corner[1] + columns.start,
            mask,
            classes[index] if classes is not None else "",
            float(confidence[index]) if confidence is not None else 1.0,
            measured,
        )


def measure(mask: np.ndarray, pixels: np.ndarray, spacing: float) -> dict[str, float]:
    """Size, shape and stain of one nucleus. mask: (h, w) bool; pixels: (h, w, 3) uint8 RGB of the same place.

    Shape as skimage's `regionprops` has it. Optical densities are means over the nucleus: of haematoxylin and eosin
    after colour deconvolution (Ruifrok & Johnston 2001, skimage's matrix and units), and of all light, −log10 of the
    mean of the channels over 255.
    """
    shape = regionprops(mask.astype(np.uint8))[0]
    inside = pixels[mask]
    stains = rgb2hed(inside[None])[0]
    total = -np.log10(np.maximum(inside.mean(axis=1), 1) / 255)
    values = (
        shape.area * spacing**2, shape.perimeter * spacing, shape.axis_major_length * spacing,
        shape.axis_minor_length * spacing, shape.eccentricity, shape.solidity if min(mask.shape) > 2 else 1.0,
        stains[:, 0].mean(), stains[:, 1].mean(), total.mean(),
    )  # fmt: skip
    return dict(zip(MEASURES, map(float, values), strict=True))
