"""Odd files are converted by a stated rule or refused by name."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from skimage.io import imsave

from allinsam_core.data.errors import DataError, MissingData
from study.datasets.image import ConversionWarning, count_labels, read_array, read_labels, read_rgb

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
        (RGB.astype(np.uint16) * np.uint16(64), "16-bit pixels up to 16"),  # 14 bits
        (np.zeros((2, 40, 30), np.uint8), "2 pages of 40×30 px"),
        (np.zeros((40, 30, 2), np.uint8), "40 pages of 30×2 px"),
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
    with pytest.raises(DataError, match="1 empty strips of 10"):
        read_rgb(path)


COLOURS = np.stack(np.broadcast_arrays(np.arange(40)[:, None] * 6, np.arange(30) * 8, 90), axis=-1).astype(np.uint8)
"""A smooth picture, which JPEG and palettes hardly change."""
PALETTE = np.stack([np.linspace(0, 65535, 256), np.linspace(65535, 0, 256), np.full(256, 300 * 256)]).astype(np.uint16)
INDEXED = COLOURS[..., 0]


def shown(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConversionWarning)
        return read_rgb(path)


def difference(path: Path, wanted: np.ndarray) -> float:
    found = shown(path)
    assert found.shape == wanted.shape
    return float(np.abs(found.astype(int) - wanted).mean())


def test_a_tiff_in_other_colours_is_read_as_shown(tmp_path: Path) -> None:
    y = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
    Image.frombytes("YCbCr", (30, 40), y.tobytes()).save(tmp_path / "ycbcr.tif")
    assert difference(tmp_path / "ycbcr.tif", COLOURS) < 1.5
    tifffile.imwrite(tmp_path / "jpeg.tif", COLOURS, compression="jpeg", tile=(16, 16))
    assert difference(tmp_path / "jpeg.tif", COLOURS) < 3
    tifffile.imwrite(tmp_path / "planar.tif", np.moveaxis(COLOURS, 2, 0), photometric="rgb", planarconfig="separate")
    assert difference(tmp_path / "planar.tif", COLOURS) == 0
    tifffile.imwrite(tmp_path / "palette.tif", INDEXED, photometric="palette", colormap=PALETTE)
    wanted = np.moveaxis(PALETTE[:, INDEXED], 0, -1) >> 8
    assert difference(tmp_path / "palette.tif", wanted) == 0
    np.testing.assert_array_equal(read_array(tmp_path / "palette.tif"), INDEXED)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_is_inverted_to_be_shown_and_stored_to_be_counted(tmp_path: Path, dtype: Any) -> None:
    factor = np.iinfo(dtype).max // 255  # 1 or 257
    path = tif(tmp_path, INDEXED.astype(dtype) * dtype(factor), photometric="miniswhite")
    assert difference(path, np.repeat(255 - INDEXED[..., None], 3, axis=2)) == 0
    np.testing.assert_array_equal(read_array(path), INDEXED.astype(int) * factor)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_one_bit(tmp_path: Path, photometric: str) -> None:
    bits = INDEXED > 100
    path = tif(tmp_path, bits, photometric=photometric)
    wanted = np.where(bits if photometric == "minisblack" else ~bits, 255, 0)
    assert difference(path, np.repeat(wanted[..., None], 3, axis=2)) == 0
    Image.fromarray(bits).save(tmp_path / "bits.png")
    assert set(np.unique(shown(tmp_path / "bits.png"))) == {0, 255}


def retagged(path: Path, tag: int, value: object) -> Path:
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[tag].overwrite(value)  # type: ignore[union-attr]
    return path


@pytest.mark.parametrize("photometric", ["CIELAB", "SEPARATED", "ICCLAB", "LOGLUV", "CFA"])
def test_other_colours_are_named(tmp_path: Path, photometric: str) -> None:
    path = retagged(tif(tmp_path, COLOURS, photometric="rgb"), 262, int(tifffile.PHOTOMETRIC[photometric]))
    with pytest.raises(DataError, match=rf"case\.tif: PhotometricInterpretation is {photometric}"):
        read_rgb(path)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_is_named(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(COLOURS).convert("CMYK").save(tmp_path / f"print.{suffix}")
    with pytest.raises(DataError, match=r"CMYK|SEPARATED"):
        read_rgb(tmp_path / f"print.{suffix}")


def test_ycbcr_of_another_range_is_refused(tmp_path: Path) -> None:
    y = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
    for name, tags in (("range", {532: (16, 235, 128, 240, 128, 240)}), ("halved", {530: (2, 2)})):
        Image.frombytes("YCbCr", (30, 40), y.tobytes()).save(tmp_path / f"{name}.tif", tiffinfo=tags)
        with pytest.raises(DataError, match=r"YCBCR|subsampling"):
            read_rgb(tmp_path / f"{name}.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_viewers_turn_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    picture = Image.fromarray(RGB)
    picture.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as stored:
        wanted = np.asarray(ImageOps.exif_transpose(stored))
    path = tif(tmp_path, RGB, extratags=[(274, "H", 1, orientation, True)])
    for turned in (tmp_path / "turned.png", path):
        if orientation > 1:
            with pytest.warns(ConversionWarning, match=f"Orientation is {orientation}, turned"):
                np.testing.assert_array_equal(read_rgb(turned), wanted)
        else:
            np.testing.assert_array_equal(read_rgb(turned), wanted)


def test_one_page_of_several_is_read_only_if_it_is_clear_which(tmp_path: Path) -> None:
    path, small = tmp_path / "pages.tif", np.ascontiguousarray(RGB[::2, ::2])

    def write(*pages: tuple[np.ndarray, int]) -> None:
        with tifffile.TiffWriter(path) as file:
            for page, kind in pages:
                file.write(page, photometric="rgb", subfiletype=kind, metadata=None)

    write((small, 1), (RGB, 0))  # a reduced copy first
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_rgb(path), RGB)
    for pages in (((RGB, 0), (small, 0)), ((small, 0), (RGB, 0))):
        write(*pages)
        with pytest.warns(ConversionWarning, match=r"pages\.tif: 2 pages, the largest, 40×30 px, is read"):
            np.testing.assert_array_equal(read_rgb(path), RGB)
    for pages in (((RGB, 0), (RGB, 0)), ((small, 1), (RGB, 0), (RGB, 2))):
        write(*pages)
        with pytest.raises(DataError, match=r"pages\.tif: 2 pages of 40×30 px, expected one"):
            read_rgb(path)
    tifffile.imwrite(path, np.stack([RGB[..., 0]] * 5), imagej=True)
    with pytest.raises(DataError, match="5 pages"):
        read_rgb(path)


def test_animated_pictures_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(RGB[:20]), Image.fromarray(RGB[20:])]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"a\.gif: 2 frames, expected one image"):
        read_rgb(tmp_path / "a.gif")


def test_a_tiff_under_another_name_is_read(tmp_path: Path) -> None:
    tif(tmp_path, RGB).rename(tmp_path / "slide.svs")
    np.testing.assert_array_equal(read_rgb(tmp_path / "slide.svs"), RGB)


def test_sparse_tiles_are_named(tmp_path: Path) -> None:
    path = tif(tmp_path, RGB, tile=(16, 16))
    with tifffile.TiffFile(path, mode="r+b") as file:
        for tag in ("TileOffsets", "TileByteCounts"):
            entry = file.pages[0].tags[tag]  # type: ignore[union-attr]
            entry.overwrite([0, *entry.value[1:]])
    with pytest.raises(DataError, match=r"case\.tif: 1 empty tiles of 6: sparse"):
        read_rgb(path)


def test_too_large_pictures_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(RGB).save(tmp_path / "large.png")
    data = (tmp_path / "large.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", 14_000, 14_000) + data[24:29]  # a header that claims so many
    (tmp_path / "large.png").write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    with pytest.raises(DataError, match=r"large\.png: Image size \(196000000 pixels\), expected at most 179 Mpx"):
        read_rgb(tmp_path / "large.png")
    monkeypatch.setattr("study.datasets.image.MOST_PIXELS", 1000)
    with pytest.raises(DataError, match=r"case\.tif: Image size 40×30 px, expected at most 0 Mpx"):
        read_rgb(tif(tmp_path, RGB))


def test_16_bit_colour_pngs_keep_their_bits(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(RGB.astype(np.uint16) * np.uint16(257)))
    np.testing.assert_array_equal(shown(path), RGB)
    path.write_bytes(imagecodecs.png_encode(RGB.astype(np.uint16) * np.uint16(16)))  # 12 bits
    with pytest.raises(DataError, match="16-bit pixels up to"):
        read_rgb(path)


def test_alpha_does_not_decide_the_range_of_16_bits(tmp_path: Path) -> None:
    planes = np.dstack([RGB.astype(np.uint16), np.full((40, 30), 65535, np.uint16)])
    np.testing.assert_array_equal(shown(tif(tmp_path, planes, photometric="rgb")), RGB)


@pytest.mark.parametrize("mode", ["LA", "P", "L", "RGB"])
def test_transparent_pixels_are_refused_in_every_mode(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(COLOURS).convert(mode)
    if mode == "LA":
        picture.putalpha(Image.fromarray(INDEXED))
        picture.save(tmp_path / "a.png")
    else:
        first = picture.getpixel((0, 0))
        picture.save(tmp_path / "a.png", transparency=first)
    with pytest.raises(DataError, match="transparent"):
        read_rgb(tmp_path / "a.png")


def test_formats_beyond_the_list_are_not_opened(tmp_path: Path) -> None:
    """Pillow opens many, EPS by running another program."""
    Image.fromarray(RGB).save(tmp_path / "a.pcx")
    with pytest.raises(DataError, match=r"a\.pcx: cannot be decoded"):
        read_rgb(tmp_path / "a.pcx")
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match=r"a\.eps: cannot be decoded"):
        read_rgb(tmp_path / "a.eps")


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


def test_a_picture_from_a_phone_is_its_first_frame(tmp_path: Path) -> None:
    picture, depth = Image.fromarray(COLOURS), Image.fromarray(COLOURS[::2, ::2])
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[depth], quality=95)
    assert difference(tmp_path / "a.jpg", COLOURS) < 3
