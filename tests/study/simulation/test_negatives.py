"""Simulated tissue that is taken for nuclei."""

from __future__ import annotations

import numpy as np
import pytest

from study.simulation import negatives
from study.simulation.style import Style


def test_equal_seeds_give_equal_tiles_and_kinds_differ() -> None:
    first, again = negatives.tile(5, size=64), negatives.tile(5, size=64)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.instances, again.instances)
    kinds = {negatives.tile(seed, size=48).name.split("-")[1] for seed in range(30)}
    assert kinds == set(negatives.KINDS)


@pytest.mark.parametrize("kind", negatives.KINDS)
def test_no_density_no_nuclei(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "FEW", (0.0,))
    monkeypatch.setattr(negatives, "KINDS", (kind,))
    tile = negatives.tile(3, size=96)
    assert tile.name == f"negative-{kind}-3"
    assert not tile.instances.any()
    if kind == "fat":
        assert tile.image.std() > 5  # walls are there to be mistaken


def test_fat_is_empty_inside_and_walled() -> None:
    rng = np.random.default_rng(0)
    empty, wall = negatives.adipocytes((300, 300), 0.25, rng)
    assert empty.min() >= 0
    assert empty.max() <= 1.001
    assert (empty > 0.9).mean() > 0.05
    assert wall[(empty > 0.05) & (empty < 0.5)].mean() > 5 * wall[empty > 0.9].mean()


def test_compositions_raise_what_they_name() -> None:
    rng = np.random.default_rng(1)
    style = Style.sample(rng)
    assert negatives.composed(style, "blood", rng).red_cells >= 20
    assert negatives.composed(style, "specks", rng).debris >= 20
    assert negatives.composed(style, "blank", rng).eosin_stroma == 0.02


def test_no_nucleus_lies_in_the_middle_of_a_fat_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(shape: tuple[int, int], spacing: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        empty = np.zeros(shape, np.float32)
        empty[:, : shape[1] // 2] = 1
        return empty, np.zeros(shape, np.float32)

    monkeypatch.setattr(negatives, "FEW", (1.0,))
    monkeypatch.setattr(negatives, "KINDS", ("fat",))
    monkeypatch.setattr(negatives, "adipocytes", half)
    tiles = [negatives.tile(seed, size=160) for seed in range(3)]
    assert not any(tile.instances[:, :30].any() for tile in tiles)
    assert all(tile.instances[:, 80:].any() for tile in tiles)
