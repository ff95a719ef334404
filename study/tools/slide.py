"""Whole slides as a pyramid of pixels, read region by region: OpenSlide's formats, OME-TIFF and other TIFF, OME-Zarr.

Needs the extra `slides` (openslide-python, openslide-bin, zarr), imported when a slide is opened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from allinsam_core.data.case import PLAUSIBLE_SPACING as PLAUSIBLE
from study.numbers import number
from study.tools.spacing import from_tiff

VENDORS = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide")
TIFF = (".tif", ".tiff")
LARGE = 2**26  # px from which on a TIFF without further levels counts as a slide
LARGEST_CHUNK = 2**28  # bytes that must be unpacked to read one pixel
_MICRONS = {"micrometer": 1.0, "micrometre": 1.0, "µm": 1.0, "um": 1.0, "nanometer": 1e-3, "millimeter": 1e3}


@dataclass(frozen=True)
class Level:
    """One resolution. shape: (H, W) px; downsample: pixels of level 0 per pixel, along a side."""

    shape: tuple[int, int]
    downsample: float


class Slide(ABC):
    """A slide. levels: from the finest on; spacing: µm per pixel of level 0, None where the file does not say."""

    path: Path
    levels: tuple[Level, ...]
    spacing: float | None

    @abstractmethod
    def _pixels(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 of a region inside the level."""

    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 RGB of a region inside a level, in its pixels. ValueError where it is damaged."""
        try:
            return self._pixels(level, top, left, height, width)
        except Exception as error:  # decoders raise many types for a damaged tile
            raise UnreadableRegion(
                f"{self.path}: level {level}, rows {top} to {top + height}, columns {left} to {left + width} cannot be "
                f"read ({error}); copy the slide again, or leave such parts out with --skip-unreadable"
            ) from error

    def thumbnail(self, level: int, step: int) -> np.ndarray:
        """Every `step`-th pixel of a level, (⌈H/step⌉, ⌈W/step⌉, 3) uint8, read part by part; unreadable ones white."""
        height, width = self.levels[level].shape
        rows, side = [], max(step, 1024 // step * step)
        for top in range(0, height, side):
            row = []
            for left in range(0, width, side):
                size = min(side, height - top), min(side, width - left)
                try:
                    row.append(self.read(level, top, left, *size)[::step, ::step])
                except UnreadableRegion:
                    row.append(np.full((-(-size[0] // step), -(-size[1] // step), 3), 255, np.uint8))
            rows.append(np.concatenate(row, axis=1))
        return np.concatenate(rows, axis=0)


class UnreadableRegion(ValueError):
    """A part of a slide that cannot be decoded."""


def is_slide(path: Path) -> bool:
    """Whether `open_slide` should read a file, by its suffix; a TIFF where it has several levels or is large."""
    suffix = path.suffix.lower()
    if suffix in VENDORS or suffix == ".zarr":
        return True
    if suffix not in TIFF or not path.is_file():
        return False
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages.first
            reduced = any(p.is_reduced and p.is_tiled for p in tiff.pages if isinstance(p, tifffile.TiffPage))
            return reduced or len(tiff.series[0].levels) > 1 or page.imagelength * page.imagewidth > LARGE
    except Exception:  # tifffile raises many types for a damaged file; the reader of images says what is wrong
        return False


def in_folder(folder: Path) -> dict[str, Path]:
    """The slides of a folder by name, without suffix, sorted. Raises ValueError where none is there or names repeat."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of slides")
    suffixes = (*VENDORS, *TIFF, ".zarr")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    found = {path.stem: path for path in paths}
    if not found:
        raise ValueError(f"{folder}: no slide, expected files that end in {', '.join(suffixes)}")
    if twice := [path.name for path in paths if found[path.stem] != path]:
        raise ValueError(f"{folder}: {twice[0]} and {found[Path(twice[0]).stem].name}: expected one slide per name")
    return found


def open_slide(path: Path) -> Slide:
    """Open a slide. Raises ValueError or OSError that says what is wrong, and how to install what is missing."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such slide")
    try:
        if path.suffix.lower() == ".zarr":
            return ArraySlide.from_zarr(path)
        import openslide

        if path.suffix.lower() in TIFF and (_is_ome(path) or openslide.OpenSlide.detect_format(str(path)) is None):
            return ArraySlide.from_tiff(path)
        return VendorSlide(path)
    except ImportError as error:
        raise ValueError(
            f"{path}: reading slides needs {error.name}; install it with: pip install 'allinsam[slides]'"
        ) from error
    except (ValueError, OSError) as error:
        if str(path) in str(error):
            raise
        raise _unreadable(path, error) from error
    except Exception as error:  # tifffile and zarr raise many types for damaged tags
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: not a readable slide ({error}); damaged or incomplete, copy it again")


class VendorSlide(Slide):
    """What OpenSlide reads: SVS, NDPI, MRXS, SCN, BIF, and tiled pyramidal TIFF."""

    def __init__(self, path: Path) -> None:
        import openslide

        _refuse_vast_tiles(path)
        try:
            self._slide = openslide.OpenSlide(str(path))
        except openslide.OpenSlideError as error:
            raise ValueError(
                f"{path}: cannot be opened as a slide ({error}); is it complete, with all its files?"
            ) from error
        self.path = path
        self.levels = tuple(
            Level((height, width), float(down))
            for (width, height), down in zip(self._slide.level_dimensions, self._slide.level_downsamples, strict=True)
        )
        self.spacing = from_tiff(path) if path.suffix.lower() in TIFF else self._stated()

    def _stated(self) -> float | None:
        try:
            x, y = (number(self._slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy")
        except (KeyError, ValueError):
            return None
        return x if abs(x / y - 1) <= 0.01 and PLAUSIBLE[0] <= x <= PLAUSIBLE[1] else None

    def _pixels(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        down = self.levels[level].downsample
        region = self._slide.read_region((round(left * down), round(top * down)), level, (width, height))
        values = np.asarray(region)
        return np.where(values[..., 3:] == 0, 255, values[..., :3]).astype(np.uint8)  # no pixel there: white


def _refuse_vast_tiles(path: Path) -> None:
    """OpenSlide ends the whole process where a tile does not fit into memory, as one of damaged tags."""
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage) and page.is_tiled]
            tiles = [page.tilewidth * page.tilelength * page.samplesperpixel for page in pages]
    except tifffile.TiffFileError:  # another format
        return
    if tiles and max(tiles) > LARGEST_CHUNK:
        raise ValueError(f"{path}: a tile of {max(tiles):,} bytes, expected at most {LARGEST_CHUNK:,}; copy it again")


class ArraySlide(Slide):
    """A pyramid of arrays (H, W, 3) or (3, H, W) uint8, read chunk by chunk through zarr."""

    def __init__(self, path: Path, arrays: list[Any], spacing: float | None) -> None:
        self.path, self.spacing = path, spacing
        self._first = arrays[0].ndim == 3 and arrays[0].shape[0] == 3 and arrays[0].shape[2] != 3
        self._arrays = arrays
        for array in arrays:
            chunk = int(np.prod(array.chunks)) * array.dtype.itemsize
            if array.dtype != np.uint8 or array.ndim != 3 or 3 not in (array.shape[0], array.shape[2]):
                raise ValueError(f"{path}: level of {array.dtype} {array.shape}, expected 8-bit RGB")
            if chunk > LARGEST_CHUNK:
                raise ValueError(
                    f"{path}: its parts are {chunk:,} bytes each; convert it to a tiled, pyramidal TIFF first "
                    "(for instance: vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg)"
                )
        shapes = [a.shape[1:] if self._first else a.shape[:2] for a in arrays]
        self.levels = tuple(Level((int(h), int(w)), shapes[0][1] / w) for h, w in shapes)

    @classmethod
    def from_tiff(cls, path: Path) -> ArraySlide:
        import zarr

        try:
            series = tifffile.TiffFile(path).series[0]
            arrays = [zarr.open(level.aszarr(), mode="r") for level in series.levels]
        except (tifffile.TiffFileError, IndexError) as error:
            raise _unreadable(path, error) from error
        return cls(path, [a["0"] if not hasattr(a, "chunks") else a for a in arrays], from_tiff(path))

    @classmethod
    def from_zarr(cls, path: Path) -> ArraySlide:
        import zarr

        group: Any = zarr.open(str(path), mode="r")
        attributes = dict(group.attrs)
        scales = attributes.get("ome", attributes).get("multiscales")
        if not scales:
            raise ValueError(f"{path}: no multiscales in its attributes, expected OME-Zarr")
        axes = [a.get("name", a) if isinstance(a, dict) else a for a in scales[0].get("axes", "tczyx")]
        named = [part["path"] for part in scales[0]["datasets"]]
        if missing := [name for name in named if name not in group]:
            raise ValueError(f"{path}: level {missing[0]} of {named} is missing; copy the slide again")
        arrays = [_Planes(group[name], axes) for name in named]
        return cls(path, arrays, _zarr_spacing(scales[0], axes))

    def _pixels(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        rows, columns = slice(top, top + height), slice(left, left + width)
        if self._first:
            return np.ascontiguousarray(np.moveaxis(np.asarray(self._arrays[level][:, rows, columns]), 0, -1))
        return np.asarray(self._arrays[level][rows, columns])


class _Planes:
    """An OME-Zarr array with its leading axes of length one dropped: (3, H, W)."""

    def __init__(self, array: Any, axes: list[str]) -> None:
        kept = [i for i, name in enumerate(axes) if name in "cyx"]
        if any(array.shape[i] != 1 for i in range(array.ndim) if i not in kept):
            raise ValueError(f"array of shape {array.shape} and axes {axes}, expected one time and one depth")
        self._array, self._kept = array, kept
        self.shape = tuple(array.shape[i] for i in kept)
        self.chunks = tuple(array.chunks[i] for i in kept)
        self.ndim, self.dtype = len(kept), array.dtype

    def __getitem__(self, place: Any) -> np.ndarray:
        parts = dict(zip(self._kept, place, strict=True))
        return np.asarray(self._array[tuple(parts.get(axis, 0) for axis in range(self._array.ndim))])


def _zarr_spacing(scales: dict[str, Any], axes: list[str]) -> float | None:
    try:
        steps = next(t["scale"] for t in scales["datasets"][0]["coordinateTransformations"] if t["type"] == "scale")
        units = [a.get("unit") if isinstance(a, dict) else None for a in scales["axes"]]
        x, y = (steps[axes.index(n)] * _MICRONS[str(units[axes.index(n)])] for n in "xy")
    except (KeyError, StopIteration, TypeError, ValueError):
        return None
    return float(x) if abs(x / y - 1) <= 0.01 and PLAUSIBLE[0] <= x <= PLAUSIBLE[1] else None


def _is_ome(path: Path) -> bool:
    try:
        with tifffile.TiffFile(path) as tiff:
            return bool(tiff.is_ome)
    except tifffile.TiffFileError:
        return False
