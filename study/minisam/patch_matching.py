"""Does an image of one data set show the same tissue as an image of another? Patch matching by correlation.

A patch of the one is slid over the other, turned and mirrored in all eight ways, at a quarter of the resolution; the
normalised cross-correlation (Lewis 1995) is 1 for the same pixels, whatever their brightness and contrast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from skimage.color import rgb2gray
from skimage.feature import match_template
from skimage.transform import downscale_local_mean

from allinsam_core.data.case import Case

PATCH = 192  # px of the full resolution
REDUCTION = 4
SAME = 0.8  # correlation above which two patches are taken for the same tissue


@dataclass(frozen=True)
class Match:
    """The closest place in any reference image to a patch of `image`; correlation in [−1, 1]."""

    image: str
    reference: str
    correlation: float

    @property
    def same(self) -> bool:
        return self.correlation >= SAME


def grey(case: Case) -> np.ndarray:
    """Luminance at a quarter of the resolution, float32."""
    return downscale_local_mean(rgb2gray(case.image).astype(np.float32), (REDUCTION, REDUCTION))


def richest_patch(luminance: np.ndarray, side: int) -> np.ndarray:
    """The side × side window, on a grid of half windows, whose luminance varies most."""
    step = max(1, side // 2)
    rows = range(0, max(1, luminance.shape[0] - side + 1), step)
    cols = range(0, max(1, luminance.shape[1] - side + 1), step)
    return max((luminance[r : r + side, c : c + side] for r in rows for c in cols), key=lambda p: float(p.std()))


def turned(patch: np.ndarray) -> Iterator[np.ndarray]:
    """The eight turns and mirror images of a square."""
    for quarter in range(4):
        yield np.rot90(patch, quarter)
        yield np.rot90(patch, quarter)[:, ::-1]


def closest(case: Case, references: Sequence[tuple[str, np.ndarray]]) -> Match:
    """Best match of the case's richest patch. references: name and luminance (see `grey`) of every image."""
    patch = richest_patch(grey(case), PATCH // REDUCTION)
    found = [
        (float(match_template(luminance, view).max()), name) for name, luminance in references for view in turned(patch)
    ]
    correlation, name = max(found)
    return Match(case.name, name, correlation)
