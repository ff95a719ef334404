"""Touching nuclei part, a dented one does not; the foreground is what the threshold says."""

from __future__ import annotations

import numpy as np
import pytest

from allinsam_core.learning.instances import InstanceSettings, from_probability


def disc(centre: tuple[float, float], radius: float, size: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def test_two_touching_discs_part_where_they_touch() -> None:
    both = disc((32, 20), 10) | disc((32, 38), 10)
    labels = from_probability(both.astype(np.float32))
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) == {0, 1, 2}
    assert labels[32, 20] != labels[32, 38]
    left, right = (np.isin(labels, labels[32, x]) for x in (20, 38))
    assert (left & disc((32, 20), 10)).sum() / left.sum() > 0.95
    assert (right & disc((32, 38), 10)).sum() / right.sum() > 0.95
    assert np.array_equal(labels > 0, both)


def test_a_dented_disc_stays_one() -> None:
    dented = disc((32, 32), 14) & ~disc((16, 32), 5)
    assert from_probability(dented.astype(np.float32)).max() == 1


def test_depth_decides_how_deep_a_waist_must_be() -> None:
    both = (disc((32, 24), 10) | disc((32, 38), 10)).astype(np.float32)
    counts = [from_probability(both, InstanceSettings(depth=d)).max() for d in (0.5, 1.0, 6.0)]
    assert counts[0] == 2
    assert counts[-1] == 1


def test_the_foreground_is_kept_exactly_but_for_small_nuclei() -> None:
    rng = np.random.default_rng(0)
    from scipy.ndimage import gaussian_filter, label

    prob = gaussian_filter(rng.random((128, 128)), 2)
    prob = (prob - prob.min()) / (prob.max() - prob.min())
    everything = from_probability(prob, InstanceSettings(smallest=0))
    assert np.array_equal(everything > 0, prob >= 0.5)
    assert set(np.unique(everything)) == set(range(everything.max() + 1))
    # every label is one connected piece, and none crosses a gap
    for value in range(1, everything.max() + 1):
        assert label(everything == value, np.ones((3, 3)))[1] == 1
    some = from_probability(prob, InstanceSettings(smallest=30))
    sizes = np.bincount(everything.ravel())
    assert np.array_equal(some > 0, (everything > 0) & (sizes[everything] >= 30))
    assert np.bincount(some.ravel())[1:].min() >= 30
    assert set(np.unique(some)) == set(range(some.max() + 1))


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0), (0.49, 0), (0.5, 1), (1.0, 1)])
def test_flat_maps(value: float, expected: int) -> None:
    labels = from_probability(np.full((40, 40), value, np.float32))
    assert labels.shape == (40, 40)
    assert labels.max() == expected
    assert (labels > 0).all() == bool(expected)


def test_the_threshold_is_inclusive_and_moves_the_border() -> None:
    prob = np.zeros((40, 40), np.float32)
    prob[10:30, 10:30] = 0.5
    prob[14:26, 14:26] = 0.9
    assert (from_probability(prob) > 0).sum() == 400
    assert (from_probability(prob, InstanceSettings(foreground_threshold=0.6)) > 0).sum() == 144


def test_components_without_a_peak_of_their_own_are_kept() -> None:
    prob = np.zeros((40, 60), np.float32)
    prob[5:7, 5:35] = 1  # 2 px wide: too flat for a seed at depth 3
    prob[20:36, 20:36] = 1
    labels = from_probability(prob, InstanceSettings(depth=3.0))
    assert labels.max() == 2
    assert (labels[5:7, 5:35] > 0).all()
