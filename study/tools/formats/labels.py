"""Label images of any size, written as a pyramidal OME-TIFF strip by strip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import tifffile

from allinsam_core.atomic import replacing
from study.tools.formats.nucleus import Nucleus

TILE = 512  # px, side of a tile of the file and height of a strip
SMALLEST = 1024  # px, longest side of the coarsest level

Within = Callable[[int, int], Iterable[Nucleus]]


def write_labels(path: Path, within: Within, shape: tuple[int, int], spacing: float) -> None:
    """An OME-TIFF of uint32 labels, 0 = background, each further level every second pixel of the one before.

    within: rows → the nuclei that may show in them, each wholly. shape: (H, W); spacing: µm per pixel.
    """
    levels = 0
    while max(shape) >> levels > SMALLEST:
        levels += 1
    options = {"tile": (TILE, TILE), "compression": "zlib", "dtype": np.uint32, "photometric": "minisblack"}
    with replacing(path) as file, tifffile.TiffWriter(file, bigtiff=True, ome=True) as out:
        for level in range(levels + 1):
            factor = 2**level
            size = -(-shape[0] // factor), -(-shape[1] // factor)
            physical = spacing * factor
            metadata = {"axes": "YX", "PhysicalSizeX": physical, "PhysicalSizeY": physical}
            metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
            out.write(
                _tiles(within, shape, factor),
                shape=size,
                subifds=levels if level == 0 else None,
                subfiletype=0 if level == 0 else 1,
                metadata=metadata if level == 0 else None,
                resolution=(10_000 / physical, 10_000 / physical),
                resolutionunit="CENTIMETER",
                **options,  # type: ignore[arg-type]
            )


def _tiles(within: Within, shape: tuple[int, int], factor: int) -> Iterator[np.ndarray]:
    """The tiles of one level in order, row by row, each (TILE, TILE) uint32."""
    width = -(-shape[1] // factor)
    across = -(-width // TILE)
    for top in range(0, -(-shape[0] // factor), TILE):
        strip = np.zeros((TILE, across * TILE), np.uint32)
        for nucleus in within(top * factor, min(shape[0], (top + TILE) * factor)):
            _paint(strip, nucleus, top, factor)
        for left in range(0, across * TILE, TILE):
            yield strip[:, left : left + TILE]


def _paint(strip: np.ndarray, nucleus: Nucleus, first: int, factor: int) -> None:
    """The pixels of a nucleus whose row and column are multiples of `factor`, in a strip that begins at row `first`."""
    skip = -nucleus.top % factor, -nucleus.left % factor
    mask = nucleus.mask[skip[0] :: factor, skip[1] :: factor]
    top, left = (nucleus.top + skip[0]) // factor - first, (nucleus.left + skip[1]) // factor
    start, stop = max(0, -top), min(len(mask), len(strip) - top)
    if start < stop and mask.size:
        part = mask[start:stop]
        strip[top + start : top + stop, left : left + mask.shape[1]][part] = nucleus.label
