"""Stained sections pass; black, white, grey and negatives do not. Real images where they lie."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from study.datasets.image import read_rgb
from study.tools.brightfield import unfit

PINK, PURPLE, GLASS = (225, 150, 190), (90, 60, 130), (243, 243, 243)


def section(ground: tuple[int, int, int], nuclei: tuple[int, int, int] = PURPLE) -> np.ndarray:
    """A hundred dark squares, a quarter of the image."""
    image = np.empty((100, 100, 3), np.uint8)
    image[:] = ground
    for top in range(0, 100, 10):
        for left in range(0, 100, 10):
            image[top : top + 5, left : left + 5] = nuclei
    return image


@pytest.mark.parametrize("ground", [PINK, GLASS, (150, 100, 160)])
def test_sections_pass_and_their_negatives_do_not(ground: tuple[int, int, int]) -> None:
    assert unfit(section(ground)) == ""
    assert "negative" in unfit(255 - section(ground))


def test_each_refusal_gives_its_reason() -> None:
    for level in (0, 128, 255):
        assert f"one colour (about {level}, {level}, {level})" in unfit(np.full((20, 30, 3), level, np.uint8))
    assert "ground is dark (median grey level 12, expected 60" in unfit(section((12, 12, 12), (200, 200, 200)))
    assert "is green (mean red 130, green 160, blue 130)" in unfit(section((140, 170, 140), (100, 130, 100)))


def test_a_lone_nucleus_on_glass_passes() -> None:
    image = np.full((400, 400, 3), 250, np.uint8)
    image[100:106, 100:106] = PURPLE
    assert unfit(image) == ""
    large = np.full((2300, 2300, 3), 250, np.uint8)
    assert unfit(large) != ""
    large[1001, 1001] = PURPLE  # between the pixels that the colours are measured at
    assert unfit(large) == ""


@pytest.mark.parametrize(
    "pattern", ["monuseg/train/images/*.tif", "brca_m2c/images/*.webp", "dsb2018_test/images/*.png"]
)
def test_real_images_pass_and_their_negatives_do_not(data_root: Path, pattern: str) -> None:
    files = sorted(data_root.glob(pattern))[::3]
    if not files:
        pytest.skip(f"real data absent: {data_root / pattern}")
    for file in files:
        image = read_rgb(file) if file.suffix != ".webp" else imageio.imread(file)
        assert unfit(image) == "", file
        assert unfit(255 - image) != "", file
