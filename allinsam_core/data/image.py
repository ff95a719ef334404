"""Image files as arrays, or a clear error: nothing is guessed in silence."""

from __future__ import annotations

import warnings
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import tifffile

from allinsam_core.data.errors import DataError, MissingData


class ConversionWarning(UserWarning):
    """A file was not in the expected form and was converted by a documented rule."""


def read_array(path: Path) -> np.ndarray:
    """The pixels as stored, any shape and dtype. Raises DataError for a damaged or unreadable file."""
    if not path.is_file():
        raise MissingData(f"{path}: no such file")
    try:
        if path.suffix.lower() in {".tif", ".tiff"}:
            _refuse_truncated_tiff(path)
            return np.asarray(tifffile.imread(path))
        return np.asarray(imageio.imread(path))
    except DataError:
        raise
    except Exception as error:  # decoders raise many types for a damaged file; all mean the same here
        raise DataError(f"{path}: cannot be decoded ({error}); damaged or incomplete, fetch it again") from error


def _refuse_truncated_tiff(path: Path) -> None:
    """A decoder may fill lost strips with zeros; the strip table knows better."""
    with tifffile.TiffFile(path) as tiff:
        size = path.stat().st_size
        for page in tiff.pages:
            if not isinstance(page, tifffile.TiffPage):
                continue
            needed = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
            lost = sum(n == 0 for n in page.databytecounts)
            if needed > size or lost:
                raise DataError(
                    f"{path}: found {size} bytes and {lost} empty strips, expected at least {needed} bytes; "
                    "the file is truncated, fetch it again"
                )


def read_rgb(path: Path) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB.

    Converted with a ConversionWarning: grey (H, W) or (H, W, 1), repeated three times; RGBA whose alpha is opaque
    everywhere, alpha dropped; 16-bit, kept when no value exceeds 255, divided by 256 when the range is used beyond
    12 bits. Everything else (float, transparent alpha, an unclear 16-bit range, channels first) raises DataError.
    """
    array = read_array(path)
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


def _from_16_bit(array: np.ndarray, path: Path) -> np.ndarray:
    top = int(array.max(initial=0))
    if 255 < top < 4096:
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
