"""Where a slide shows tissue, so that glass is not segmented."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_closing, binary_dilation, gaussian_filter, label
from skimage.filters import threshold_otsu

from study.tools.slide import Slide

CELL = 16.0  # µm, side of a pixel of the tissue map
MARGIN = 3  # cells around tissue that count as tissue: a nucleus at its edge is not cut
SMALLEST = 9  # cells; smaller specks are dust
DENSITY = (0.04, 0.12)  # the least and the largest optical density (green) from which on a pixel is tissue
BLACK = 25  # grey level below which in all channels a pixel was not scanned


@dataclass(frozen=True, eq=False)
class Tissue:
    """mask: (h, w) bool. picture: (h, w, 3) uint8, the slide at that size. cell: pixels of level 0 per pixel."""

    mask: np.ndarray
    picture: np.ndarray
    cell: float

    def touches(self, top: float, left: float, height: float, width: float) -> bool:
        """Whether a region, in pixels of level 0, shows tissue."""
        rows = slice(int(top / self.cell), int(np.ceil((top + height) / self.cell)))
        columns = slice(int(left / self.cell), int(np.ceil((left + width) / self.cell)))
        return bool(self.mask[rows, columns].any())


def find(slide: Slide, spacing: float) -> Tissue:
    """The tissue of a slide at `spacing` µm per pixel of level 0.

    A pixel is tissue where its optical density in green exceeds Otsu's threshold of the slide, kept within `DENSITY`
    so that a slide without tissue has none and one without glass is all tissue. Small gaps are closed, specks dropped.
    """
    fine = [i for i, level in enumerate(slide.levels) if spacing * level.downsample <= CELL] or [0]
    level = slide.levels[fine[-1]]
    step = max(1, round(CELL / (spacing * level.downsample)))
    picture = slide.thumbnail(fine[-1], step)
    density = gaussian_filter(-np.log10((picture[..., 1].astype(np.float32) + 1) / 256), 1)
    scanned = picture.max(axis=2) >= BLACK
    spread = float(np.ptp(density))
    cut = np.clip(threshold_otsu(density[scanned]), *DENSITY) if spread > 1e-3 and scanned.any() else DENSITY[1]
    found = binary_closing(np.pad((density > cut) & scanned, MARGIN), iterations=2)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    parts, _ = label(found)
    large = np.bincount(parts.ravel()) >= min(SMALLEST, found.size)
    large[0] = False
    mask = binary_dilation(large[parts], iterations=MARGIN)
    return Tissue(mask, picture, level.downsample * step)
