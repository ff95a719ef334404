"""The simulator: exact truth, seeds, units. Nothing here is timed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2hed

from study.simulation import nuclei, simulate, style, tissue
from study.simulation.style import Style

SEEDS = range(12)


@pytest.fixture(scope="module")
def cases():
    return [simulate.tile(seed, size=160) for seed in SEEDS]


def plain_style() -> Style:
    """A style with many nuclei of the first population everywhere and a neutral camera."""
    drawn = Style.sample(np.random.default_rng(3))
    first = replace(drawn.populations[0], region="anywhere", density=1.5, diameter=6.0, spread=0.05, elongation=1.2)
    return replace(
        drawn, populations=(first,), gaps=0.0, epithelium=1.0, lumen=np.inf, overlap=0.0, cleft=0.0,
        white=(1.0, 1.0, 1.0), shading=0.0, blur=0.0, defocus=0.0, sharpen=0.0, noise=0.0, gamma=1.0, jpeg=0,
    )  # fmt: skip


def test_shape_type_and_fields():
    case = simulate.tile(5, size=96, spacing=0.5)
    assert case.image.shape == (96, 96, 3)
    assert case.image.dtype == np.uint8
    assert case.instances.shape == (96, 96)
    assert case.instances.dtype == np.uint16
    assert (case.name, case.source, case.organ, case.spacing) == (
        "simulated-5",
        "simulated",
        "simulated",
        0.5,
    )


def test_equal_seeds_give_equal_tiles_and_others_differ(cases):
    again = simulate.tile(4, size=160)
    np.testing.assert_array_equal(again.image, cases[4].image)
    np.testing.assert_array_equal(again.instances, cases[4].instances)
    assert len({hashlib.sha256(case.image.tobytes()).digest() for case in cases}) == len(cases)
    assert len({hashlib.sha256(case.instances.tobytes()).digest() for case in cases}) == len(cases)


def test_a_given_style_is_used():
    black = replace(Style.sample(np.random.default_rng(0)), white=(0.0, 0.0, 0.0), noise=0.0, jpeg=0)
    assert simulate.tile(0, size=64, style=black).image.max() == 0


def test_every_label_is_one_visible_piece(cases):
    assert sum(int(case.instances.max()) for case in cases) > 100
    for case in cases:
        count = int(case.instances.max())
        assert set(np.unique(case.instances)) - {0} == set(range(1, count + 1))
        for label in range(1, count + 1):
            _, pieces = ndimage.label(case.instances == label)
            assert pieces == 1
            assert (case.instances == label).sum() >= nuclei.SMALLEST == 12


def test_truth_drops_cut_off_pieces_and_closes_the_numbering():
    drawn = np.zeros((12, 20), int)
    drawn[0:10, 0:10] = 2  # a nucleus cut in two by nucleus 4: 100 - 30 px, the larger piece 50 px
    drawn[0:10, 5:8] = 4
    drawn[11, 0:11] = 3  # 11 px: one too few
    drawn[10:12, 12:18] = 7  # 12 px: just enough
    kept = nuclei.truth(drawn)
    expected = np.zeros((12, 20), np.uint16)
    expected[0:10, 0:5] = 1
    expected[0:10, 5:8] = 2
    expected[10:12, 12:18] = 3
    np.testing.assert_array_equal(kept, expected)
    assert kept.dtype == np.uint16


def test_a_later_nucleus_lies_on_top():
    population = plain_style().populations[0]
    ink, cover, halo = (np.zeros((20, 20), np.float32) for _ in range(3))
    made = nuclei.Nuclei(ink, cover, halo, np.zeros((20, 20), np.int32), np.zeros((0, 2)))
    for label, start in ((1, 2), (2, 8)):
        window, plane = slice(start, start + 10), np.zeros((10, 10))
        shape = nuclei.Shape(window, window, plane + 5.0, 5.0, plane, plane)
        nuclei.stamp(made, shape, population, np.zeros((20, 20)), label, 0.25, np.random.default_rng(0))
    expected = np.zeros((20, 20), int)
    expected[2:12, 2:12] = 1
    expected[8:18, 8:18] = 2
    np.testing.assert_array_equal(made.labels, expected)
    np.testing.assert_array_equal(made.cover > 0.5, expected > 0)  # every labelled pixel is drawn, and no other


def test_zero_overlap_leaves_every_nucleus_whole():
    style = plain_style()
    rng = np.random.default_rng(1)
    layout = tissue.lay(style, (200, 200), 0.25, rng)
    made = nuclei.grow(style, layout, rng)
    areas = np.bincount(made.labels.ravel())[1:]
    assert len(areas) == len(made.centres) > 15
    inner = [area for area, at in zip(areas, made.centres, strict=True) if at.min() > 20 and at.max() < 180]
    assert min(inner) > 0.5 * np.pi * (3.0 / 0.25) ** 2  # a covered disc of 6 µm would be smaller


def test_nuclei_hold_more_haematoxylin_than_their_surroundings(cases):
    difference = []
    for case in cases:
        haematoxylin = rgb2hed(case.image)[..., 0]
        near = ndimage.binary_dilation(case.mask, iterations=6) & ~ndimage.binary_dilation(case.mask, iterations=2)
        difference.append(haematoxylin[case.mask].mean() - haematoxylin[near].mean())
    assert np.mean(difference) > 0.02
    assert np.mean(np.array(difference) > 0) > 0.8


def test_cleared_nuclei_are_paler_inside_than_the_tissue_around_them(monkeypatch):
    def contrasts(share: float) -> list[float]:
        monkeypatch.setattr(style, "CLEARED", share)
        found = []
        for seed in range(12):
            case = simulate.tile(seed, size=128)
            depth = ndimage.distance_transform_edt(case.instances > 0)
            centre, around = depth > 5, ndimage.distance_transform_edt(depth == 0)
            if centre.any():
                light = case.image.mean(axis=2)
                found.append(np.percentile(light[centre], 75) - np.median(light[(around > 2) & (around < 8)]))
        return found

    solid, cleared = np.array(contrasts(0.0)), np.array(contrasts(1.0))
    assert np.median(cleared) > np.median(solid) + 20
    assert (solid > 0).mean() < 0.3 < (cleared > 0).mean()


def test_tiles_without_cleared_nuclei_are_as_if_there_were_none(monkeypatch):
    mixed = [simulate.tile(seed, size=64).image for seed in range(20)]
    monkeypatch.setattr(style, "CLEARED", 0.0)
    same = [np.array_equal(simulate.tile(seed, size=64).image, image) for seed, image in enumerate(mixed)]
    assert 0.4 < np.mean(same) < 0.95  # seven in ten


def test_nuclear_area_in_pixels_falls_with_the_square_of_the_spacing():
    areas = {}
    for spacing in (0.2, 0.4):
        tiles = [simulate.tile(seed, 256, spacing, plain_style()).instances for seed in range(4)]
        areas[spacing] = np.median(np.concatenate([np.bincount(t.ravel())[1:] for t in tiles]))
    assert areas[0.2] / areas[0.4] == pytest.approx(4, rel=0.15)
    assert areas[0.4] == pytest.approx(np.pi * (3.0 / 0.4) ** 2, rel=0.2)  # a disc of 6 µm


def test_nuclei_touch(cases):
    touching = 0
    for case in cases:
        left, right = case.instances[:, :-1], case.instances[:, 1:]
        touching += int(((left != right) & (left > 0) & (right > 0)).any())
    assert touching >= len(cases) // 2


def test_light_follows_beer_and_lambert():
    density = np.zeros((32, 32, 3), np.float32)
    density[..., 1], density[..., 2] = 0.5, 2.0
    image = simulate.photograph(plain_style(), density, 0.25, np.random.default_rng(0))
    assert np.unique(image.reshape(-1, 3), axis=0).tolist() == [[255, 81, 3]]  # 255 · 10^−(0, 0.5, 2), rounded


def test_stain_vectors_have_length_one_and_haematoxylin_absorbs_more_red():
    styles = [Style.sample(np.random.default_rng(seed)) for seed in range(50)]
    for drawn in styles:
        assert np.linalg.norm(drawn.stain_h) == pytest.approx(1)
        assert np.linalg.norm(drawn.stain_e) == pytest.approx(1)
    assert np.mean([style.stain_h[0] > style.stain_e[0] for style in styles]) > 0.9
    assert Style.sample(np.random.default_rng(7)) == Style.sample(np.random.default_rng(7))


@pytest.mark.parametrize("sigma", [0.6, 2.0, 9.0])
def test_noise_has_its_shape_and_scale(sigma):
    field = tissue.noise(np.random.default_rng(0), (301, 260), sigma)
    assert field.shape == (301, 260)
    assert field.std() == pytest.approx(1, abs=0.2)
    shift = max(1, round(sigma))  # white noise smoothed by sigma correlates as exp(−d² / 4σ²)
    correlation = np.corrcoef(field[:, shift:].ravel(), field[:, :-shift].ravel())[0, 1]
    assert correlation == pytest.approx(np.exp(-(shift**2) / (4 * sigma**2)), abs=0.12)


def test_cohort_keeps_splits_and_patients_apart():
    cases = simulate.cohort(train=2, val=1, test=2, size=48, seed=3)
    assert [case.split for case in cases] == ["train", "train", "val", "test", "test"]
    assert [case.name for case in cases] == [f"simulated-{seed}" for seed in range(3000, 3005)]
    assert len({case.patient for case in cases}) == 5
    np.testing.assert_array_equal(cases[2].image, simulate.tile(3002, 48).image)


@pytest.mark.parametrize(("size", "spacing"), [(16, 0.25), (64, 0.0), (64, 3.0)])
def test_impossible_requests_are_refused(size, spacing):
    with pytest.raises(ValueError, match="expected size"):
        simulate.tile(0, size=size, spacing=spacing)


def test_a_cohort_whose_seeds_would_overlap_the_next_is_refused():
    with pytest.raises(ValueError, match="1001 tiles"):
        simulate.cohort(train=1001, val=0, test=0, size=32)
