"""Boxes around nuclei: (N, 4) float32, XYXY pixels, half-open ([x0, x1) × [y0, y1)), origin at the image's corner."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.ndimage import find_objects, label

BoxLaw = Literal["tight", "random", "components"]


def tight(instances: np.ndarray) -> np.ndarray:
    """The smallest box of every instance. instances: (H, W) integers ≥ 0, 0 = background.

    Returns (N, 4) float32, one row per label that is present, in increasing order of label.
    """
    found = [o for o in find_objects(instances.astype(np.int32, copy=False)) if o is not None]
    sides = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in found]
    return np.array(sides, dtype=np.float32).reshape(-1, 4)


def random(instances: np.ndarray, rng: np.random.Generator, spread: int = 10) -> np.ndarray:
    """Loose boxes: each side of the tight box shifted outwards by U{0, …, spread} px, independently, then clipped.

    Neither the paper nor the released code defines its "random" boxes. This law is ours; 10 px is the kernel size
    of the dilation that the released script leaves commented out. Rows as in `tight`.
    """
    if spread < 0:
        raise ValueError(f"spread is {spread}, expected a number of pixels ≥ 0")
    boxes = tight(instances)
    boxes = boxes + rng.integers(0, spread + 1, boxes.shape) * np.array([-1, -1, 1, 1])
    height, width = instances.shape
    return np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)


def component_labels(mask: np.ndarray) -> np.ndarray:
    """8-connected components with an area > 1 px, numbered from 1. mask: (H, W), nonzero = nucleus. Returns int32."""
    found, _ = label(mask != 0, np.ones((3, 3)))
    keep = np.bincount(found.ravel()) > 1
    keep[0] = False
    return (np.cumsum(keep) * keep)[found].astype(np.int32)


def components(mask: np.ndarray) -> np.ndarray:
    """Boxes as in the released script: touching nuclei of a binary mask share one. Rows as in `tight`."""
    return tight(component_labels(mask))


def validate(boxes: np.ndarray, shape: tuple[int, int], source: str) -> np.ndarray:
    """`boxes` as (N, 4) float32 if every one lies in an image of `shape` (H, W) px and has an area.

    source: what to name in the error, for instance the file. Raises ValueError naming the first wrong box
    (counted from 0), what was found and what was expected.
    """
    checked = np.asarray(boxes, dtype=np.float32)
    if checked.ndim != 2 or checked.shape[1] != 4:
        raise ValueError(f"{source}: boxes have shape {checked.shape}, expected (N, 4) as x0, y0, x1, y1")
    height, width = shape
    low, high = checked[:, :2], checked[:, 2:]
    faults = {
        "is not finite; expected four numbers": ~np.isfinite(checked).all(axis=1),
        "is inverted; expected x0 < x1 and y0 < y1 (is it width and height, not corners?)": (high < low).any(axis=1),
        "is empty; expected x0 < x1 and y0 < y1": (high == low).any(axis=1),
        f"leaves the image; expected 0 ≤ x ≤ {width} and 0 ≤ y ≤ {height} (another image, or not pixels?)": (
            (low < 0).any(axis=1) | (high > [width, height]).any(axis=1)
        ),
    }
    for fault, at in faults.items():
        if at.any():
            index = int(np.flatnonzero(at)[0])
            values = ", ".join(f"{v:g}" for v in checked[index])
            raise ValueError(f"{source}: box {index} of {len(checked)} [{values}] {fault}")
    return checked
