"""Outlines of nuclei of which only points are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from allinsam_core.annotation import sam as sams
from allinsam_core.learning import instances
from study.datasets.brca_m2c import PointTile
from study.minisam import pointed
from study.minisam.pretrain import PromptableSam


def disc(shape: tuple[int, int], row: int, column: int, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, columns - column) <= radius


def test_points_part_what_touches_and_drop_what_has_none() -> None:
    truth = np.zeros((100, 160), np.uint16)
    truth[disc(truth.shape, 40, 40, 14)] = 1
    truth[disc(truth.shape, 40, 64, 14) & (truth == 0)] = 2
    truth[disc(truth.shape, 40, 130, 14)] = 3
    prob = np.where(truth > 0, 0.9, 0.1)
    boundary = instances.targets(torch.from_numpy(truth.astype(np.int64))[None])[0, 1].numpy()
    found = pointed.outline(prob, boundary, np.array([[38, 42], [66, 38], [20, 85]], np.float32))
    assert set(np.unique(found)) == {0, 1, 2, 3}
    for label in (1, 2):
        wanted = truth == label
        assert (wanted & (found == label)).sum() / (wanted | (found == label)).sum() > 0.9
    assert not found[truth == 3].any()  # no point, no nucleus
    assert np.array_equal(found == 3, disc(truth.shape, 85, 20, pointed.DISC))  # a point alone: a disc


def test_no_pixel_is_farther_than_the_reach_and_no_point_no_label() -> None:
    everything, flat = np.ones((120, 120)), np.zeros((120, 120))
    found = pointed.outline(everything, flat, np.array([[60, 60]], np.float32))
    whole = disc((120, 120), 60, 60, pointed.REACH)
    assert not (found[~whole]).any()
    assert found[whole].mean() > 0.99  # less what opening takes from the rim
    thin = np.where(np.arange(120) == 60, 0.9, 0.1) * np.ones((120, 1))  # a line of one pixel, gone when opened
    found = pointed.outline(thin, flat, np.array([[60, 60]], np.float32))
    assert np.array_equal(found == 1, disc((120, 120), 60, 60, pointed.DISC))
    assert not pointed.outline(everything, flat, np.zeros((0, 2), np.float32)).any()


def test_outlines_are_made_once(tmp_path: Path, tiny_sam: sams.Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 50, 3), dtype=np.uint8)
    tiles = [PointTile("a", image, np.array([[20, 30]], np.float32), np.array([1]))]
    model = PromptableSam(tiny_sam)
    (first,) = pointed.outlined(tiles, model, tmp_path / "outlines.npz")
    assert (first.image.shape, first.instances.shape, first.spacing) == ((120, 100, 3), (120, 100), 0.25)
    assert first.instances[60, 40] == 1
    monkeypatch.setattr(pointed, "promptless", lambda *_: pytest.fail("outlined again"))
    (again,) = pointed.outlined(tiles, model, tmp_path / "outlines.npz")
    assert np.array_equal(first.instances, again.instances)


def test_holes_are_filled_and_spurs_go() -> None:
    labels = np.zeros((60, 80), np.int32)
    labels[disc(labels.shape, 30, 30, 15)] = 2
    labels[28:31, 28:31] = 0  # a nucleolus that was left out
    labels[29, 45:70] = 2  # a spur
    labels[30, 20] = 5  # another nucleus, of one pixel, inside
    found = pointed.smoothed(labels)
    assert (found[28:31, 28:31] == 2).all()
    assert not found[29, 48:70].any()
    assert found[30, 20] == 5
