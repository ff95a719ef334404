"""Which part of an image SAM is given for each box.

An image larger than the model's field is covered by overlapping square windows; a box is answered in the window in
which it is most central. The overlap only decides how many windows are embedded: a box that its window does not show
with context on all sides gets a window of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

CONTEXT = 0.1  # of the field: what must be visible around a box, except where the image ends


@dataclass(frozen=True, order=True)
class Window:
    """A part of an image in pixels; it may reach beyond the image, which is then continued by reflection."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8: the window's pixels. image: (H, W, 3) uint8."""
        rows, columns = image.shape[:2]
        inside = image[
            max(0, self.top) : min(rows, self.top + self.height),
            max(0, self.left) : min(columns, self.left + self.width),
        ]
        missing = [
            (max(0, -start), max(0, start + length - size))
            for start, length, size in ((self.top, self.height, rows), (self.left, self.width, columns))
        ]
        if any(map(any, missing)):
            inside = np.pad(inside, (*missing, (0, 0)), mode="reflect")
        return np.ascontiguousarray(inside)


def grid(shape: tuple[int, int], field: int | None, overlap: float = 0.5) -> list[Window]:
    """Square windows of `field` px that cover an image of `shape` (H, W), evenly spread, row by row.

    Neighbours overlap by at least `overlap` of the field. An image smaller than the field is centred in one window.
    field None: the whole image is one window, square or not.
    """
    if field is None:
        return [Window(0, 0, *shape)]
    if field < 1 or not 0 <= overlap < 1:
        raise ValueError(f"field is {field} px and overlap {overlap}; expected at least 1 px and 0 ≤ overlap < 1")
    tops, lefts = (_starts(length, field, overlap) for length in shape)
    return [Window(top, left, field, field) for top in tops for left in lefts]


def _starts(length: int, field: int, overlap: float) -> list[int]:
    slack = length - field
    if slack <= 0:
        return [slack // 2]
    count = math.ceil(slack / max(1, round(field * (1 - overlap)))) + 1
    return [round(s) for s in np.linspace(0, slack, count)]


def assign(boxes: np.ndarray, shape: tuple[int, int], field: int | None, overlap: float = 0.5) -> list[Window]:
    """The window in which each box is answered. boxes: (N, 4) float32 XYXY px inside an image of `shape` (H, W).

    The most central window of the grid, if it shows the box with `CONTEXT` around it. A box too large for that gets
    a square window of its own, centred on it: of the field's size or twice its longer side, whichever is larger,
    but not beyond the image's longer side.
    A box's window never depends on the other boxes.
    """
    windows = grid(shape, field, overlap)
    if field is None:
        return windows * len(boxes)
    place = np.array([(w.left, w.top, w.left + w.width, w.top + w.height) for w in windows], dtype=np.float64)
    chosen = []
    height, width = shape
    context = CONTEXT * field * np.array([-1, -1, 1, 1])
    for box in boxes.astype(np.float64):
        offset = (box[:2] + box[2:]) / 2 - (place[:, :2] + place[:, 2:]) / 2
        nearest = int(np.argmin((offset**2).sum(axis=1)))
        wanted = np.clip(box + context, 0, [width, height, width, height])
        fits = (wanted[:2] >= place[nearest, :2]).all() and (wanted[2:] <= place[nearest, 2:]).all()
        chosen.append(windows[nearest] if fits else _own(box, shape, field))
    return chosen


def _own(box: np.ndarray, shape: tuple[int, int], field: int) -> Window:
    """A square window around a large box."""
    side = max(field, min(math.ceil(2 * max(box[2] - box[0], box[3] - box[1])), max(shape)))
    x, y = (box[:2] + box[2:]) / 2
    top, left = (
        min(max(0, round(centre - side / 2)), length - side) if side <= length else (length - side) // 2
        for centre, length in ((y, shape[0]), (x, shape[1]))
    )
    return Window(top, left, side, side)
