"""The simulated cohort: exact truth in the right places, injury that shows, markers that err, the paper's numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from study.molecular.patch import CELL_TYPES, MARKERS
from study.molecular.registration import haematoxylin
from study.simulation import glomerulus, glomerulus_anatomy, glomerulus_cells, glomerulus_stain

SIZE = 192


def style(injured=False, seed=0) -> glomerulus_stain.SlideStyle:
    return glomerulus_stain.SlideStyle.sample(np.random.default_rng(seed), injured)


@pytest.fixture(scope="module")
def normal():
    return [glomerulus.patch(seed, style(seed=seed), size=256) for seed in range(4)]


@pytest.fixture(scope="module")
def injured():
    return [glomerulus.patch(seed, style(True, seed=seed), size=256) for seed in range(4)]


@pytest.fixture(scope="module")
def grown():
    rng = np.random.default_rng(5)
    anatomy = glomerulus_anatomy.grow(256, 0.5, 0.1, rng)
    return anatomy, glomerulus_cells.populate(anatomy, 0.1, 1.0, rng)


def test_shapes_types_and_labels(normal):
    for patch in normal:
        assert patch.simulated
        assert patch.pas.shape == patch.molecular.shape == (256, 256, 3)
        assert patch.pas.dtype == patch.molecular.dtype == np.uint8
        count = len(patch.truth.kinds)
        assert set(np.unique(patch.truth.instances)) == set(range(count + 1))
        assert {"podocyte", "mesangial", "endothelial", "parietal", "tubular"} <= set(patch.truth.kinds)
        assert not patch.truth.displacement.any()
        for kind in CELL_TYPES:
            np.testing.assert_array_equal(patch.masks["truth"][kind], patch.truth.of(kind) > 0)


def test_equal_seeds_give_equal_patches():
    one, two, other = (glomerulus.patch(seed, style(), size=SIZE) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.pas, two.pas)
    np.testing.assert_array_equal(one.molecular, two.molecular)
    np.testing.assert_array_equal(one.truth.instances, two.truth.instances)
    assert (one.pas != other.pas).any()


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("podocyte", lambda a: (a.solid < 0) & (a.capsule > 0)),  # in the urinary space, outside loops and matrix
        ("mesangial", lambda a: (a.lumen < 0.6) & (a.solid > 0) & (a.capsule > 0)),  # in the matrix
        ("endothelial", lambda a: (a.lumen > -0.6) & (a.capsule > 0)),  # in a capillary
        ("parietal", lambda a: (a.capsule > 0) & (a.capsule < 4)),  # on the capsule
        ("tubular", lambda a: (a.tubule > 0) & (a.capsule < 0)),
        ("distal", lambda a: (a.tubule > 0) & (a.capsule < 0)),
        ("interstitial", lambda a: (a.tubule < 0.1) & (a.capsule < 0)),
    ],
)
def test_cells_lie_where_their_kind_lives(grown, kind, where):
    anatomy, cells = grown
    labels = [label for label, each in enumerate(cells.kinds, 1) if each == kind]
    assert labels
    own = np.isin(cells.labels, labels)
    assert where(anatomy)[own].mean() > 0.97


def test_kinds_follow_their_labels_when_some_vanish():
    labels = np.zeros((20, 30), np.int32)
    labels[2:8, 2:8], labels[2:5, 10:13], labels[10:16, 10:16] = 1, 2, 3  # label 2 has 9 px: too few for the truth
    cells = glomerulus_cells.Cells(labels, labels, labels, ("podocyte", "parietal", "mesangial"))
    instances, kinds = glomerulus._exact(cells)
    assert kinds == ("podocyte", "mesangial")
    assert instances[12, 12] == 2


def test_injury_loses_podocytes_and_widens_the_mesangium():
    def measured(severity):
        podocytes, mesangium = 0, 0.0
        for seed in range(6):
            rng = np.random.default_rng(seed)
            anatomy = glomerulus_anatomy.grow(256, 0.5, severity, rng)
            podocytes += glomerulus_cells.populate(anatomy, severity, 1.0, rng).kinds.count("podocyte")
            mesangium += float((anatomy.stalk > 0).sum() / (anatomy.tuft > 0).sum()) / 6
        return podocytes, mesangium

    (healthy, narrow), (sick, wide) = measured(0.0), measured(0.8)
    assert sick < 0.75 * healthy
    assert wide > 1.5 * narrow


def mean_marker(patch, marker, kind):
    labels = [label for label, each in enumerate(patch.truth.kinds, 1) if each == kind]
    return ndimage.mean(patch.channel(marker).astype(float), patch.truth.instances, labels)


def test_markers_tell_their_cells_apart_but_not_perfectly(normal, injured):
    missed, taken = [], []
    for patch in (*normal, *injured):
        for marker, kind in (("WT1", "podocyte"), ("GATA3", "mesangial")):
            missed += (mean_marker(patch, marker, kind) <= patch.thresholds[marker]).tolist()
            for other in ("endothelial", "parietal", *CELL_TYPES):
                if other != kind:
                    taken += (mean_marker(patch, marker, other) > patch.thresholds[marker]).tolist()
    assert 0.02 < np.mean(missed) < 0.3
    assert 0.02 < np.mean(taken) < 0.2


def test_injury_attenuates_the_markers(normal, injured):
    def relative(patches):
        return np.mean(
            [mean_marker(p, "WT1", "podocyte").mean() / mean_marker(p, "DAPI", "podocyte").mean() for p in patches]
        )

    assert relative(injured) < 0.85 * relative(normal)


def test_bleed_through_reaches_the_other_channel():
    rng = np.random.default_rng(0)
    anatomy = glomerulus_anatomy.grow(SIZE, 0.5, 0.0, rng)
    cells = glomerulus_cells.populate(anatomy, 0.0, 1.0, rng)
    own = np.isin(cells.labels, [label for label, kind in enumerate(cells.kinds, 1) if kind == "podocyte"])
    still = np.zeros((SIZE, SIZE, 2), np.float32)
    means = []
    for bleed in ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0)):
        slide = replace(style(), bleed=bleed, haze=0.0)
        image = glomerulus_stain.fluorescence(anatomy, cells, slide, still, np.random.default_rng(1))
        means.append(image[own].mean(axis=0))
    added, light = means[1] - means[0], means[0]
    assert added[0] == pytest.approx(0, abs=0.5)  # WT1 itself is untouched
    assert added[1] == pytest.approx(0.5 * (light[0] - means[0][1]), rel=0.25)  # half of WT1's light above background


def test_pas_is_magenta_in_the_matrix_and_blue_in_nuclei(normal):
    for patch in normal:
        pas = patch.pas.astype(float)
        nuclei = np.isin(patch.truth.instances, [i for i, k in enumerate(patch.truth.kinds, 1) if k == "mesangial"])
        assert haematoxylin(patch.pas)[nuclei].mean() > 2 * np.median(haematoxylin(patch.pas))
        matrix = patch.truth.glomerulus & (patch.truth.instances == 0)
        red, green, blue = (pas[matrix][:, channel].mean() for channel in range(3))
        assert green < red - 8
        assert green < blue - 8


def test_misregistration_is_the_truth_of_the_if():
    still = glomerulus.patch(7, style(), slide_seed=2, size=SIZE)
    moved = glomerulus.patch(7, style(), slide_seed=2, size=SIZE, misregistered=True)
    field = moved.truth.displacement
    np.testing.assert_array_equal(moved.pas, still.pas)
    np.testing.assert_array_equal(field, glomerulus.misregistration(2, SIZE))
    assert 0.5 < np.abs(field).max() < 20
    grid = np.indices((SIZE, SIZE)) + np.moveaxis(field, -1, 0)
    dapi = still.molecular[..., 2].astype(float)
    expected = ndimage.map_coordinates(dapi, grid, order=1, mode="nearest")
    found = moved.molecular[..., 2].astype(float)
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.9
    assert np.corrcoef(dapi.ravel(), found.ravel())[0, 1] < 0.9


def test_the_papers_cohort_without_making_it():
    cohort = glomerulus.cohort()
    assert len(cohort) == 1147 + 789
    assert len(cohort.slides) == 11
    assert sum(slide.injured for slide in cohort.slides) == 3
    for kind, total in (("podocyte", 1147), ("mesangial", 789)):
        assert sum(slide.patches[kind] for slide in cohort.slides) == total
        assert sum(1 for _, each, _ in cohort.entries if each == kind) == total
    splits = list(cohort.splits.values())
    assert [splits.count(split) for split in ("train", "val", "test")] == [6, 2, 3]
    assert len({slide.style.haematoxylin for slide in cohort.slides}) == 11


def test_cohort_patches_are_made_on_demand_and_belong_to_their_slide():
    cohort = glomerulus.cohort(4, 2, slides=2, injured=1, size=SIZE, seed=3)
    first, again, last = cohort[0], cohort[0], cohort[-1:][0]
    np.testing.assert_array_equal(first.pas, again.pas)
    assert (first.cell_type, last.cell_type) == ("podocyte", "mesangial")
    assert first.name == "S01_podocyte_0000"
    assert last.slide == "S02"
    assert first.injured != last.injured
    assert first.split == cohort.splits["S01"]
    assert set(first.thresholds) == set(MARKERS)


@pytest.mark.parametrize("wrong", [{"injured": 12}, {"slides": 0, "injured": 0}, {"podocyte": -1}])
def test_impossible_cohorts_are_refused(wrong):
    with pytest.raises(ValueError, match="expected at least 1 slide"):
        glomerulus.cohort(**wrong)


def test_too_small_a_window_is_refused():
    with pytest.raises(ValueError, match="at least 128"):
        glomerulus.patch(0, style(), size=100)
