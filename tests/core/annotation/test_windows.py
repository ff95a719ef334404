"""Where SAM looks for each box: the windows cover the image and show every box, whatever the other boxes are."""

from __future__ import annotations

import numpy as np
import pytest

from allinsam_core.annotation.windows import CONTEXT, Window, assign, grid


def test_a_small_image_is_centred_in_one_window_and_continued_by_reflection() -> None:
    assert grid((6, 20), 10) == [Window(-2, left, 10, 10) for left in (0, 5, 10)]
    image = np.arange(6, dtype=np.uint8)[:, None, None].repeat(20, 1).repeat(3, 2)
    cut = grid((6, 20), 10)[0].cut(image)
    assert cut.shape == (10, 10, 3)
    assert cut[:, 0, 0].tolist() == [2, 1, 0, 1, 2, 3, 4, 5, 4, 3]


def test_even_one_pixel_fills_a_window() -> None:
    assert (Window(-3, -4, 8, 8).cut(np.full((1, 1, 3), 9, np.uint8)) == 9).all()


def test_windows_spread_evenly_and_overlap_by_half_at_least() -> None:
    windows = grid((150, 500), 150)
    assert [w.left for w in windows] == [0, 70, 140, 210, 280, 350]
    assert {(w.top, w.height, w.width) for w in windows} == {(0, 150, 150)}


def test_without_a_field_the_image_is_the_window() -> None:
    assert grid((30, 70), None) == [Window(0, 0, 30, 70)]
    assert assign(np.array([[0, 0, 1, 1]] * 2, np.float32), (30, 70), None) == [Window(0, 0, 30, 70)] * 2


@pytest.mark.parametrize("shape", [(400, 333), (90, 1000), (151, 149)])
def test_every_box_up_to_a_quarter_of_the_field_has_context(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    height, width = shape
    low = rng.uniform(0, [width - 37, height - 37], (200, 2))
    boxes = np.hstack([low, low + rng.uniform(1, 37, (200, 2))]).astype(np.float32)
    windows = assign(boxes, shape, 150)
    assert set(windows) <= set(grid(shape, 150))
    for (x0, y0, x1, y1), w in zip(boxes, windows, strict=True):
        margin = CONTEXT * 150
        assert w.left <= max(0, x0 - margin)
        assert w.top <= max(0, y0 - margin)
        assert w.left + w.width >= min(width, x1 + margin)
        assert w.top + w.height >= min(height, y1 + margin)


def test_the_most_central_window_is_chosen_alone_or_in_company() -> None:
    boxes = np.array([[200, 10, 220, 30], [280, 60, 300, 80]], np.float32)
    windows = assign(boxes, (150, 500), 150)
    assert [w.left for w in windows] == [140, 210]  # centres 210 and 290 nearest to 215 and 285
    assert [assign(b[None], (150, 500), 150)[0] for b in boxes] == windows


def test_a_box_too_large_for_the_field_gets_its_own_rescaled_window() -> None:
    (window,) = assign(np.array([[300, 300, 500, 400]], np.float32), (1000, 1000), 150)
    assert window == Window(150, 200, 400, 400)
    (medium,) = assign(np.array([[222, 300, 282, 340]], np.float32), (1000, 1000), 150)
    assert medium == Window(245, 177, 150, 150)  # no grid window shows its surroundings, the scale stays
    (corner,) = assign(np.array([[0, 0, 200, 100]], np.float32), (1000, 1000), 150)
    assert corner == Window(0, 0, 400, 400)
    (whole,) = assign(np.array([[0, 0, 1000, 600]], np.float32), (600, 1000), 150)
    assert whole == Window(-200, 0, 1000, 1000)


@pytest.mark.parametrize(("field", "overlap"), [(0, 0.5), (10, 1.0), (10, -0.1)])
def test_impossible_windows_are_refused(field: int, overlap: float) -> None:
    with pytest.raises(ValueError, match="expected at least 1 px and 0 ≤ overlap < 1"):
        grid((20, 20), field, overlap)
