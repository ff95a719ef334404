"""A case whose colours say where every pixel comes from and to which nucleus it belongs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from allinsam_core.data.case import Case


@pytest.fixture
def coded() -> Callable[[int, int], Case]:
    """(height, width) → a case: red = 2 · row, green = 2 · column, blue = 60 · label; labels 1-3 in blocks of 10 px."""

    def make(height: int, width: int, name: str = "coded") -> Case:
        rows, columns = np.mgrid[:height, :width]
        labels = ((rows // 10 + 2 * (columns // 10)) % 4).astype(np.uint16)
        image = np.stack([2 * rows % 256, 2 * columns % 256, 60 * labels], axis=-1).astype(np.uint8)
        return Case(name=name, image=image, instances=labels, spacing=0.25, source="test")

    return make
