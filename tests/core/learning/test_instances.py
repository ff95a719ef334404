"""Touching nuclei part, a dented one does not; the foreground is what the threshold says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allinsam_core.learning.instances import InstanceSettings, from_probability, nuclei, targets


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


def maps_of(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre, boundary = targets(torch.from_numpy(labels.astype(np.int64))[None])[0].numpy()
    return centre, boundary


def test_distances_of_a_square_are_those_on_paper() -> None:
    labels = np.zeros((9, 9), int)
    labels[2:7, 2:7] = 4
    centre, boundary = maps_of(labels)
    assert boundary[4].tolist() == [1, 1, 1, 0.5, 0, 0.5, 1, 1, 1]  # depths 0 1 2 1 0 of at most 2
    assert boundary[3].tolist() == [1, 1, 1, 0.5, 0.5, 0.5, 1, 1, 1]
    edge = np.float32(2 / np.sqrt(8))  # two of the diagonal's 2·√2 px
    assert centre[4].tolist() == pytest.approx([1, 1, edge, edge / 2, 0, edge / 2, edge, 1, 1])
    assert centre[2, 2] == centre[6, 6] == 1


def test_touching_nuclei_have_distances_of_their_own() -> None:
    alone, both = np.zeros((12, 18), int), np.zeros((12, 18), int)
    alone[2:9, 2:9] = both[2:9, 2:9] = 1
    both[2:9, 9:16] = 7
    for one, two in zip(maps_of(alone), maps_of(both), strict=True):
        assert np.array_equal(one[:, :9], two[:, :9])
        assert np.array_equal(two[2:9, 2:9], two[2:9, 9:16])


def test_the_border_of_the_crop_is_no_boundary() -> None:
    labels = np.zeros((9, 9), int)
    labels[2:7, 0:3] = 1  # the right part of a nucleus that goes on to the left
    centre, boundary = maps_of(labels)
    assert boundary[4, :4].tolist() == [0, 0.5, 1, 1]  # deepest at the border: two pixels from three sides
    assert centre[4, 1] == 0  # the middle of what is seen
    assert np.array_equal(boundary[2, :3], [1, 1, 1])


def test_the_centre_of_a_nucleus_bent_round_its_centroid_is_its_deepest_pixel() -> None:
    labels = np.zeros((11, 11), int)
    labels[1:10, 1:10] = 1
    labels[3:8, 3:10] = 0  # a C: its centroid lies in the gap
    labels[4:7, 0:3] = 1  # thicker in the back
    centre, boundary = maps_of(labels)
    assert (centre == 0).sum() == 1
    assert boundary[centre == 0] == 0
    assert labels[centre == 0] == 1


@pytest.mark.parametrize(("value", "inside"), [(0, 1.0), (3, 0.0)])
def test_a_crop_of_one_kind_has_no_boundary(value: int, inside: float) -> None:
    centre, boundary = maps_of(np.full((16, 16), value))
    assert (boundary == inside).all()
    assert centre.max() == 1
    assert centre.min() == inside


def test_pieces_apart_count_apart_and_batches_item_by_item() -> None:
    labels = np.zeros((2, 12, 12), np.int64)
    labels[0, 1:4, 1:4] = labels[0, 7:10, 7:10] = 5
    labels[1, 2:9, 2:9] = 1
    maps = targets(torch.from_numpy(labels))
    assert maps.shape == (2, 2, 12, 12)
    assert maps.dtype == torch.float32
    assert (maps[0, 0] == 0).sum() == 2
    assert torch.equal(maps[1], targets(torch.from_numpy(labels[1:]))[0])
    assert 0 <= maps.min() <= maps.max() <= 1


def test_true_maps_give_the_nuclei_back() -> None:
    labels = np.zeros((64, 64), int)
    labels[disc((30, 20), 9)] = 1
    labels[disc((30, 37), 9) & (labels == 0)] = 2  # overlap by a pixel: one foreground
    labels[disc((50, 50), 6)] = 3
    labels[:4, 40:52] = 4  # at the border
    found = nuclei(np.stack([(labels > 0).astype(np.float32), *maps_of(labels)]))
    assert found.dtype == np.int32
    assert found.max() == 4
    assert np.array_equal(found > 0, labels > 0)
    for nucleus in (1, 2, 3, 4):
        own = found == np.bincount(found[labels == nucleus]).argmax()
        assert (own & (labels == nucleus)).sum() / (own | (labels == nucleus)).sum() > 0.9


@pytest.mark.parametrize("ridged", [0, 1, 2])
def test_a_ridge_in_any_map_parts_where_it_is_high_enough(ridged: int) -> None:
    maps = np.zeros((3, 32, 64), np.float32)
    maps[0] = 0.99
    maps[ridged, :, 24:40] += -0.3 if ridged == 0 else 0.3  # a third of it, 0.1, in the mean
    assert nuclei(maps, InstanceSettings(map_smooth=1)).max() == 2
    assert nuclei(maps, InstanceSettings(map_smooth=1, map_depth=0.09)).max() == 2
    assert nuclei(maps, InstanceSettings(map_smooth=1, map_depth=0.11)).max() == 1
    assert nuclei(maps, InstanceSettings(map_smooth=20)).max() == 1
    labels = nuclei(maps)
    assert (labels > 0).all()
    assert labels[16, 27] != labels[16, 36]  # the border lies on the ridge


def test_small_and_doubtful_nuclei_are_dropped() -> None:
    prob = np.zeros((40, 80), np.float32)
    prob[5:15, 5:15] = 0.95  # 100 px
    prob[5:12, 30:37] = 0.95  # 49 px
    prob[5:15, 50:60] = 0.8

    def counts(**settings: float) -> list[int]:
        s, half = InstanceSettings.model_validate(settings), np.full(prob.shape, 0.2)
        return [int(from_probability(prob, s, 0.25).max()), int(nuclei(np.stack([prob, half, half]), s, 0.25).max())]

    assert counts() == [3, 3]
    assert counts(smallest_area=3.0625) == [3, 3]  # 49 px of 0.0625 µm²
    assert counts(smallest_area=3.07) == [2, 2]
    assert counts(lowest_peak=0.9) == [2, 2]
    assert counts(lowest_peak=0.9, smallest_area=3.07) == [1, 1]
    with pytest.raises(ValueError, match="spacing"):
        from_probability(prob, InstanceSettings(smallest_area=3.0))


def test_settings_that_came_later_are_recorded_only_where_they_are_set() -> None:
    assert InstanceSettings().model_dump() == {"threshold": 0.5, "smooth": 1.0, "depth": 1.0, "smallest": 20}
    later = {"map_smooth": 3.0, "map_depth": 0.1, "smallest_area": 5.0, "lowest_peak": 0.9}
    assert InstanceSettings.model_validate(later).model_dump().items() >= later.items()


def test_one_map_is_parted_by_its_shape_and_three_by_distances() -> None:
    labels = np.zeros((32, 40), int)
    labels[8:24, 8:20], labels[8:24, 20:32] = 1, 2  # a rectangle to the one, two nuclei to the other
    maps = np.stack([(labels > 0).astype(np.float32), *maps_of(labels)])
    assert nuclei(maps[:1]).max() == 1
    assert nuclei(maps).max() == 2
    assert nuclei(maps, InstanceSettings(smallest_area=13), 0.25).max() == 0  # 12 µm² each
    with pytest.raises(ValueError, match="2 maps, expected 1"):
        nuclei(maps[:2])
