"""Image files as arrays: as a viewer shows them, or an error that names what stands in the way."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from tifffile import COMPRESSION, PHOTOMETRIC

from allinsam_core.data.errors import DataError, MissingData
from study.numbers import whole

FORMATS = ("PNG", "JPEG", "JPEG2000", "BMP", "GIF", "WEBP", "PPM")
MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "F", "P", "PA", "RGB", "RGBA")
MOST_PIXELS = 178_956_970  # Pillow's bound against pictures that unpack to more than fits into memory
_ORIENTATION = 274  # the same number in TIFF and in EXIF


class ConversionWarning(UserWarning):
    """A file was not in the expected form and was converted by a documented rule."""


def read_array(path: Path) -> np.ndarray:
    """The stored values of a file's one image, (H, W) or (H, W, C), of any dtype; of a palette image the numbers.

    A turned image (Orientation, in TIFF or EXIF) is turned as viewers do. Raises DataError for a damaged, unreadable,
    too large or incomplete file and for one with several images.
    """
    return _read(path, shown=False)


def read_rgb(path: Path) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB, as viewers show it.

    Read through a palette, from YCbCr, from TIFF's WhiteIsZero and separate planes. Converted with a ConversionWarning:
    an image that the Orientation tag turns; grey (H, W) or (H, W, 1), repeated three times; RGBA whose alpha is opaque
    everywhere, alpha dropped; 16-bit, kept when no value exceeds 255, divided by 256 when the upper half of the range
    is used. Everything else (float, transparent alpha, an unclear 16-bit range, CMYK, CIELAB) raises DataError.
    Colour profiles are not applied.
    """
    array = _read(path, shown=True)
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    if array.dtype == np.uint16:
        array = _from_16_bit(array, path)
    if array.dtype != np.uint8:
        raise DataError(f"{path}: pixels are {array.dtype}, expected uint8; convert the file to 8 bits per channel")
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        _warn(f"{path}: grey image {array.shape}, repeated into three channels")
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.ndim == 3 and array.shape[2] == 4:
        if array[..., 3].min() < 255:
            raise DataError(f"{path}: RGBA with transparent pixels, expected opaque RGB; flatten the image first")
        _warn(f"{path}: RGBA image, opaque alpha channel dropped")
        array = array[..., :3]
    if array.ndim != 3 or array.shape[2] != 3:
        raise DataError(f"{path}: array of shape {array.shape}, expected (height, width, 3); save it as one RGB image")
    return np.ascontiguousarray(array)


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF or BigTIFF, whatever its name."""
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def full_page(tiff: tifffile.TiffFile, path: Path) -> tifffile.TiffPage:
    """The page that holds the image: the largest, reduced copies and transparency masks (NewSubfileType) aside.

    Smaller pages that are not marked as such are named by a ConversionWarning; a second page as large is a DataError.
    """
    every: list[Any] = list(tiff.pages)
    pages = [page for page in every if not (page.is_reduced or page.is_mask)] or every
    areas = [page.imagewidth * page.imagelength for page in pages]
    page = pages[int(np.argmax(areas))]
    stack = whole((tiff.imagej_metadata or {}).get("images", 1)) if tiff.is_imagej else 1
    if (same := max(areas.count(max(areas)), stack)) > 1:
        raise DataError(
            f"{path}: {same} pages of {page.imagelength}×{page.imagewidth} px, expected one image; save the page that "
            "is meant as a file of its own"
        )
    if len(pages) > 1:
        _warn(f"{path}: {len(pages)} pages, the largest, {page.imagelength}×{page.imagewidth} px, is read")
    return page


def _read(path: Path, shown: bool) -> np.ndarray:
    if not path.is_file():
        raise MissingData(f"{path}: no such file")
    try:
        return _read_tiff(path, shown) if is_tiff(path) else _read_picture(path, shown)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        found = str(error).partition(" exceeds")[0]
        raise DataError(f"{path}: {found}, expected at most {MOST_PIXELS / 1e6:.0f} Mpx; cut it into tiles") from None
    except Exception as error:  # decoders raise many types for a damaged file; all mean the same here
        raise DataError(f"{path}: cannot be decoded ({error}); damaged or incomplete, fetch it again") from error


def _read_picture(path: Path, shown: bool) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # beyond half of the bound
        image: Image.Image = Image.open(path, formats=FORMATS)
    with image:
        if image.mode not in MODES:
            raise DataError(f"{path}: colours are {image.mode}, expected RGB or grey; convert the file to RGB")
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            raise DataError(f"{path}: {image.n_frames} frames, expected one image; save the one that is meant")  # type: ignore[attr-defined]
        turn = image.getexif().get(_ORIENTATION, 1)
        with path.open("rb") as file:
            header = file.read(26)
        if header[12:16] == b"IHDR" and header[24] == 16 and header[25] > 0:  # Pillow drops eight of the sixteen bits
            from imagecodecs import png_decode  # here, as few files need it

            return _turned(png_decode(path.read_bytes()), turn, path)
        clear = image.mode in ("LA", "PA") or ("transparency" in image.info and image.mode in ("1", "L", "P", "RGB"))
        if shown and (clear or image.mode == "P"):
            return _turned(np.asarray(image.convert("RGBA" if clear else "RGB")), turn, path)
        return _turned(np.asarray(image), turn, path)


def _read_tiff(path: Path, shown: bool) -> np.ndarray:
    with tifffile.TiffFile(path) as tiff:
        page = full_page(tiff, path)
        if page.size > 4 * MOST_PIXELS or page.imagewidth * page.imagelength > MOST_PIXELS:
            raise Image.DecompressionBombError(f"Image size {page.imagelength}×{page.imagewidth} px")
        _refuse_incomplete(page, path)
        array = page.asarray()
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            array = np.moveaxis(array, 0, -1)
        if shown:
            array = _shown(array, page, path)
        return _turned(array, page.tags.valueof(_ORIENTATION, 1), path)


def _refuse_incomplete(page: tifffile.TiffPage, path: Path) -> None:
    """A decoder may fill lost strips with zeros; the strip table knows better."""
    parts = "tiles" if page.is_tiled else "strips"
    size = path.stat().st_size
    needed = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
    lost = sum(n == 0 for n in page.databytecounts) + max(0, math.prod(page.chunked) - len(page.dataoffsets))
    if needed > size:
        raise DataError(f"{path}: {size} bytes, expected at least {needed}; the file is truncated, fetch it again")
    if lost:
        raise DataError(
            f"{path}: {lost} empty {parts} of {math.prod(page.chunked)}: sparse or truncated; fetch it again, or let "
            "the program that wrote it fill the empty ones"
        )


def _shown(array: np.ndarray, page: tifffile.TiffPage, path: Path) -> np.ndarray:
    """Stored values (H, W) or (H, W, C) as the colours or greys that they stand for."""
    photometric = page.photometric
    if page.bitspersample not in (1, 8, 16, 32, 64):
        raise DataError(f"{path}: BitsPerSample is {page.bitspersample}, expected 8; convert the file to 8 bits")
    if photometric == PHOTOMETRIC.PALETTE and page.colormap is not None:
        colours = page.colormap[:, array]  # (3, H, W)
        return np.moveaxis(colours >> (8 if page.colormap.max() > 255 else 0), 0, -1).astype(np.uint8)
    if photometric == PHOTOMETRIC.MINISWHITE and array.dtype.kind in "bu":
        return ~array
    jpeg = page.compression in (COMPRESSION.JPEG, COMPRESSION.OJPEG)
    plain = page.tags.valueof(530) == (1, 1) and page.tags.valueof(532) in _FULL_RANGE
    if photometric == PHOTOMETRIC.YCBCR and not jpeg and plain and array.dtype == np.uint8 and array.ndim == 3:
        return np.asarray(Image.frombytes("YCbCr", array.shape[1::-1], array.tobytes()).convert("RGB"))
    known = (PHOTOMETRIC.RGB, PHOTOMETRIC.MINISBLACK, *((PHOTOMETRIC.YCBCR,) if jpeg else ()))
    if photometric not in known or page.compression == COMPRESSION.APERIO_JP2000_YCBC:
        raise DataError(
            f"{path}: PhotometricInterpretation is {getattr(photometric, 'name', photometric)} (compression "
            f"{getattr(page.compression, 'name', page.compression)}), expected RGB or grey; convert the file to RGB"
        )
    return array


_FULL_RANGE = (None, (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1))
"""ReferenceBlackWhite of YCbCr that uses all 256 levels, as pairs of a rational number; JPEG's, and the default."""


def _turned(array: np.ndarray, orientation: int | None, path: Path) -> np.ndarray:
    """(H, W, …) as displayed: where the first row and column belong (TIFF 6.0, Orientation), 1 being top and left."""
    if orientation is None or orientation not in range(2, 9):
        return array
    _warn(f"{path}: Orientation is {orientation}, turned as viewers show it; boxes must be those of the turned image")
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array[::-1] if orientation in (3, 4, 7, 8) else array)


def _from_16_bit(array: np.ndarray, path: Path) -> np.ndarray:
    top = int(array[..., :3].max(initial=0)) if array.ndim == 3 else int(array.max(initial=0))
    if 255 < top < 2**15:
        raise DataError(
            f"{path}: 16-bit pixels up to {top}, neither 8-bit values nor the full 16-bit range; "
            "convert the file to 8 bits per channel with the scale that its scanner used"
        )
    _warn(f"{path}: 16-bit image, {'values kept' if top <= 255 else 'divided by 256'} to give 8 bits")
    return (array if top <= 255 else array >> 8).astype(np.uint8)


def read_labels(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """An instance image as (H, W) uint16, 0 = background. `shape` is the image's (H, W); another size is an error."""
    array = read_array(path)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{path}: {array.dtype} array of shape {array.shape}, expected one integer label per pixel")
    if array.shape != shape:
        raise DataError(f"{path}: labels of size {array.shape}, expected {shape} as the image; pair the right files")
    if array.min(initial=0) < 0 or array.max(initial=0) > np.iinfo(np.uint16).max:
        raise DataError(f"{path}: labels {array.min()} to {array.max()}, expected 0 to 65535; renumber them")
    return np.ascontiguousarray(array.astype(np.uint16))


def count_labels(labels: np.ndarray) -> int:
    """How many different labels other than 0 are present. labels: (H, W) unsigned integers."""
    return int(np.count_nonzero(np.bincount(labels.ravel())[1:]))


def _warn(message: str) -> None:
    warnings.warn(message, ConversionWarning, stacklevel=3)
