"""The demonstration returns what the losses saw, tile by tile."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allinsam_core.data.case import Case
from allinsam_core.refinement import mocl
from allinsam_core.refinement.corrective import CorrectiveSettings
from study.simulation.demonstration import REGIONS, Demonstration, Snapshot, demonstrate, regions, snapshot_of


@pytest.fixture(scope="module")
def shown():
    return demonstrate(CorrectiveSettings(warmup=0.5, k=20), at=(0, 2, 4), size=64, tiles=3)


def test_snapshots(shown):
    assert [s.step for s in shown.snapshots] == [0, 2, 4]
    assert [s.corrective for s in shown.snapshots] == [False, True, True]
    for snapshot in shown.snapshots:
        assert snapshot.confidence.shape == snapshot.similarity.shape == snapshot.omega.shape == (64, 64)
        assert snapshot.prototype.shape == (16,)
        rows, cols = snapshot.chosen.T
        assert len(snapshot.chosen) == 20
        assert shown.noisy.mask[rows, cols].all()
        others = shown.noisy.mask.copy()
        others[rows, cols] = False
        assert snapshot.confidence[rows, cols].min() >= snapshot.confidence[others].max()
    assert not np.array_equal(shown.snapshots[0].prototype, shown.snapshots[1].prototype)  # it learns


def test_it_is_reproducible(shown):
    again = demonstrate(CorrectiveSettings(warmup=0.5, k=20), at=(0, 2, 4), size=64, tiles=3)
    assert [s.loss for s in again.snapshots] == [s.loss for s in shown.snapshots]


def test_regions():
    image = np.zeros((2, 2, 3), np.uint8)
    truth = Case("t", image, np.array([[1, 1], [0, 0]], np.uint16), 0.25, "made up")
    noisy = Case("n", image, np.array([[1, 0], [2, 0]], np.uint16), 0.25, "made up")
    assert regions(truth, noisy).tolist() == [[0, 1], [2, 3]]


def test_means_by_region():
    maps = [np.array([[1, 2], [3, 4]], np.float32) * f for f in (1, 10, 100)]
    snapshot = Snapshot(0, False, 0.0, *maps, np.zeros(1), np.zeros((0, 2)))
    found = snapshot.mean_in(np.array([[0, 0], [2, 3]]))
    assert list(found) == list(REGIONS)
    assert found["cells"] == (1.5, 15, 150)
    assert np.isnan(found["missed"]).all()
    assert found["background"] == (4, 40, 400)


def test_a_snapshot_reports_the_corrective_weights_during_the_warmup():
    z, e, y = torch.randn(1, 1, 4, 4), torch.randn(1, 3, 4, 4), torch.eye(4)[None, None]
    snapshot = snapshot_of(CorrectiveSettings(variant="ours", warmup=0.5, noise=0.3), 1, 0.1, z, e, y)
    assert not snapshot.corrective
    assert np.array_equal(snapshot.omega, mocl.ours(z, e, y, noise=0.3)[1].omega[0, 0].numpy())
    assert snapshot.loss == pytest.approx(mocl.none(z, e, y)[0].item())
    assert sorted(snapshot.chosen.tolist()) == [[i, i] for i in range(4)]


def test_means_of_every_step_and_region():
    image, truth, noisy = np.zeros((1, 4, 3), np.uint8), np.array([[1, 1, 0, 0]]), np.array([[1, 0, 2, 0]])
    cases = [Case("tile", image, labels.astype(np.uint16), 0.25, "made up") for labels in (truth, noisy)]
    maps = np.array([[0.9, 0.5, 0.25, 0.1]], np.float32)  # cell, missed, invented, background
    snapshots = [Snapshot(at, at > 0, 1.0, maps, 1 - maps, 3 * maps, np.zeros(2), np.zeros((1, 2))) for at in (0, 10)]
    means = Demonstration(*cases, snapshots).means()
    assert means.loc[(10, "corrective", "invented")].to_dict() == pytest.approx({"W": 0.25, "S": 0.75, "ω": 0.75})
    assert means.loc[(0, "plain", "missed"), "W"] == 0.5
    assert len(means) == 8
