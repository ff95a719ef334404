"""DeepLIIF's sample tiles: brightfield and fluorescence of one tissue (Ghahremani et al., Nat. Mach. Intell. 2022).

One PNG per tile, six square panels side by side, see PANELS. In the last one red nuclei are marker-positive, blue ones
negative, and a green line parts them. Apache-2.0 with the Commons Clause: read in place, never redistributed here.
The panels of a tile are not in register with each other: see `study.molecular.deepliif`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError, MissingData
from study.datasets.image import read_rgb
from study.root import dataset_folder

NAME = "deepliif"
PANELS = ("ihc", "haematoxylin", "dapi", "lap2", "ki67", "segmentation")
SPACING = 0.25  # µm/px, an assumption: the tiles do not say; nuclei of about 7 µm fit a nominal 40×
SMALLEST = 12  # px: smaller specks of the segmentation are no nuclei, as in the simulated truth
UNSURE = 64  # grey levels that a channel of the segmentation may lie away from 0 or 255


@dataclass(frozen=True, eq=False)
class Tile:
    """panels: name → (H, H, 3) uint8. instances: (H, H) uint16, labels 1 … n, 0 = background and outlines.

    positive: (n,) bool, whether label 1 … n is red.
    """

    name: str
    panels: Mapping[str, np.ndarray]
    instances: np.ndarray
    positive: np.ndarray

    def grey(self, panel: str) -> np.ndarray:
        """A fluorescence panel as (H, H) float32 grey levels: its brightest channel."""
        return self.panels[panel].max(axis=2).astype(np.float32)

    def case(self, image: np.ndarray) -> Case:
        """An image (H, H, 3) uint8 in the segmentation's frame, with the segmentation as its truth."""
        return Case(self.name, image, self.instances, SPACING, NAME, patient=self.name, split="test")


def load(root: Path) -> list[Tile]:
    """Every PNG of the folder or of its subfolder `deepliif`, sorted. Raises as `read` does, or finding none."""
    folder = dataset_folder(Path(root), NAME)
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise MissingData(
            f"{folder}: no *.png, expected DeepLIIF tiles; put Bladder1.png and Lung1.png of the sample data set in "
            "github.com/nadeemlab/DeepLIIF there"
        )
    return [read(path) for path in paths]


def read(path: Path) -> Tile:
    """One tile. Raises DataError for another layout, unclear colours, or a nucleus that is red and blue."""
    image = read_rgb(path)
    side, width = image.shape[:2]
    if width != len(PANELS) * side:
        raise DataError(
            f"{path}: {side} × {width} px, expected {len(PANELS)} square panels in a row ({', '.join(PANELS)})"
        )
    panels = dict(zip(PANELS, np.split(image, len(PANELS), axis=1), strict=True))
    red, green, blue = np.moveaxis(panels["segmentation"] > 127, 2, 0)
    levels = panels["segmentation"].astype(int)
    unclear = (np.minimum(levels, 255 - levels) > UNSURE).any(axis=2) | (red.astype(int) + green + blue > 1)
    if unclear.any():
        raise DataError(
            f"{path}: {np.count_nonzero(unclear)} pixels of the segmentation are not black, red, green or blue; "
            "use the publisher's PNG, neither compressed nor resized"
        )
    found, _ = ndimage.label(red | blue, np.ones((3, 3)))
    keep = np.bincount(found.ravel()) >= SMALLEST
    keep[0] = False
    instances = (np.cumsum(keep) * keep)[found].astype(np.uint16)
    if not instances.any():
        raise DataError(f"{path}: no red or blue nucleus in the segmentation, expected its last panel to show some")
    share = np.bincount(instances.ravel(), red.ravel())[1:] / np.bincount(instances.ravel())[1:]
    if mixed := np.flatnonzero((share > 0) & (share < 1)).tolist():
        raise DataError(f"{path}: nuclei {[m + 1 for m in mixed[:5]]} are red and blue, expected one colour each")
    return Tile(path.stem, panels, instances, share == 1)
