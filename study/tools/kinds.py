"""What a map holds: a mask, a label map, a class map or a probability map, decided from its type, values and regions.

0 is the background; a region is an 8-connected set of pixels of one other value. A map is taken for

binary       if it has one value besides 0, whatever its type;
labels       if nine in ten of its values are one region each, and most regions touch the background, which the inner
             grey levels of a smooth map do not;
classes      if its values are whole numbers up to 20 that make more than two such regions each;
probability  if it is floating point in [0, 1], or has more than 20 grey levels that reach half of 255 or of 65535.

Whatever fits none of these, or two that would be scored differently, is undecided, and the caller asks. The maps of a
folder are of one kind: one that is undecided alone may be decided by the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from scipy.ndimage import binary_dilation
from skimage.measure import label

Kind = Literal["binary", "labels", "classes", "probability"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NAMES: Mapping[Kind, str] = {
    "binary": "a mask",
    "labels": "a label map",
    "classes": "a class map",
    "probability": "a probability map",
}
MOST_CLASSES = 20
WHOLE = 0.8  # of a value's pixels in one region: the value is one object
LEAST_AREA = 4  # median pixels of a region: smaller ones are noise or grey levels


@dataclass(frozen=True)
class Finding:
    """What one map may be.

    kind: what it is taken for alone, None if undecided. possible: what it may be in company; all kinds for a map that
    says nothing. seen: what that was decided from, for messages. dtype, high: the values' type, the highest of them.
    grey: whether its values look like levels, between which a mask is to be cut, and not like numbers of things.
    """

    kind: Kind | None
    possible: frozenset[Kind]
    seen: str
    dtype: np.dtype
    high: float
    grey: bool = False

    @property
    def decides(self) -> bool:
        """Whether the map says anything: an empty one does not."""
        return len(self.possible) < len(KINDS)


@dataclass(frozen=True)
class Regions:
    """How many values and regions a map has, the share of values that are one region, the share of regions that touch
    the background, and the median pixels of a region."""

    values: int
    count: int
    single: float
    outer: float
    area: float

    @classmethod
    def of(cls, codes: np.ndarray) -> Regions:
        """codes: (H, W) integers, 0 = background; 1, …, N are all present."""
        numbered, count = label(codes, background=0, connectivity=2, return_num=True)
        owner = np.zeros(count + 1, dtype=np.int64)
        owner[numbered] = codes
        areas = np.bincount(numbered.ravel())
        largest = np.zeros(codes.max() + 1, dtype=np.int64)
        np.maximum.at(largest, owner, areas)
        single = (largest[1:] >= WHOLE * np.bincount(codes.ravel())[1:]).mean()
        outer = np.count_nonzero(np.bincount(numbered[binary_dilation(codes == 0)])[1:]) / count
        return cls(len(largest) - 1, count, float(single), outer, float(np.median(areas[1:])))

    @property
    def several(self) -> bool:
        """Whether a value has more than two regions on average."""
        return self.count > 2 * self.values

    @property
    def levels(self) -> bool:
        """Whether regions lie around each other, as the grey levels of a smooth map do."""
        return self.outer <= 0.5


def recognise(values: np.ndarray, path: Path) -> Finding:
    """The finding on one (H, W) map. path: named by the ValueError on values that no map has."""
    if values.dtype.kind not in "buif":
        raise ValueError(f"{path}: dtype {values.dtype}, expected bool, integer or float")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and np.isfinite(high)):  # NaN fails too
        raise ValueError(f"{path}: values from {low:g} to {high:g}, expected finite values ≥ 0 with 0 = background")
    levels, codes = np.unique(values, return_inverse=True)
    seen = f"{values.dtype} with {len(levels) - (low == 0)} values up to {high:g}"
    if high == 0 or values.dtype == bool:
        return Finding("binary", frozenset(KINDS if low == high else ("binary",)), seen, values.dtype, high)
    if low > 0:
        return _without_background(values.dtype, levels, f"{seen} and none that is 0, the background")
    if values.dtype.kind == "f" and len(levels) > 2**16:
        return _fractional(values.dtype, high, None, seen)
    regions = Regions.of(codes.reshape(values.shape))
    seen = f"{seen} in {regions.count} regions"
    if regions.values == 1:
        return _two_valued(values.dtype, high, regions, seen)
    if (levels != np.floor(levels)).any():
        return _fractional(values.dtype, high, regions, seen)
    return _many_valued(values.dtype, high, regions, seen)


def _without_background(dtype: np.dtype, levels: np.ndarray, seen: str) -> Finding:
    """Levels that are never 0: what a network puts out, or a map whose background is another number."""
    high = float(levels[-1])
    if len(levels) == 1:
        alone: Kind | None = "binary" if high == 1 else "probability" if dtype.kind == "f" and high < 1 else None
        return Finding(alone, frozenset(KINDS), seen, dtype, high)
    whole = bool((levels == np.floor(levels)).all())
    soft = len(levels) > 3 and _reaches_half(high) if whole else high <= 1
    return Finding("probability" if soft else None, frozenset({"probability"}), seen, dtype, high, grey=soft)


def _two_valued(dtype: np.dtype, high: float, regions: Regions, seen: str) -> Finding:
    """A mask; or, if its number or its two regions leave that open, one label, one class or a sure probability."""
    whole = high == np.floor(high)
    possible: set[Kind] = {"binary"}
    if whole and regions.count <= 2:
        possible.add("labels")
    if whole and high <= MOST_CLASSES:
        possible.add("classes")
    if high in (255, 65535) or (dtype.kind == "f" and high <= 1):
        possible.add("probability")
    usual = high in (1, 128, 255, 65535) or (dtype.kind in "iu" and high == np.iinfo(dtype).max)
    sure = usual or (whole and regions.count != 2)
    return Finding("binary" if sure else None, frozenset(possible), seen, dtype, high)


def _fractional(dtype: np.dtype, high: float, regions: Regions | None, seen: str) -> Finding:
    """Floating point with fractions. regions: None where there are too many values for anything but a probability."""
    if high > 1:
        return Finding(None, frozenset(), f"{seen}, fractions among them", dtype, high, grey=True)
    if regions is not None and regions.single >= 0.9 and not regions.levels and regions.area >= LEAST_AREA:
        return Finding(None, frozenset({"probability"}), f"{seen}, as labels divided by a number have", dtype, high)
    return Finding("probability", frozenset({"probability"}), seen, dtype, high, grey=True)


def _many_valued(dtype: np.dtype, high: float, regions: Regions, seen: str) -> Finding:
    """Whole numbers, at least two besides 0."""
    few = high <= MOST_CLASSES
    large = regions.area >= LEAST_AREA
    one_each = regions.single >= 0.9 and (large or 4 * regions.values >= high)
    in_parts = large and regions.values > MOST_CLASSES and not regions.several
    if (one_each or in_parts) and not regions.levels:
        alike = few and regions.count == regions.values
        return Finding("labels", frozenset({"labels", "classes"} if alike else {"labels"}), seen, dtype, high)
    possible: set[Kind] = set()
    if regions.values <= MOST_CLASSES:
        possible.add("classes")
    if not (regions.several or regions.levels):
        possible.add("labels")
    if high <= 65535 and (regions.several or regions.levels):
        possible.add("probability")
    kind: Kind | None = None
    if few and large and regions.several and not regions.levels:
        kind = "classes"
    elif regions.values > MOST_CLASSES and _reaches_half(high) and "probability" in possible:
        kind = "probability"
    grey = kind == "probability" or (kind is None and (regions.levels or not large))
    return Finding(kind, frozenset(possible), seen, dtype, high, grey)


def _reaches_half(high: float) -> bool:
    """Whether grey levels up to `high` use one of the usual scales, 0 … 255 or 0 … 65535."""
    return 128 <= high <= 255 or 32768 <= high <= 65535


def common(findings: Mapping[Path, Finding], option: str, allowed: tuple[Kind, ...] = KINDS) -> Kind:
    """The one kind of the maps of a folder, or of a single map.

    option: the option that states the kind, named by the ValueError where the maps do not say it or are of several
    kinds. allowed: what the caller can use.
    """
    deciding = {path: finding for path, finding in findings.items() if finding.decides} or findings
    possible = set(KINDS).intersection(*(finding.possible for finding in deciding.values()))
    found = possible & {finding.kind for finding in deciding.values()}
    if len(found) == 1 and (kind := found.pop()) in allowed:
        return kind
    unclear = [path for path, finding in deciding.items() if finding.kind not in allowed]
    if unclear:
        raise ValueError(_undecided(unclear[0], deciding[unclear[0]], option, allowed))
    (first, one), *rest = deciding.items()
    second, other = next((path, finding) for path, finding in rest if finding.kind != one.kind)
    raise ValueError(
        f"{first} looks like {NAMES[one.kind]} ({one.seen}), {second} like {NAMES[other.kind]} ({other.seen}); "  # type: ignore[index]
        f"expected one kind in a folder: part them, or state it with {option}"
    )


def _undecided(path: Path, finding: Finding, option: str, allowed: tuple[Kind, ...]) -> str:
    if finding.kind == "probability":
        return (
            f"{path}: {finding.seen}: looks like a probability map or a resized or JPEG mask, expected whole objects; "
            f"save the mask without grey levels, or say {option} binary, which takes what is at least half"
        )
    readings = " or ".join(NAMES[kind] for kind in KINDS if kind in finding.possible) or "none of the usual maps"
    return f"{path}: {finding.seen}: could be {readings}; say which with {option} ({', '.join(allowed)})"
