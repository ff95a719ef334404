"""Odd files are converted by a stated rule or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.io import imsave

from allinsam_core.data.errors import DataError, MissingData
from allinsam_core.data.image import ConversionWarning, count_labels, read_labels, read_rgb

RGB = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def tif(folder: Path, array: np.ndarray, **options: object) -> Path:
    path = folder / "case.tif"
    tifffile.imwrite(path, array, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_plain_rgb_is_read_unchanged(tmp_path: Path, compression: str | None) -> None:
    np.testing.assert_array_equal(read_rgb(tif(tmp_path, RGB, compression=compression)), RGB)


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_16_bit_copies_of_8_bit_images_come_back_exactly(tmp_path: Path, factor: int) -> None:
    path = tif(tmp_path, RGB.astype(np.uint16) * np.uint16(factor), photometric="rgb")
    with pytest.warns(ConversionWarning, match=r"case\.tif: 16-bit"):
        np.testing.assert_array_equal(read_rgb(path), RGB)


def test_opaque_alpha_is_dropped_and_grey_repeated(tmp_path: Path) -> None:
    opaque = np.dstack([RGB, np.full((40, 30), 255, np.uint8)])
    with pytest.warns(ConversionWarning, match="alpha"):
        np.testing.assert_array_equal(read_rgb(tif(tmp_path, opaque, photometric="rgb")), RGB)
    with pytest.warns(ConversionWarning, match="grey"):
        np.testing.assert_array_equal(read_rgb(tif(tmp_path, RGB[..., 0])), np.dstack([RGB[..., 0]] * 3))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (RGB.astype(np.uint16) * np.uint16(16), "16-bit pixels up to"),
        (RGB.astype(np.float32), "float32"),
        (np.dstack([RGB, RGB[..., 0]]), "transparent"),
        (np.zeros((2, 40, 30), np.uint8), r"shape \(2, 40, 30\)"),
        (np.zeros((40, 30, 2), np.uint8), r"shape \(40, 30, 2\)"),
    ],
)
def test_what_cannot_be_converted_safely_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_rgb(tif(tmp_path, array, **({"photometric": "rgb"} if array.shape == RGB.shape else {})))
    assert "case.tif" in str(caught.value)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_tiff_is_refused(tmp_path: Path, compression: str | None, kept: float) -> None:
    path = tif(tmp_path, RGB, compression=compression, rowsperstrip=4)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataError, match=r"case\.tif"):
        read_rgb(path)


def test_a_tiff_with_a_lost_strip_is_refused_rather_than_filled(tmp_path: Path) -> None:
    path = tif(tmp_path, RGB, compression="zlib", rowsperstrip=4)
    with tifffile.TiffFile(path, mode="r+b") as file:
        counts = file.pages[0].tags["StripByteCounts"]
        counts.overwrite([0, *counts.value[1:]])
    with pytest.raises(DataError, match="1 empty strips"):
        read_rgb(path)


def test_a_truncated_png_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "case.png"
    imsave(path, RGB, check_contrast=False)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DataError, match=r"case\.png: cannot be decoded"):
        read_rgb(path)
    with pytest.raises(MissingData, match=r"none\.png"):
        read_rgb(tmp_path / "none.png")


def test_labels_keep_their_values_above_255(tmp_path: Path) -> None:
    labels = np.zeros((40, 30), np.uint16)
    labels[:3, :3], labels[9:, 9:] = 7, 1861
    path = tmp_path / "case.png"
    imsave(path, labels, check_contrast=False)
    found = read_labels(path, (40, 30))
    np.testing.assert_array_equal(found, labels)
    assert (found.dtype, count_labels(found)) == (np.uint16, 2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((30, 40), np.uint16), r"size \(30, 40\), expected \(40, 30\)"),
        (RGB, "one integer label per pixel"),
        (np.zeros((40, 30), np.float32), "one integer label per pixel"),
        (np.full((40, 30), 70000, np.uint32), "labels 70000 to 70000"),
        (np.full((40, 30), -1, np.int16), "labels -1 to -1"),
    ],
)
def test_unfit_labels_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_labels(tif(tmp_path, array), (40, 30))
    assert "case.tif" in str(caught.value)
