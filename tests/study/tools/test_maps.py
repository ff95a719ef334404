"""Files in, arrays out unchanged; and arrays read as labels, masks or probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from study.tools import maps

NOWHERE = Path("map.png")
LABELS = np.kron(np.array([[0, 1, 0, 2], [3, 3, 0, 0], [0, 0, 4, 5]]), np.ones((5, 5), dtype=int))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".npy", ".TIF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_survive_reading(tmp_path: Path, suffix: str, dtype: type) -> None:
    values = (LABELS * (50 if dtype == np.uint8 else 13_000)).astype(dtype)
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        Image.fromarray(values).save(path)
    elif suffix == ".npy":
        np.save(path, values)
    else:
        tifffile.imwrite(path, values, compression="zlib")
    read = maps.read(path)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, values)


def test_wide_dtypes_and_one_bit(tmp_path: Path) -> None:
    for values in (LABELS.astype(np.uint32) * 800_000_000, (LABELS / 5).astype(np.float32)):
        tifffile.imwrite(tmp_path / "a.tif", values[None, ..., None])
        read = maps.read(tmp_path / "a.tif")
        assert read.dtype == values.dtype
        np.testing.assert_array_equal(read, values)
    Image.fromarray(LABELS > 0).save(tmp_path / "a.png")
    assert maps.read(tmp_path / "a.png").dtype == bool


def test_palette_and_grey_colours(tmp_path: Path) -> None:
    coloured = Image.fromarray(LABELS.astype(np.uint8))
    coloured.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 8, 7, 90, 80, 70])
    coloured.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(maps.read(tmp_path / "labels.png"), LABELS)

    grey = Image.fromarray(LABELS.astype(np.uint8))
    grey.putpalette([v for g in (0, 40, 80, 120, 160, 255) for v in (g, g, g)])
    grey.save(tmp_path / "grey.png")
    np.testing.assert_array_equal(np.unique(maps.read(tmp_path / "grey.png")), [0, 40, 80, 120, 160, 255])

    Image.fromarray(np.repeat(LABELS.astype(np.uint8)[..., None], 3, axis=2)).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(maps.read(tmp_path / "rgb.png"), LABELS)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    rgb = np.zeros((4, 4, 3), dtype=np.uint8)
    rgb[0, 0, 1] = 9
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    for name in ("broken.png", "broken.tif", "broken.npy", "a.jpg"):
        (tmp_path / name).write_bytes(b"not an image")
    for name, message in {
        "rgb.png": r"shape \(4, 4, 3\), expected one plane",
        "objects.npy": "cannot be read as .npy",
        "broken.png": "cannot be decoded",
        "broken.tif": "cannot be decoded",
        "broken.npy": "cannot be read as .npy",
        "a.jpg": "expected one of .png",
        "absent.png": "no such file",
    }.items():
        with pytest.raises(ValueError, match=message) as error:
            maps.read(tmp_path / name)
        assert name in str(error.value)


def blurred() -> np.ndarray:
    return gaussian_filter((LABELS > 0).astype(float), 2)


def test_reading_as_another_kind() -> None:
    assert maps.as_probability(np.array([[0, 51, 255]], np.uint8), NOWHERE) == pytest.approx(np.array([[0, 0.2, 1]]))
    assert maps.as_labels(np.array([[0.0, 7.0]]), NOWHERE).dtype == np.int64
    with pytest.raises(ValueError, match=r"map.png: uint16 up to 5, expected probabilities"):
        maps.as_probability(LABELS.astype(np.uint16), NOWHERE)
    with pytest.raises(ValueError, match=r"map.png: float32 from 0.0 to 9.0, expected probabilities from 0 to 1"):
        maps.as_probability(np.array([[0, 9]], np.float32), NOWHERE, one=1)
    with pytest.raises(ValueError, match=r"map.png: float64 with fractions"):
        maps.as_labels(blurred(), NOWHERE)
    with pytest.raises(ValueError, match=r"map.png: lowest label -1"):
        maps.as_labels(LABELS - 1, NOWHERE)


def test_a_mask_asked_for_is_cut_at_half_of_grey_levels_and_at_0_of_numbers() -> None:
    large = np.kron(LABELS, np.ones((6, 6), int))
    inside = large > 0
    for numbers in (large, large * 40, large > 0, np.where(inside, 200, 0), large % 2 + inside):
        np.testing.assert_array_equal(maps.as_mask(np.asarray(numbers), NOWHERE), inside)
    for top in (255, 100, 40):
        smooth = Image.fromarray((inside * top).astype(np.uint8)).resize((300, 360), Image.Resampling.BILINEAR)
        wanted = np.asarray(smooth) >= top / 2
        np.testing.assert_array_equal(maps.as_mask(np.asarray(smooth), NOWHERE), wanted)
    noisy = np.where(inside, 255, 0).astype(np.uint8)
    noisy[::3, ::4] = np.where(inside[::3, ::4], 254, 1)  # as a JPEG of high quality
    np.testing.assert_array_equal(maps.as_mask(noisy, NOWHERE), inside)


def test_components_do_not_join_over_corners() -> None:
    assert maps.components(np.eye(3, dtype=bool)).max() == 3
