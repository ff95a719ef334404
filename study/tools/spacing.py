"""How large a pixel is: stated by the user, or read from the file, and plausible for a microscope either way."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any

import tifffile
from defusedxml.ElementTree import fromstring

from allinsam_core.data.case import PLAUSIBLE_SPACING
from allinsam_core.data.errors import DataError
from study.datasets.image import ConversionWarning, full_page, is_tiff
from study.numbers import number, whole

FINEST_PRINT = 10_000  # dots per inch: resolution tags up to this, 2.54 µm, are taken for a print density
_PER_UNIT = {2: 25_400.0, 3: 10_000.0}  # µm per inch, per centimetre
_MPP = re.compile(r"\bMPP\s*=\s*([^|;\s]*)")
_MICRONS = {"micron": 1.0, "microns": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}


def pixel_size(image: Path, stated: float | None = None) -> float:
    """µm per pixel of an image file: `stated`, if given, else what the file says.

    Raises ValueError where neither gives a value from 0.02 to 10, with the unit that was probably meant.
    """
    if stated is not None:
        return check(stated, "--spacing")
    found = from_tiff(image)
    if found is None:
        raise ValueError(f"{image}: does not say how large its pixels are; add --spacing (µm per pixel; 0.25 for 40×)")
    return found


def check(spacing: float, source: str) -> float:
    """`spacing` if a microscope can have it. source: what to name in the ValueError."""
    if _plausible(spacing) is not None:
        return spacing
    guesses = {
        "mm": spacing * 1000,
        "nm": spacing / 1000,
        "pixels per cm": 10_000 / spacing if spacing else 0,
        "pixels per inch": 25_400 / spacing if spacing else 0,
    }
    meant = [unit for unit, micron in guesses.items() if 0.1 <= micron <= 2]
    raise ValueError(
        f"{source}: {spacing:g} µm per pixel is not plausible for a microscope, expected µm per pixel > 0, from "
        f"{PLAUSIBLE_SPACING[0]} to {PLAUSIBLE_SPACING[1]:g} (0.25 for 40×)" + (f"; is it {meant[0]}?" if meant else "")
    )


def from_tiff(path: Path) -> float | None:
    """µm per pixel of the page that is read, or None.

    From OME-XML, an Aperio description (MPP, times the reduction of a pyramid's level), ImageJ's unit or the resolution
    tags, in this order. None for a file that is no TIFF, pixels that are not square (1 %), values that no microscope
    has, descriptions that contradict each other, and resolution tags up to 10,000 per inch, which printing has.
    """
    if not path.is_file() or not is_tiff(path):
        return None
    try:
        return _from_tags(path)
    except DataError:
        raise
    except Exception as error:  # tifffile raises many types for damaged tags
        raise DataError(f"{path}: its tags cannot be read ({error}); damaged or incomplete, fetch it again") from error


def _from_tags(path: Path) -> float | None:
    with warnings.catch_warnings(), tifffile.TiffFile(path) as tiff:
        warnings.simplefilter("ignore", ConversionWarning)  # given when the pixels are read
        page = full_page(tiff, path)
        if tiff.is_ome and tiff.ome_metadata:
            return _from_ome(tiff.ome_metadata, page.imagewidth)
        described = [str(text) for text in _every(page, "ImageDescription")]
        if any(_MPP.search(text) for text in described):
            return _from_aperio(described, page.imagewidth, page.imagelength)
        unit = str((tiff.imagej_metadata or {}).get("unit", "")) if tiff.is_imagej else ""
        return _from_resolution(page, unit)


def _every(page: tifffile.TiffPage, name: str) -> list[Any]:
    return [tag.value for tag in page.tags.values() if tag.name == name]


def _from_ome(text: str, width: int) -> float | None:
    """PhysicalSizeX of the first image, times the reduction where a smaller level of it is read."""
    try:
        pixels = next(part for part in fromstring(text).iter() if part.tag.endswith("}Pixels") or part.tag == "Pixels")
        x, y = (
            number(pixels.attrib[f"PhysicalSize{axis}"]) * _MICRONS[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
            for axis in "XY"
        )
        full = whole(pixels.attrib["SizeX"])
    except (StopIteration, KeyError, ValueError, SyntaxError):
        return None
    return _plausible(x * full / width) if _square(x, y) else None


def _from_aperio(descriptions: list[str], width: int, height: int) -> float | None:
    """MPP; None where several descriptions give different ones."""
    found = {_mpp(text, width, height) for text in descriptions if _MPP.search(text)}
    return found.pop() if len(found) == 1 else None


def _mpp(text: str, width: int, height: int) -> float | None:
    """MPP of a description, times the reduction that "1024x768 [0,0 1024x768] (256x256) -> 256x192" states for a level.

    None where sizes are stated and none is the page's: it was resized or cropped since.
    """
    stated = {_number(number) for number in _MPP.findall(text)}
    mpp = stated.pop() if len(stated) == 1 else None
    sizes = [(int(w), int(h)) for w, h in re.findall(r"(?<![(\d])(\d{1,9})x(\d{1,9})", text, re.ASCII)]
    if mpp is None or (sizes and (width, height) not in sizes):
        return None
    at = sizes.index((width, height)) if sizes else 0
    return _plausible(mpp * sizes[at - 1][0] / width if at and "->" in text else mpp)


def _number(text: str) -> float | None:
    """A number as scanners write it: with a point or, from some countries, a comma; with an exponent or without."""
    try:
        return number(text.replace(",", "."))
    except ValueError:
        return None


def _from_resolution(page: tifffile.TiffPage, unit: str) -> float | None:
    """1 / XResolution in ImageJ's unit, else in that of the tags."""
    horizontal, vertical = (_rate(page.tags.valueof(f"{axis}Resolution")) for axis in "XY")
    if horizontal is None or vertical is None or not _square(horizontal, vertical):
        return None
    unit = unit.encode().decode("unicode_escape", errors="ignore") if "\\" in unit else unit
    if unit in _MICRONS:
        return _plausible(_MICRONS[unit] / horizontal)
    length = _PER_UNIT.get(page.tags.valueof("ResolutionUnit", 1))
    if length is None or horizontal * 25_400 / length <= FINEST_PRINT:
        return None
    return _plausible(length / horizontal)


def _rate(tag: Any) -> float | None:
    """Pixels per unit of a rational tag."""
    try:
        over, under = tag
        return over / under if over > 0 and under > 0 else None
    except (TypeError, ValueError):
        return None


def _square(x: float, y: float) -> bool:
    return 0 < x < math.inf and 0 < y < math.inf and abs(x / y - 1) <= 0.01


def _plausible(spacing: float) -> float | None:
    return spacing if PLAUSIBLE_SPACING[0] <= spacing <= PLAUSIBLE_SPACING[1] else None
