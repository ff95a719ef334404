"""Polygons to labels: by hand, and against the given instance labels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from allinsam_core.data.errors import DataError, MissingData
from study.datasets import aperio
from study.datasets.image import count_labels, read_labels

XML = """<Annotations MicronsPerPixel="0.25"><Annotation Id="1"><Regions><RegionAttributeHeaders/>{}</Regions>
</Annotation></Annotations>"""


def xml(*polygons: list[tuple[float, float]]) -> str:
    """An ImageScope annotation of the given polygons, vertices as (x, y)."""
    return XML.format(
        "".join(
            f'<Region Id="{number}"><Vertices>'
            + "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in polygon)
            + "</Vertices></Region>"
            for number, polygon in enumerate(polygons, start=1)
        )
    )


SQUARE = [(2.0, 3.0), (6.0, 3.0), (6.0, 8.0), (2.0, 8.0)]
"""Vertices count pixel centres from 1: shifted by -1, 0-based columns 2 to 5 and rows 3 to 7 are inside: 4 × 5 px."""


def written(folder: Path, text: str) -> Path:
    path = folder / "case.xml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_square_covers_the_pixels_counted_by_hand(tmp_path: Path) -> None:
    labels = aperio.rasterise(aperio.read(written(tmp_path, xml(SQUARE))), (12, 12))
    expected = np.zeros((12, 12), np.uint16)
    expected[3:8, 2:6] = 1
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.uint16


def test_the_first_polygon_keeps_shared_pixels_and_a_covered_one_keeps_none(tmp_path: Path) -> None:
    wider = [(4.0, 3.0), (10.0, 3.0), (10.0, 8.0), (4.0, 8.0)]
    inner = [(3.0, 4.0), (5.0, 4.0), (5.0, 6.0), (3.0, 6.0)]
    labels = aperio.rasterise(aperio.read(written(tmp_path, xml(SQUARE, wider, inner))), (12, 12))
    assert (labels == 1).sum() == 20  # all of the square
    assert (labels == 2).sum() == 20  # columns 6 to 9; columns 4 and 5 are the first's
    assert set(np.unique(labels)) == {0, 1, 2}


def test_two_polygons_sharing_an_edge_split_the_pixels_between_them(tmp_path: Path) -> None:
    right = [(6.0, 3.0), (9.0, 3.0), (9.0, 8.0), (6.0, 8.0)]
    labels = aperio.rasterise(aperio.read(written(tmp_path, xml(right, SQUARE))), (12, 12))
    assert (labels == 1).sum() == 15
    assert (labels == 2).sum() == 20


def test_a_polygon_partly_outside_is_clipped(tmp_path: Path) -> None:
    path = written(tmp_path, xml([(-5.0, -5.0), (3.0, -5.0), (3.0, 2.0), (-5.0, 2.0)]))
    labels = aperio.rasterise(aperio.read(path), (12, 12))
    assert labels.sum() == 3 * 2  # columns 0 to 2, rows 0 and 1


def test_regions_with_too_few_vertices_are_counted_and_reported(tmp_path: Path) -> None:
    path = written(tmp_path, xml(SQUARE, [(1.0, 1.0), (2.0, 2.0)], []))
    with pytest.warns(UserWarning, match=r"case\.xml: 2 of 3 regions"):
        found = aperio.read(path)
    assert (len(found.regions), found.skipped, found.spacing) == (1, 2, 0.25)


def region(points: list[tuple[float, float]], **attributes: str) -> str:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in points)
    return f"<Region {' '.join(f'{k}={v!r}' for k, v in attributes.items())}><Vertices>{vertices}</Vertices></Region>"


def layers(*contents: str) -> str:
    inner = "".join(f"<Annotation><Regions>{content}</Regions></Annotation>" for content in contents)
    return f"<Annotations>{inner}</Annotations>"


def square(left: float, top: float, side: float) -> list[tuple[float, float]]:
    return [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]


def areas(folder: Path, text: str, shape: tuple[int, int] = (120, 120)) -> list[int]:
    """Pixels of label 1, 2, … in order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = aperio.rasterise(aperio.read(written(folder, text)), shape)
    return np.bincount(labels.ravel())[1:].tolist()


def test_a_negative_region_is_a_hole_in_what_lies_around_it(tmp_path: Path) -> None:
    hole = region(square(21, 21, 10), NegativeROA="1")
    around, beside, within = region(square(11, 11, 40)), region(square(60, 11, 10)), region(square(23, 23, 4))
    assert areas(tmp_path, layers(around + hole)) == [40**2 - 10**2]
    assert areas(tmp_path, layers(hole + beside + around)) == [10**2, 40**2 - 10**2]
    assert areas(tmp_path, layers(region(square(21, 21, 12)) + region(square(25, 25, 2), NegativeROA="1"))) == [140]
    labels = areas(tmp_path, layers(region(square(17, 17, 18)) + hole + within))  # a nucleus in the hole stays
    assert labels == [18**2 - 10**2, 4**2]


@pytest.mark.parametrize("around", [square(1, 1, 119), [(1, 1), (119, 1), (119, 119), (60, 110), (1, 119)]])
def test_outlines_of_regions_are_left_out(tmp_path: Path, around: list[tuple[float, float]]) -> None:
    nuclei = region(square(11, 11, 20)) + region(square(41, 11, 20))
    for text in (layers(region(around), nuclei), layers(nuclei, region(around)), layers(region(around) + nuclei)):
        assert areas(tmp_path, text) == [400, 400]
        with pytest.warns(UserWarning, match=r"case\.xml: 1 of 3 regions lie around others"):
            aperio.read(written(tmp_path, text))
    assert areas(tmp_path, layers(region(square(1, 1, 119)), region(square(11, 11, 20)))) == [400]


def test_nuclei_around_one_another_stay(tmp_path: Path) -> None:
    assert areas(tmp_path, layers(region(square(11, 11, 6)) + region(square(9, 9, 20)))) == [36, 364]


def test_ellipses_and_rectangles_of_two_vertices(tmp_path: Path) -> None:
    corners = [(11.0, 11.0), (51.0, 31.0)]
    found = areas(tmp_path, layers(region(corners, Type="2") + region(square(61, 61, 20), Type="0")))
    assert found[0] == pytest.approx(np.pi * 20 * 10, rel=0.02)
    assert found[1] == 400
    assert areas(tmp_path, layers(region(corners, Type="1"))) == [800]
    four = region([(11, 11), (51, 11), (51, 31), (11, 31)], Type="2")
    assert areas(tmp_path, layers(four))[0] == pytest.approx(np.pi * 20 * 10, rel=0.02)


def test_arrows_and_rulers_outline_nothing(tmp_path: Path) -> None:
    lines = "".join(region([*square(5, 5, 30)][:n], Type=kind) for n, kind in ((2, "3"), (4, "4"), (3, "3")))
    path = written(tmp_path, layers(lines + region(square(11, 11, 20))))
    with pytest.warns(UserWarning, match=r"3 of 4 regions have < 3 vertices or are arrows or rulers"):
        found = aperio.read(path)
    assert (len(found.regions), found.skipped) == (1, 3)


def test_an_implausible_pixel_size_is_not_taken(tmp_path: Path) -> None:
    for stated, spacing in (("0.25", 0.25), ("250", None), ("-1", None), ("nan", None), ("", None)):
        text = xml(SQUARE).replace('"0.25"', f'"{stated}"')
        assert aperio.read(written(tmp_path, text)).spacing == spacing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<Annotations><Annotation>", "malformed XML"),
        ("", "malformed XML"),
        ("<svg/>", "root element <svg>"),
        (xml(SQUARE).replace('X="2.0"', 'X="two"', 1), "region 1"),
        (xml(SQUARE).replace('X="2.0" ', "", 1), "region 1"),
        (xml(SQUARE).replace('X="2.0"', 'X="nan"', 1), "region 1"),
        (xml(SQUARE).replace('"0.25"', '"fine"', 1), "MicronsPerPixel is 'fine'"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Annotations>&b;</Annotations>', "malformed XML"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        aperio.read(written(tmp_path, text))
    assert "case.xml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"none\.xml"):
        aperio.read(tmp_path / "none.xml")


@pytest.mark.parametrize("name", ["TCGA-21-5784-01Z-00-DX1", "TCGA-A7-A13E-01Z-00-DX1", "TCGA-NH-A8F7-01A-01-TS1"])
def test_real_polygons_match_the_given_instance_labels(data_root: Path, name: str) -> None:
    folder = data_root / "monuseg" / "train"
    annotation = aperio.read(folder / "annotations" / f"{name}.xml")
    found = aperio.rasterise(annotation, (1000, 1000))
    given = read_labels(folder / "instances" / f"{name}.png", (1000, 1000))
    both = ((found > 0) & (given > 0)).sum()
    assert 2 * both / ((found > 0).sum() + (given > 0).sum()) >= 0.997
    assert (found == given)[(found > 0) | (given > 0)].mean() >= 0.99  # instance by instance, same numbering
    assert count_labels(found) == len(annotation.regions) == given.max()
