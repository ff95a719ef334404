"""Aperio ImageScope annotations: polygons in XML to instance labels.

Annotations[MicronsPerPixel] > Annotation > Regions > Region > Vertices > Vertex[X, Y], in pixels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from skimage.draw import polygon

from allinsam_core.data.errors import DataError, MissingData

SHIFT = -1.0
"""Pixels added to X and Y: vertices count pixel centres from 1, as the challenge's own MATLAB script does."""

EDGE = 1e-3
"""Pixels added after SHIFT. A centre exactly on a polygon's left or top edge is then outside and one on its right or
bottom edge inside, so that polygons sharing an edge do not both claim it. Against the given instance labels of three
training cases this raises Dice from 0.990, 0.991, 0.997 to 0.998 each."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """The polygons of one file. regions: each (N, 2) float64, columns x, y, pixels as stored (first centre is 1).

    skipped: regions with fewer than three vertices, which enclose nothing. spacing: µm per pixel, if stated.
    """

    path: Path
    regions: tuple[np.ndarray, ...]
    skipped: int
    spacing: float | None


def read(path: Path) -> Annotation:
    """Parse one annotation file. Raises DataError for malformed or hostile XML and for unreadable vertices.

    Regions with fewer than three vertices are left out with a warning that counts them.
    """
    if not path.is_file():
        raise MissingData(f"{path}: no such file, expected an ImageScope annotation")
    try:
        root: Any = parse(path).getroot()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise DataError(f"{path}: malformed XML ({error or type(error).__name__}); fetch it again") from error
    if root.tag != "Annotations":
        raise DataError(f"{path}: root element <{root.tag}>, expected <Annotations> as ImageScope writes it")
    found = [_vertices(region, path) for region in root.iter("Region")]
    regions = tuple(vertices for vertices in found if len(vertices) >= 3)
    if skipped := len(found) - len(regions):
        warnings.warn(f"{path}: {skipped} of {len(found)} regions have < 3 vertices and are left out", stacklevel=2)
    spacing = root.get("MicronsPerPixel")
    try:
        return Annotation(path, regions, skipped, float(spacing) if spacing else None)
    except ValueError as error:
        raise DataError(f"{path}: MicronsPerPixel is {spacing!r}, expected a number") from error


def _vertices(region: Any, path: Path) -> np.ndarray:
    try:
        points = [(float(v.attrib["X"]), float(v.attrib["Y"])) for v in region.iter("Vertex")]
    except (KeyError, ValueError) as error:
        number = region.get("Id")
        raise DataError(f"{path}: region {number}: a vertex has no numeric X and Y ({error})") from error
    vertices = np.array(points, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(vertices).all():
        raise DataError(f"{path}: region {region.get('Id')}: a vertex is not finite")
    return vertices


def rasterise(annotation: Annotation, shape: tuple[int, int]) -> np.ndarray:
    """Instance labels, (H, W) uint16: region k of the file (from 1) gets label k.

    A pixel belongs to a polygon when its centre lies inside after the shift of SHIFT + EDGE px. Where polygons
    overlap, the one that comes first in the file keeps the pixel (the rule of the challenge's script); one that is
    covered entirely, or lies outside the image, keeps no pixel and its label is missing.
    """
    if len(annotation.regions) > np.iinfo(np.uint16).max:
        raise DataError(f"{annotation.path}: {len(annotation.regions)} regions, expected at most 65535")
    labels = np.zeros(shape, dtype=np.uint16)
    for number, vertices in enumerate(annotation.regions, start=1):
        x, y = (vertices + (SHIFT + EDGE)).T
        rows, cols = polygon(y, x, shape)
        free = labels[rows, cols] == 0
        labels[rows[free], cols[free]] = number
    return labels
