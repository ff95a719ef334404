"""Fluorescence rendered as H&E, and cases brought to one nucleus size."""

from __future__ import annotations

import numpy as np
import pytest

from allinsam_core.data.case import Case
from study.minisam import recolour


@pytest.fixture
def fluorescent() -> Case:
    """Four bright discs of radius 10 on black."""
    rows, columns = np.mgrid[:96, :128]
    labels = np.zeros((96, 128), np.uint16)
    for value, (row, column) in enumerate(((20, 20), (20, 90), (70, 30), (70, 100)), 1):
        labels[np.hypot(rows - row, columns - column) <= 10] = value
    image = np.repeat((10 + 150 * (labels > 0)).astype(np.uint8)[..., None], 3, axis=2)
    return Case("abcdef", image, labels, 0.5, "dsb2018", patient="p")


def test_nuclei_become_dark_and_blue_on_a_bright_ground(fluorescent: Case) -> None:
    for seed in range(5):
        stained = recolour.as_stained(fluorescent, seed)
        inside, outside = (stained.image[m].mean(axis=0) for m in (fluorescent.mask, ~fluorescent.mask))
        assert inside.mean() < outside.mean() - 30
        assert inside[2] > inside[0]  # haematoxylin leaves more blue than red
        assert outside.mean() > 130


def test_truth_and_shape_stay_and_the_name_says_what_it_is(fluorescent: Case) -> None:
    stained = recolour.as_stained(fluorescent, 3)
    assert stained.image.shape == fluorescent.image.shape
    assert np.array_equal(stained.instances, fluorescent.instances)
    assert (stained.name, stained.source, stained.patient) == ("abcdef-rendered-3", "dsb2018-rendered", "p")


def test_rendering_is_a_function_of_case_and_seed(fluorescent: Case) -> None:
    first = recolour.as_stained(fluorescent, 1)
    assert np.array_equal(first.image, recolour.as_stained(fluorescent, 1).image)
    assert not np.array_equal(first.image, recolour.as_stained(fluorescent, 2).image)


def test_a_black_image_is_rendered_without_nuclei() -> None:
    black = Case("black", np.zeros((40, 30, 3), np.uint8), np.zeros((40, 30), np.uint16), 0.5, "dsb2018")
    image = recolour.as_stained(black, 0).image
    assert image.shape == (40, 30, 3)
    assert image.mean() > 130


@pytest.mark.parametrize("diameter", [10.0, 20.0, 30.0])
def test_the_median_nucleus_gets_the_diameter(fluorescent: Case, diameter: float) -> None:
    scaled = recolour.at_nucleus_size(fluorescent, diameter)
    areas = np.bincount(scaled.instances.ravel())[1:]
    assert np.median(np.sqrt(4 * areas / np.pi)) == pytest.approx(diameter, rel=0.06)
    factor = diameter / np.sqrt(4 * np.median(np.bincount(fluorescent.instances.ravel())[1:]) / np.pi)
    assert scaled.spacing == pytest.approx(0.5 / factor)
    assert scaled.image.shape[:2] == pytest.approx((96 * factor, 128 * factor), abs=1)
    assert set(np.unique(scaled.instances)) == {0, 1, 2, 3, 4}


def test_the_scale_is_bounded_and_an_empty_case_stays(fluorescent: Case) -> None:
    assert recolour.at_nucleus_size(fluorescent, 500.0).image.shape == (240, 320, 3)  # 2.5 ×
    empty = Case("e", np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint16), 0.5, "dsb2018")
    assert recolour.at_nucleus_size(empty, 22.0) is empty
