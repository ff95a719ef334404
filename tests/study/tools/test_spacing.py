"""µm per pixel from what microscopes and ImageJ write into a TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from study.tools.spacing import from_tiff

PIXELS = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"resolution": (40_000, 40_000), "resolutionunit": 3}, 0.25),
        ({"resolution": (50_800, 50_800), "resolutionunit": 2}, 0.5),
        ({"resolution": (4, 4), "imagej": True, "metadata": {"unit": "micron"}}, 0.25),
        ({"resolution": (2, 2), "imagej": True, "metadata": {"unit": "um"}}, 0.5),
        ({"description": "Aperio Image Library|AppMag = 40|MPP = 0.2520|Left = 1", "metadata": None}, 0.252),
        ({"resolution": (72, 72), "resolutionunit": 2}, None),  # an editor's default
        ({"resolution": (40_000, 20_000), "resolutionunit": 3}, None),  # not square
        ({"resolution": (4, 4), "resolutionunit": 1}, None),  # no unit
        ({"resolution": (0, 0), "resolutionunit": 3}, None),
        ({}, None),
    ],
)
def test_spacing(tmp_path: Path, tags: dict[str, Any], spacing: float | None) -> None:
    tifffile.imwrite(tmp_path / "i.tif", PIXELS, photometric="rgb", **tags)
    found = from_tiff(tmp_path / "i.tif")
    assert found == (None if spacing is None else pytest.approx(spacing))


def test_other_files_say_nothing(tmp_path: Path) -> None:
    assert from_tiff(tmp_path / "i.png") is None
