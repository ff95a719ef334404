"""Annotation errors: each kind by hand, the law by counting."""

from __future__ import annotations

import numpy as np
import pytest

from allinsam_core.data.case import Case
from study.simulation.corrupt import NoiseLaw, corrupt, plan


def only(kind: str, **sizes: tuple[float, float]) -> NoiseLaw:
    return NoiseLaw(**{**dict.fromkeys(("drop", "invent", "dilate", "erode", "shift"), 0.0), kind: 1.0, **sizes})


def square(low: int = 10, high: int = 15, size: int = 32) -> Case:
    """One 5 × 5 nucleus, 0.5 µm/px."""
    instances = np.zeros((size, size), np.uint16)
    instances[low:high, low:high] = 7
    return Case("square", np.zeros((size, size, 3), np.uint8), instances, 0.5, "made up")


def lattice(n: int = 30) -> Case:
    """n × n nuclei of 4 × 4 px, 12 px apart, 0.5 µm/px."""
    instances = np.zeros((12 * n, 12 * n), np.uint16)
    for i in range(n):
        for j in range(n):
            instances[12 * i + 4 : 12 * i + 8, 12 * j + 4 : 12 * j + 8] = n * i + j + 1
    return Case("lattice", np.zeros((*instances.shape, 3), np.uint8), instances, 0.5, "made up")


def test_no_noise_changes_nothing():
    case = lattice(3)
    noisy = corrupt(case, 0.0, seed=1)
    assert np.array_equal(noisy.instances, case.instances)
    assert noisy.name == "lattice~0"


def test_dropped():
    assert not corrupt(square(), 1.0, 0, only("drop")).instances.any()


def test_dilated_by_one_micrometre_is_two_pixels():
    noisy = corrupt(square(), 1.0, 0, only("dilate", contour=(1.0, 1.0))).instances
    # 5 × 5, plus 2 px on each side, plus at each corner the pixels within 2 px of it: (1, 1) alone
    assert (noisy == 7).sum() == 25 + 4 * 2 * 5 + 4 * 1
    assert (noisy[8:17, 12] == 7).all()
    assert noisy[7, 12] == noisy[17, 12] == 0


def test_eroded_by_half_a_micrometre_is_one_pixel():
    noisy = corrupt(square(), 1.0, 0, only("erode", contour=(0.5, 0.5))).instances
    assert np.array_equal(np.argwhere(noisy == 7), np.argwhere(square(11, 14).instances == 7))
    assert not corrupt(square(), 1.0, 0, only("erode", contour=(2.0, 2.0))).instances.any()


def test_shifted_by_the_declared_distance():
    for seed in range(5):
        noisy = corrupt(square(), 1.0, seed, only("shift", distance=(2.0, 2.0))).instances
        rows, cols = np.nonzero(noisy == 7)
        assert len(rows) == 25
        assert np.hypot(rows.mean() - 12, cols.mean() - 12) == pytest.approx(4, abs=0.75)  # 2 µm = 4 px, rounded


def test_shifted_at_the_border_is_cut_not_wrapped():
    noisy = [corrupt(square(0, 5), 1.0, s, only("shift", distance=(2.0, 2.0))).instances for s in range(10)]
    assert min((n == 7).sum() for n in noisy) < 25
    assert all(not n[10:].any() and not n[:, 10:].any() for n in noisy)


def test_invented_is_a_turned_copy_where_nothing_is():
    case = lattice(3)
    case.instances[4, 4] = 0  # nucleus 1 loses a corner: 15 px
    noisy = corrupt(case, 1.0, 3, only("invent")).instances
    old = case.instances > 0
    assert np.array_equal(noisy[old], case.instances[old])
    added = noisy[~old]
    labels, areas = np.unique(added[added > 0], return_counts=True)
    assert labels.tolist() == list(range(10, 10 + len(labels)))
    assert areas.max() == 16
    assert len(labels) >= 5  # nine were drawn; later ones may be covered by earlier ones


def test_invented_looks_for_a_place_that_is_wholly_free():
    for seed in range(10):  # four in five places of this small image touch the nucleus
        noisy = corrupt(square(4, 9, size=14), 1.0, seed, only("invent")).instances
        assert (noisy == 7).sum() == (noisy == 8).sum() == 25
    full = square(0, 14, size=14)
    assert np.array_equal(corrupt(full, 1.0, 0, only("invent")).instances, full.instances)


def test_nothing_is_painted_over_another_nucleus():
    instances = np.zeros((20, 20), np.uint16)
    instances[5:10, 5:10], instances[5:10, 10:15] = 1, 2
    case = Case("touching", np.zeros((20, 20, 3), np.uint8), instances, 0.25, "made up")
    noisy = corrupt(case, 1.0, 0, only("dilate", contour=(0.5, 0.5))).instances
    assert (noisy[5:10, 5:10] == 1).all()
    assert (noisy[5:10, 10:15] == 2).all()
    assert (noisy > 0).sum() > 50


def test_rate_and_shares_hold_on_average():
    errors = plan(lattice(), 0.3, seed=0)
    assert len(errors) == pytest.approx(270, abs=4 * np.sqrt(900 * 0.3 * 0.7))
    for kind, share in (("drop", 0.3), ("invent", 0.2), ("dilate", 0.2), ("erode", 0.1), ("shift", 0.2)):
        count = sum(e.kind == kind for e in errors)
        assert count == pytest.approx(270 * share, abs=4 * np.sqrt(270 * share)), kind
    sizes = [e.size * 0.5 for e in errors if e.kind == "shift"]  # px → µm
    assert min(sizes) >= 1
    assert max(sizes) <= 3


def test_a_higher_rate_adds_errors_and_keeps_the_others():
    few, many = plan(lattice(6), 0.2, seed=5), plan(lattice(6), 0.5, seed=5)
    assert set(few) < set(many)
    assert plan(lattice(6), 1.0, seed=5)[-1].label == 36
    assert len(plan(lattice(6), 1.0, seed=5)) == 36


def test_seeds():
    case = lattice(4)
    assert np.array_equal(corrupt(case, 0.5, 1).instances, corrupt(case, 0.5, 1).instances)
    assert not np.array_equal(corrupt(case, 0.5, 1).instances, corrupt(case, 0.5, 2).instances)


def test_the_case_given_is_left_alone():
    case = lattice(3)
    before = case.instances.copy()
    noisy = corrupt(case, 1.0, 0)
    assert np.array_equal(case.instances, before)
    assert noisy.instances.dtype == np.uint16
    assert (noisy.spacing, noisy.source, noisy.split) == (case.spacing, case.source, case.split)


def test_errors():
    with pytest.raises(ValueError, match=r"lattice: the noise rate is 1.2"):
        corrupt(lattice(2), 1.2, 0)
    with pytest.raises(ValueError, match="no kind of error"):
        plan(lattice(2), 0.5, 0, NoiseLaw(drop=0, invent=0, dilate=0, erode=0, shift=0))
