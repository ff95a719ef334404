"""The ellipse inscribed in a box, as a mask prompt."""

from __future__ import annotations

import math

import pytest
import torch

from allinsam_core.annotation import ellipse


def test_area_extent_and_sign() -> None:
    found = ellipse.logits(torch.tensor([[16.0, 32, 80, 64]]), 128, 128)
    inside = found[0, 0] > 0
    assert int(inside.sum()) == pytest.approx(math.pi * 32 * 16, rel=0.01)
    rows, columns = inside.any(dim=1).nonzero().ravel(), inside.any(dim=0).nonzero().ravel()
    assert (int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])) == (32, 63, 16, 79)
    assert float(found.max()) == pytest.approx(6, abs=0.05)
    assert float(found.min()) == -6


def test_a_coarser_map_covers_the_same_input() -> None:
    found = ellipse.logits(torch.tensor([[0.0, 0, 256, 256], [128, 128, 256, 256]]), 256, 64)
    assert found.shape == (2, 1, 64, 64)
    assert int((found[1, 0, :32] > 0).sum()) == 0  # its box begins at row 128 of 256
    assert bool(found[0, 0, 32, 32] > 0)


def test_an_empty_box_has_an_empty_ellipse() -> None:
    assert not (ellipse.logits(torch.tensor([[9.0, 10, 9, 20]]), 64, 16) > 0).any()
