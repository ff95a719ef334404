"""ImageJ's ROI files, through `roifile`: one .roi, or the .zip that the ROI Manager saves."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import shapely
from roifile import ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from allinsam_core.atomic import replacing
from allinsam_core.data.errors import DataError
from study.names import readable
from study.tools.formats.areas import from_paths
from study.tools.formats.entries import MAX_BYTES, Boxes, Entry, at_most, bounds, collect
from study.tools.formats.outline import Area, outlines

MAX_ROI_BYTES = 16 * 2**20
FARTHEST = 60535  # px; ImageJ keeps 16-bit numbers, of which it reads the upper 5,000 as negative
_OUTLINED = (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)
_JUNK = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"}  # what file managers leave behind


def read_roi(path: Path) -> Boxes:
    """The one box of a .roi file."""
    return collect([_entry(path.read_bytes(), path, readable(path.stem))[0]], path)


def read_zip(path: Path) -> Boxes:
    """The boxes of a ROI archive, in its order. Members are read in memory, their names are labels only."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if _is_roi(m, path)]
            at_most(len(members), path)
            total = sum(m.file_size for m in members)
            if total > MAX_BYTES:
                raise DataError(
                    f"{path}: {total:,} bytes unpacked, expected at most {MAX_BYTES:,}; is it a ROI archive?"
                )
            entries: list[Entry] = []
            places: set[tuple[int, ...]] = set()
            for member in members:
                with archive.open(member) as file:
                    data = file.read(MAX_ROI_BYTES + 1)
                entry, place = _entry(data, path, PurePosixPath(member.filename).stem)
                entries.append(entry)
                places.add(place)
    except DataError:
        raise
    except Exception as error:  # zipfile raises many types for damaged archives
        raise DataError(f"{path}: not a readable zip archive ({error}); save the ROI set again from ImageJ") from error
    if len(places - {(0, 0, 0, 0)}) > 1:
        raise DataError(f"{path}: ROIs on {len(places)} slices of a stack, expected one image; save those of one slice")
    return collect(entries, path)


def _is_roi(member: zipfile.ZipInfo, path: Path) -> bool:
    """Whether a member is a ROI; folders and the hidden files of file managers are not, anything else is an error."""
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in member.filename:
        raise DataError(f"{path}: member {member.filename!r} points outside the archive; expected plain names")
    if member.is_dir() or name.name.startswith(".") or _JUNK & {part.lower() for part in name.parts}:
        return False
    if name.suffix.lower() != ".roi":
        raise DataError(f"{path}: member {member.filename!r}, expected .roi files only; save the set from ImageJ")
    if member.flag_bits & 1:
        raise DataError(f"{path}: member {member.filename!r} is encrypted, expected a plain archive")
    return True


def _entry(data: bytes, path: Path, label: str) -> tuple[Entry, tuple[int, ...]]:
    """A ROI's box, and its place in a stack: position, channel, slice and frame, 0 where it belongs to all."""
    where = f"ROI {label!r}"
    if len(data) > MAX_ROI_BYTES:
        raise DataError(f"{path}: {where}: more than {MAX_ROI_BYTES:,} bytes, expected one outline")
    try:
        roi = ImagejRoi.frombytes(data)
        sides = _sides(roi, path, where)
        if roi.roitype == ROI_TYPE.RECT and roi.subpixelrect and not roi.composite:
            area: Area | None = shapely.box(*sides)  # its coordinates are whole numbers
        else:
            area = from_paths(roi.coordinates(multi=True), f"{path}: {where}")
    except DataError:
        raise
    except Exception as error:  # roifile raises many types for damaged files
        raise DataError(f"{path}: {where}: not a readable ImageJ ROI ({error}); save it again from ImageJ") from error
    place = (roi.position, roi.c_position, roi.z_position, roi.t_position)
    return Entry(sides, roi.name or label, f"group {roi.group}" if roi.group else "", area), place


def _sides(roi: ImagejRoi, path: Path, where: str) -> tuple[float, float, float, float]:
    """Bounding box of an area ROI; ImageJ's integer coordinates are pixel corners, so no pixel is added."""
    if roi.roitype in _OUTLINED and roi.subtype != ROI_SUBTYPE.TEXT:
        points = roi.coordinates()
        return bounds(points, path, where)
    if roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL) and roi.subtype not in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE):
        if roi.composite:
            return bounds(np.concatenate(roi.coordinates(multi=True)), path, where)
        if roi.subpixelrect:
            return roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd
        return float(roi.left), float(roi.top), float(roi.right), float(roi.bottom)
    found = roi.subtype.name if roi.subtype > 0 else roi.roitype.name
    raise DataError(f"{path}: {where} is a {found.lower()}, expected a rectangle, oval, polygon or freehand area")


def write_imagej(path: Path | str, instances: np.ndarray, names: Sequence[str] | None = None) -> int:
    """Every instance as a pixel-exact traced ROI in one archive for ImageJ's ROI Manager. Returns their number.

    instances: (H, W) integers, 0 = background. names: one per label present, in increasing order; by default the
    label. An older archive is replaced, never added to. Raises ValueError for an image beyond ImageJ's 60,535 px.
    """
    if max(instances.shape) > FARTHEST:
        raise ValueError(
            f"{path}: the image is {instances.shape} px, ImageJ ROIs reach {FARTHEST}; write GeoJSON instead"
        )
    found = outlines(instances)
    if names is not None and len(names) != len(found):
        raise ValueError(f"{path}: {len(names)} names for {len(found)} instances; expected one for each")
    with replacing(Path(path)) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, (value, area) in enumerate(found.items()):
            roi = traced(area, names[index] if names is not None else str(value))
            archive.writestr(zipfile.ZipInfo(f"{value:06d}.roi"), roi.tobytes(), zipfile.ZIP_DEFLATED)
    return len(found)


def traced(area: Area, name: str) -> ImagejRoi:
    """A traced polygon; with holes or several parts, a composite path (even-odd, as ImageJ fills it)."""
    left, top, right, bottom = (int(v) for v in area.bounds)
    roi = ImagejRoi(name=name, top=top, left=left, bottom=bottom, right=right)
    rings = [
        shapely.get_coordinates(ring)[:-1]
        for part in shapely.get_parts(area)
        for ring in (part.exterior, *part.interiors)
    ]
    if len(rings) == 1:
        roi.roitype = ROI_TYPE.TRACED
        roi.integer_coordinates = (rings[0] - [left, top]).astype(np.int32)
        roi.n_coordinates = len(rings[0])
        return roi
    path: list[float] = []
    for ring in rings:
        for index, (x, y) in enumerate(ring):
            path += [0.0 if index == 0 else 1.0, x, y]
        path.append(4.0)
    roi.roitype = ROI_TYPE.RECT
    roi.multi_coordinates = np.array(path, dtype=np.float32)
    roi.shape_roi_size = len(path)
    return roi
