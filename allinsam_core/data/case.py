"""One annotated image: the unit that flows through the study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

Split = Literal["train", "val", "test"]
PLAUSIBLE_SPACING = (0.02, 10.0)  # µm per pixel: finer, no light microscope resolves; coarser, a nucleus is a pixel


@dataclass(frozen=True, eq=False)
class Case:
    """An image with its instance truth.

    image: (H, W, 3) uint8 RGB. instances: (H, W) uint16, 0 = background, one value per nucleus.
    spacing: µm per pixel. source: where it comes from ("monuseg", "dsb2018", "simulated", ...).
    classes: label → class of its nucleus; {} = all of one kind.
    """

    name: str
    image: np.ndarray
    instances: np.ndarray
    spacing: float
    source: str
    patient: str = ""
    organ: str = ""
    split: Split = "train"
    classes: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(f"{self.name}: image is {self.image.dtype} {self.image.shape}, expected uint8 (H, W, 3)")
        if self.instances.dtype != np.uint16 or self.instances.shape != self.image.shape[:2]:
            raise ValueError(
                f"{self.name}: instances are {self.instances.dtype} {self.instances.shape}, "
                f"expected uint16 {self.image.shape[:2]}"
            )

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: every nucleus pixel."""
        return self.instances > 0

    def of_class(self, name: str) -> Case:
        """The case with the nuclei of one class only; all of them where there are no classes."""
        if not self.classes:
            return self
        kept = np.isin(self.instances, [label for label, kind in self.classes.items() if kind == name])
        return replace(self, instances=np.where(kept, self.instances, 0).astype(np.uint16), classes={})

    def crop(self, top: int, left: int, size: int) -> Case:
        """The square window [top, top + size) × [left, left + size); labels keep their values."""
        height, width = self.instances.shape
        if not (0 <= top <= height - size and 0 <= left <= width - size):
            raise ValueError(f"{self.name}: a {size} px crop at ({top}, {left}) leaves the {height}×{width} image")
        rows, cols = slice(top, top + size), slice(left, left + size)
        return replace(
            self,
            name=f"{self.name}@{top},{left},{size}",
            image=self.image[rows, cols].copy(),
            instances=self.instances[rows, cols].copy(),
        )

    def middle(self, size: int) -> Case:
        """The central square, of `size` px or as large as the image allows."""
        height, width = self.instances.shape
        size = min(size, height, width)
        return self.crop((height - size) // 2, (width - size) // 2, size)

    def halved(self) -> Case:
        """The case at half the resolution: the mean colour of every 2 × 2 pixels, the label of their first.

        An odd last row or column is left out.
        """
        height, width = (side // 2 for side in self.instances.shape)
        image = self.image[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean((1, 3))
        labels = self.instances[: 2 * height : 2, : 2 * width : 2].copy()
        return replace(self, image=np.rint(image).astype(np.uint8), instances=labels, spacing=2 * self.spacing)
