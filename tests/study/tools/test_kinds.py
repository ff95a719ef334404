"""Mask, label map, class map or probability map: decided where one reading is possible, asked where two are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from study.tools import kinds
from study.tools.kinds import KINDS, common, recognise

NOWHERE = Path("map.png")


def field(count: int = 25, seed: int = 0) -> np.ndarray:
    """(120, 120) uint16: `count` discs of various sizes on a grid, numbered row by row; neighbours may touch."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(count**0.5))
    step = 120 / side
    rows, columns = np.mgrid[:120, :120]
    labels = np.zeros((120, 120), np.uint16)
    for number in range(count):
        y, x = (np.array(divmod(number, side)) + 0.5) * step + rng.uniform(-1, 1, 2)
        labels[(rows - y) ** 2 + (columns - x) ** 2 < (step * rng.uniform(0.3, 0.52)) ** 2] = number + 1
    return labels


LABELS = field()
MASK = LABELS > 0
CLASSES = np.array([0, *(1 + number % 3 for number in range(25))], np.uint8)[LABELS]


def soft(size: int = 84, top: int = 255) -> np.ndarray:
    """The mask, resized by a program that interpolates."""
    return np.asarray(Image.fromarray(MASK * np.uint8(top)).resize((size, size), Image.Resampling.BILINEAR))


def jpeg(values: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG")
    return np.asarray(Image.open(buffer))


def prob(sigma: float) -> np.ndarray:
    return gaussian_filter(MASK.astype(np.float32), sigma)


def kind(values: np.ndarray) -> str | None:
    return recognise(values, NOWHERE).kind


@pytest.mark.parametrize("value", [1, 128, 255, 7, 200])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_two_values_are_a_mask_whatever_their_type(value: int, dtype: Any) -> None:
    assert kind((MASK * value).astype(dtype)) == "binary"


@pytest.mark.parametrize(
    "values",
    [MASK, MASK * np.uint16(65535), MASK * np.uint32(2**32 - 1), np.zeros((9, 9), np.int64), np.ones((9, 9), bool)],
)
def test_further_masks(values: np.ndarray) -> None:
    assert kind(values) == "binary"


@pytest.mark.parametrize(
    "values",
    [
        LABELS,
        LABELS.astype(np.uint8),
        LABELS.astype(np.float64),
        LABELS.astype(np.int64) * 70_001,
        (LABELS * 10).astype(np.uint8),  # 8 bits with gaps
        np.array([0, 50, 120, 200, *[0] * 22], np.uint8)[LABELS],
        field(100),
        field(4),
        field(400).astype(np.uint32),
    ],
)
def test_one_region_per_value_is_a_label_map(values: np.ndarray) -> None:
    assert kind(values) == "labels"


def test_labels_in_two_parts_stay_labels_where_no_class_map_is_possible() -> None:
    labels = field(64)
    labels[:, 60:62] = 0  # parts a column of discs
    assert kind(labels) == "labels"


@pytest.mark.parametrize("values", [CLASSES, CLASSES.astype(np.float32), CLASSES.astype(np.int64) * 5])
def test_few_small_values_of_many_regions_are_classes(values: np.ndarray) -> None:
    assert kind(values) == "classes"


@pytest.mark.parametrize("sigma", [1, 2, 5])
def test_floats_and_grey_levels_are_probabilities(sigma: float) -> None:
    smooth = prob(sigma)
    assert kind(smooth) == "probability"
    assert kind(smooth.astype(np.float64) * 0.98 + 0.01) == "probability"  # never 0, as a sigmoid
    for top, dtype in ((255, np.uint8), (255, np.uint16), (65535, np.uint16), (65535, np.int32), (255, np.float32)):
        assert kind(np.rint(smooth / smooth.max() * top).astype(dtype)) == "probability"


@pytest.mark.parametrize("values", [soft(), soft(200), soft(70), jpeg(MASK * np.uint8(255))])
def test_resized_and_jpeg_masks_are_no_labels(values: np.ndarray) -> None:
    assert kind(values) == "probability"


def one_hill() -> np.ndarray:
    rows, columns = np.mgrid[-60:60, -60:60]
    return np.exp(-(rows**2 + columns**2) / 900)


def test_rings_of_one_smooth_hill_are_no_labels() -> None:
    hill = one_hill()
    assert kind(np.rint(255 * hill).astype(np.uint8)) == "probability"
    assert kind((np.rint(3 * hill) * 85).astype(np.uint8)) is None


UNDECIDED = {
    "classes that are spaced": CLASSES * np.uint8(60),
    "nucleus, border, background": np.where(MASK, np.where(prob(1) > 0.9, 255, 127), 0).astype(np.uint8),
    "few grey levels": (np.rint(4 * prob(2)) * 63).astype(np.uint8),
    "percent": np.rint(100 * prob(2)).astype(np.uint8),
    "16 bits up to 1000": np.rint(1000 * prob(2)).astype(np.uint16),
    "grey up to a third": np.rint(85 * prob(2)).astype(np.uint8),
    "labels divided by 255": (LABELS / 255).astype(np.float32),
    "labels divided by their number": LABELS / 25,
    "fractions beyond 1": prob(2) * 255,
    "interpolated labels": np.asarray(Image.fromarray(LABELS.astype(np.uint8)).resize((70, 70), 2)),
    "background is 1": CLASSES + 1,
    "mask of 128 and 255": np.where(MASK, 255, 128),
    "two nuclei or one in two parts": np.where((LABELS == 1) | (LABELS == 9), 7, 0),
    "a mask of a third": MASK * 0.3,
    "all 255": np.full((9, 9), 255, np.uint8),
}


@pytest.mark.parametrize("what", UNDECIDED)
def test_two_readings_stop_and_ask(what: str) -> None:
    finding = recognise(UNDECIDED[what], NOWHERE)
    assert finding.kind is None
    with pytest.raises(ValueError, match=r"map\.png: .* values .*; say which with --kind \(binary, labels"):
        common({NOWHERE: finding}, "--kind")


@pytest.mark.parametrize(
    "values", [LABELS.astype(int) - 1, MASK - 0.5, np.where(MASK, np.nan, 0), LABELS * 1j, np.array([["a"]])]
)
def test_values_of_no_kind(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"map\.png: .*expected"):
        recognise(values, NOWHERE)


def folder(*maps: np.ndarray) -> dict[Path, kinds.Finding]:
    return {Path(f"{name}.png"): recognise(values, Path(f"{name}.png")) for name, values in zip("abcde", maps)}  # noqa: B905


SQUARE = np.pad(np.ones((5, 5), np.uint8), 9)
EMPTY = np.zeros((9, 9), np.uint8)
TWO_PARTS = UNDECIDED["two nuclei or one in two parts"].astype(np.uint16)


@pytest.mark.parametrize(
    ("maps", "wanted"),
    [
        ((SQUARE, MASK), "binary"),
        ((EMPTY, EMPTY), "binary"),
        ((EMPTY, LABELS), "labels"),
        ((SQUARE, LABELS), "labels"),  # an image with one nucleus
        ((SQUARE * np.uint8(3), CLASSES), "classes"),  # an image with one class
        ((EMPTY, prob(2)), "probability"),
        ((UNDECIDED["grey up to a third"], np.rint(255 * prob(2)).astype(np.uint8)), "probability"),
        ((TWO_PARTS, LABELS), "labels"),
        ((TWO_PARTS, MASK), "binary"),
        ((field(4), CLASSES), "classes"),
    ],
)
def test_a_folder_has_one_kind(maps: tuple[np.ndarray, ...], wanted: str) -> None:
    assert common(folder(*maps), "--kind") == wanted
    assert common(folder(*maps[::-1]), "--kind") == wanted


@pytest.mark.parametrize("others", [LABELS, CLASSES, field(4), prob(2), soft()])
def test_masks_among_others_are_refused(others: np.ndarray) -> None:
    mask = MASK * np.uint8(200)
    for maps in ((mask, others), (others, mask)):
        with pytest.raises(ValueError, match=r"a\.png looks like a .*, b\.png like a .*; expected one kind .* --kind$"):
            common(folder(*maps), "--kind")


def test_an_empty_map_decides_nothing() -> None:
    with pytest.raises(ValueError, match=r"b\.png: .* could be a mask or a label map.*; say which"):
        common(folder(EMPTY, TWO_PARTS), "--kind")


def test_what_cannot_be_used_says_why() -> None:
    with pytest.raises(ValueError, match=r"a\.png: .* looks like a probability map or a resized or JPEG mask.*--truth"):
        common(folder(soft()), "--truth-kind", KINDS[:3])
