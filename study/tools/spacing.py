"""The physical size of a pixel, where a TIFF says it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tifffile

PLAUSIBLE = (0.02, 20.0)  # µm/px; 72 or 300 dots per inch, which editors write by default, are 353 and 85 µm
_PER_UNIT = {2: 25_400.0, 3: 10_000.0}  # µm per inch, per centimetre


def from_tiff(path: Path) -> float | None:
    """µm per pixel from an Aperio description ("MPP = …"), ImageJ's unit or the resolution tags; else None.

    None also for a file that is no TIFF, for pixels that are not square (1 %) and for values that no microscope has.
    """
    if path.suffix.lower() not in {".tif", ".tiff", ".svs"}:
        return None
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        tags: dict[str, Any] = {tag.name: tag.value for tag in page.tags.values()}
        unit = str((tiff.imagej_metadata or {}).get("unit", ""))
    described = re.search(r"\bMPP\s*=\s*([0-9.]+)", str(tags.get("ImageDescription", "")))
    if described:
        return _plausible(float(described.group(1)))
    horizontal, vertical = _rate(tags.get("XResolution")), _rate(tags.get("YResolution"))
    if horizontal is None or vertical is None or abs(horizontal / vertical - 1) > 0.01:
        return None
    length = 1.0 if _is_micron(unit) else _PER_UNIT.get(int(tags.get("ResolutionUnit", 1)))
    return None if length is None else _plausible(length / horizontal)


def _is_micron(unit: str) -> bool:
    return unit.encode().decode("unicode_escape", errors="ignore") in {"micron", "um", "µm", "μm"} if unit else False


def _rate(tag: Any) -> float | None:
    """Pixels per unit of a rational tag."""
    try:
        over, under = tag
        return over / under if over > 0 and under > 0 else None
    except (TypeError, ValueError):
        return None


def _plausible(spacing: float) -> float | None:
    return spacing if PLAUSIBLE[0] <= spacing <= PLAUSIBLE[1] else None
