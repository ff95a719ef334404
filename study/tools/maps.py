"""Segmentation maps: files as one plane of values, and planes read as masks, labels or probabilities.

What a map holds is decided in `study.tools.kinds`. A palette and TIFF's WhiteIsZero say how values are shown, so they
change no value; only where a palette leaves open which value is the background is the file refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.measure import label

from allinsam_core.data.errors import DataError, MissingData
from study.datasets.image import ConversionWarning, full_page, is_tiff, read_array
from study.tools import kinds
from study.tools.kinds import Finding, Kind

SUFFIXES = (".png", ".tif", ".tiff", ".npy")


def read(path: Path) -> np.ndarray:
    """The (H, W) array of a png, tif, tiff or npy file in its own dtype: 16-bit and 32-bit labels survive.

    Axes of length one are dropped, and three or four equal colour channels become one; anything else that is
    not a single plane, and any file that cannot be read, is a ValueError naming the file.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: suffix '{path.suffix}', expected one of {', '.join(SUFFIXES)}")
    if suffix != ".npy":
        values, palette = _plane(read_array(path), path), _palette(path)
        return values if palette is None else _through_palette(values, palette, path)
    if not path.is_file():
        raise MissingData(f"{path}: no such file")
    try:
        return _plane(np.array(np.load(path, mmap_mode="r", allow_pickle=False)), path)
    except DataError:
        raise
    except Exception as error:  # damaged headers raise many types
        raise DataError(f"{path}: cannot be read as .npy ({error}); write the file again") from error


def _palette(path: Path) -> np.ndarray | None:
    """The colours of an indexed picture, (N, 3) uint8."""
    if not is_tiff(path):
        with Image.open(path) as image:
            colours = image.getpalette("RGB") if image.mode == "P" else None
            return None if colours is None else np.array(colours, np.uint8).reshape(-1, 3)
    with warnings.catch_warnings(), tifffile.TiffFile(path) as tiff:
        warnings.simplefilter("ignore", ConversionWarning)  # given by read_array
        page = full_page(tiff, path)
        if page.photometric != tifffile.PHOTOMETRIC.PALETTE or page.colormap is None:
            return None
        return (page.colormap.T >> (8 if page.colormap.max() > 255 else 0)).astype(np.uint8)


def _through_palette(values: np.ndarray, palette: np.ndarray, path: Path) -> np.ndarray:
    """What the numbers of an indexed picture stand for.

    A palette of rising greys holds the values themselves (a picture reduced to its own greys). One that inverts all
    256 greys and one of colours only show the numbers. Where another number than 0 is black, the picture may have been
    reduced to colours in any order, and nothing says which number is the background.
    """
    used = np.unique(values)
    if used[-1] >= len(palette):
        raise ValueError(f"{path}: value {used[-1]} has none of the palette's {len(palette)} colours; write it again")
    shown = palette[used].astype(int)
    grey = bool((shown == shown[:, :1]).all())
    if grey and (np.diff(shown[:, 0]) > 0).all() and (used[0] > 0 or shown[0, 0] == 0):
        return palette[values, 0]
    if len(palette) == 256 and (palette == np.arange(255, -1, -1)[:, None]).all():
        return values
    if grey or (shown[used > 0].sum(axis=1) == 0).any():
        raise ValueError(
            f"{path}: the palette shows value {used[0]} as {shown[0].tolist()} and value {used[-1]} as "
            f"{shown[-1].tolist()}: which is the background cannot be told; save the map without a palette, 0 outside"
        )
    return values


def _plane(values: np.ndarray, path: Path) -> np.ndarray:
    """(H, W) of an array with colours or axes of length one. Transparency, which may be the mask, is refused."""
    shape = values.shape
    if values.ndim == 3 and shape[2] in (2, 4) and np.ptp(values[..., -1]) > 0:
        what = "are all one colour, the mask may be" if not np.ptp(values[..., :-1]) else "differ, and so does what is"
        raise ValueError(f"{path}: its pixels {what} in the alpha channel; save the map as one plane without alpha")
    if values.ndim == 3 and shape[2] in (2, 3, 4):
        colours = values[..., :-1] if shape[2] in (2, 4) else values
        if (colours == colours[..., :1]).all():
            values = values[..., 0]
    if values.ndim > 2:
        values = values.squeeze()
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{path}: shape {shape}, expected one plane (H, W); save the map without colours")
    return values


def as_mask(values: np.ndarray, path: Path) -> np.ndarray:
    """(H, W) bool: what is not 0; of grey levels, as a resized or JPEG mask has them, what is at least half.

    Half of the scale, where the levels show one, else of the highest level.
    """
    finding = kinds.recognise(values, path)
    if finding.kind == "probability":
        return as_probability(values, path) >= 0.5
    return values >= finding.high / 2 if finding.grey else values != 0


def as_labels(values: np.ndarray, path: Path) -> np.ndarray:
    """A map read as labels: (H, W) of an integer dtype."""
    if values.min() < 0:
        raise ValueError(f"{path}: lowest label {values.min()}, expected 0 = background and positive labels")
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind == "f" and not np.all(values == np.floor(values)):
        raise ValueError(f"{path}: {values.dtype} with fractions, expected whole labels; is it a probability map?")
    return values.astype(np.int64)


def as_instances(values: np.ndarray, kind: Kind, path: Path) -> np.ndarray:
    """(H, W) integer labels of a label map, of the components of a mask, or of those of each class of a class map."""
    if kind == "labels":
        return as_labels(values, path)
    if kind == "classes":
        return label(as_labels(values, path), background=0, connectivity=1)
    return components(as_mask(values, path))


def as_probability(values: np.ndarray, path: Path, one: float | None = None) -> np.ndarray:
    """A map read as probability: (H, W) float in [0, 1]. one: what means 1, by default decided from this map alone."""
    if one is None:
        one = scale({path: kinds.recognise(values, path)})
    one = {"uint8": 255.0, "bool": 1.0}.get(values.dtype.name, one)
    if values.min() >= 0 and values.max() <= one:
        return values if one == 1 and values.dtype.kind == "f" else values / np.float32(one)
    raise ValueError(
        f"{path}: {values.dtype} from {values.min()} to {values.max()}, expected probabilities from 0 to {one:g}"
    )


def scale(findings: Mapping[Path, Finding]) -> float:
    """The value that means 1 in the probability maps of a folder: 255 where all are 8-bit, else from the highest."""
    wide = {path: found for path, found in findings.items() if found.dtype.name not in ("uint8", "bool")}
    if not wide:
        return 255.0
    path, highest = max(wide.items(), key=lambda item: item[1].high)
    if len({found.dtype.kind for found in wide.values()}) > 1:
        raise ValueError(f"{path}: {highest.dtype}, others of another type; expected probability maps of one type")
    if highest.dtype.kind == "f" and highest.high <= 1:
        return 1.0
    if 128 <= highest.high <= 255 or 32768 <= highest.high <= 65535:
        return 255.0 if highest.high <= 255 else 65535.0
    raise ValueError(
        f"{path}: {highest.dtype} up to {highest.high:g}, expected probabilities: floating point in [0, 1], or numbers "
        "that reach half of 255 or of 65535; divide by the number that means 1 and save as floating point"
    )


def components(mask: np.ndarray) -> np.ndarray:
    """(H, W) int32 labels of the 4-connected components of an (H, W) bool mask."""
    return ndimage.label(mask)[0]
