"""A case at half its resolution, by hand."""

from __future__ import annotations

import numpy as np

from allinsam_core.data.case import Case


def test_halving_averages_colours_and_samples_labels() -> None:
    image = np.zeros((5, 4, 3), np.uint8)
    image[:2, :2, 0] = [[10, 20], [30, 44]]  # mean 26
    image[4] = 255  # the odd row is left out
    labels = np.array([[1, 0, 0, 0], [0, 0, 0, 7], [0, 0, 300, 0], [0] * 4, [9] * 4], np.uint16)
    half = Case("case", image, labels, 0.25, "made up", patient="p").halved()
    assert half.image[..., 0].tolist() == [[26, 0], [0, 0]]
    assert half.image.dtype == np.uint8
    assert half.instances.tolist() == [[1, 0], [0, 300]]
    assert (half.instances.dtype, half.spacing, half.patient) == (np.uint16, 0.5, "p")
