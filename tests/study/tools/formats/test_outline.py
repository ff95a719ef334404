"""Outlines follow pixel edges: the way back to pixels is exact."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from study.tools.formats.outline import outline, outlines, rasterise


def test_a_rectangle_has_four_corners_at_pixel_edges() -> None:
    area = outline(np.ones((2, 3), bool), top=5, left=7)
    assert set(area.exterior.coords) == {(7, 5), (10, 5), (10, 7), (7, 7)}
    assert area.area == 6


def test_labels_in_order_with_gaps() -> None:
    labels = np.zeros((6, 6), np.uint16)
    labels[0, 0], labels[3:5, 3:5] = 9, 4
    assert list(outlines(labels)) == [4, 9]


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (6, 7), elements=st.booleans()))
def test_any_mask_comes_back_exactly(mask: np.ndarray) -> None:
    if not mask.any():
        return
    area = outline(mask, top=2, left=1)
    wanted = np.zeros((9, 9), bool)
    wanted[2:8, 1:8] = mask
    assert area.is_valid
    assert area.area == mask.sum()
    assert (rasterise(area, (9, 9)) == wanted).all()


def test_rasterising_outside_the_image_gives_nothing() -> None:
    assert not rasterise(outline(np.ones((2, 2), bool), top=20), (9, 9)).any()
