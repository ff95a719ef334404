"""The corpus of mini2: cached tiles, shares, exposures, and what is held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from allinsam_core.data.case import Case
from allinsam_core.learning.augment import Batch
from study.minisam import corpus
from study.simulation import simulate


def test_tiles_are_made_once_and_are_the_simulators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "BLOCK", 2)
    tiles = corpus.simulated("tissue", 3, 40, 48, tmp_path)
    for number, tile in enumerate(tiles):
        own = simulate.tile(40 + number, size=48)
        assert np.array_equal(tile.image, own.image)
        assert np.array_equal(tile.instances, own.instances)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    monkeypatch.setattr(corpus, "_make_block", lambda *_: pytest.fail("made again"))
    assert len(corpus.simulated("tissue", 3, 40, 48, tmp_path)) == 3


def test_a_changed_simulator_does_not_meet_old_tiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = corpus.simulator_checksum()
    changed = tmp_path / "style.py"
    changed.write_text(Path(corpus.style.__file__).read_text() + "\n")
    monkeypatch.setattr(corpus.style, "__file__", str(changed))
    assert corpus.simulator_checksum() != before


def case(side: int) -> Case:
    return Case(f"c{side}", np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint16), 0.25, "test")


def test_added_cases_get_their_share_by_area() -> None:
    found = corpus.Corpus([case(8)], [3.0], []).with_share([case(10), case(20)], 0.25)
    assert found.weights == pytest.approx([0.75, 0.05, 0.2])
    assert [c.name for c in found.cases] == ["c8", "c10", "c20"]


def test_exposures_change_optical_densities_and_depend_on_seed_and_step_alone() -> None:
    batch = Batch(torch.full((64, 3, 2, 2), 0.5), torch.zeros(64, 2, 2, dtype=torch.int64), ("",) * 64)
    sample = corpus.toned(lambda step: batch, seed=1)
    first = sample(5).image
    assert torch.equal(first, sample(5).image)
    assert not torch.equal(first, sample(6).image)
    power = torch.log(first[:, :, 0, 0]) / np.log(0.5)
    assert power.min() >= 0.45 - 1e-5
    assert power.max() <= 2.2 + 1e-5
    left = (power == 1).all(1).float().mean()
    assert 0.15 < left < 0.45  # three in ten
    assert torch.equal(first[:, :, 0, 0], first[:, :, 1, 1])


def test_the_held_out_half_is_not_in_the_corpus(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.datasets import dsb2018, dsb2018_test

    few = dsb2018.load(data_root, ("stained-brightfield",))[:4]
    monkeypatch.setattr(corpus.dsb2018, "load", lambda root, kinds: few)
    monkeypatch.setattr(corpus, "BLOCK", 1)
    settings = corpus.CorpusSettings(tile=64, tissue=1, negatives=1, held_out_tissue=1, held_out_stained=2)
    found = corpus.gather(settings, data_root, tmp_path)
    names = {c.name for c in found.cases}
    assert names >= set(dsb2018_test.HALVES["train"])
    assert not {c.name for c in found.cases + found.held_out} & set(dsb2018_test.HALVES["held_out"])
    assert len(found.weights) == len(found.cases)
    assert sum(found.weights) == pytest.approx(sum(settings.shares.values()))
    with pytest.raises(ValueError, match=r"shares are of \['tissue'\], expected"):
        corpus.gather(settings.model_copy(update={"shares": {"tissue": 1.0}}), data_root, tmp_path)
