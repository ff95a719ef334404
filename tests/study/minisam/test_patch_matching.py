"""Patch matching finds the same tissue under changed brightness, turned, and not where it is not."""

import numpy as np
import pytest

from allinsam_core.data.case import Case
from study.minisam import patch_matching as overlap
from study.simulation import simulate


def changed(case: Case, quarter: int) -> Case:
    """A darker, turned, cut-out copy."""
    part = np.rot90(case.image[21:237, 18:234], quarter)
    image = np.ascontiguousarray((part * 0.7 + 10).astype(np.uint8))
    return Case("copy", image, np.zeros(image.shape[:2], np.uint16), 0.25, "test")


@pytest.mark.parametrize("quarter", [0, 3])
def test_a_turned_and_darkened_copy_is_found(quarter: int) -> None:
    tiles = [simulate.tile(seed) for seed in (5, 6)]
    references = [(t.name, overlap.grey(t)) for t in tiles]
    match = overlap.closest(changed(tiles[1], quarter), references)
    assert match.reference == tiles[1].name
    assert match.same


def test_other_tissue_is_not_the_same() -> None:
    match = overlap.closest(simulate.tile(7), [("other", overlap.grey(simulate.tile(8)))])
    assert not match.same
    assert match.correlation < overlap.SAME


def test_a_square_has_eight_turns() -> None:
    square = np.arange(9.0).reshape(3, 3)
    assert len({t.tobytes() for t in map(np.ascontiguousarray, overlap.turned(square))}) == 8
