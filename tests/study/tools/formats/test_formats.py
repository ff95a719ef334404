"""Reading boxes from every format, writing nuclei back, and refusing what cannot be trusted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from allinsam_core.annotation import boxes as box_rules
from study.tools import formats
from study.tools.formats import Boxes, entries, imagej, read_boxes
from study.tools.formats.outline import rasterise


@pytest.fixture
def instances() -> np.ndarray:
    """A disc (1), a ring (2), a rectangle that touches it (5) and two blobs under one label (8); 40×50 px."""
    y, x = np.mgrid[:40, :50]
    labels = np.zeros((40, 50), np.uint16)
    labels[(y - 10) ** 2 + (x - 10) ** 2 < 50] = 1
    away = (y - 25) ** 2 + (x - 30) ** 2
    labels[(away < 80) & (away > 20)] = 2
    labels[20:24, 39:45] = 5
    labels[0:3, 40:42] = labels[5:8, 46:50] = 8
    return labels


def save(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def feature(coordinates: Any, kind: str = "Polygon", **more: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": {}, **more}


SQUARE = [[[2, 3], [8, 3], [8, 9], [2, 9], [2, 3]]]
HEADER = "x0,y0,x1,y1"


# round trips


def test_geojson_gives_the_same_pixels_and_boxes_back(tmp_path: Path, instances: np.ndarray) -> None:
    file = tmp_path / "n.geojson"
    assert formats.write_geojson(file, instances, classes=["a", "", "b", "b"]) == 4
    found = read_boxes(file, instances.shape)
    assert (found.xyxy == box_rules.tight(instances)).all()
    assert found.classes == ("a", "", "b", "b")
    assert found.names == ("1", "2", "5", "8")
    for item in json.loads(file.read_text())["features"]:
        again = rasterise(shapely.from_geojson(json.dumps(item["geometry"])), instances.shape)
        assert (again == (instances == int(item["id"]))).all()  # IoU = 1


def test_imagej_gives_the_same_pixels_and_boxes_back(tmp_path: Path, instances: np.ndarray) -> None:
    file = tmp_path / "rois.zip"
    file.write_bytes(b"an older archive")  # replaced, not added to
    assert formats.write_imagej(file, instances, names=["p", "q", "r", "s"]) == 4
    found = read_boxes(file, instances.shape)
    assert (found.xyxy == box_rules.tight(instances)).all()
    assert found.names == ("p", "q", "r", "s")
    sides = [(r.left, r.top, r.right, r.bottom) for r in ImagejRoi.fromfile(file)]
    assert np.array_equal(sides, box_rules.tight(instances))  # the rectangle that ImageJ shows
    for roi, value in zip(ImagejRoi.fromfile(file), (1, 2, 5, 8), strict=True):
        again = np.zeros(instances.shape, bool)
        for ring in roi.coordinates(multi=True):  # even-odd, as ImageJ fills a composite
            again ^= rasterise(shapely.Polygon(ring), instances.shape)
        assert (again == (instances == value)).all()
    assert [p.name for p in tmp_path.iterdir()] == ["rois.zip"]  # no temporary file is left


def test_imagej_coordinates_beyond_16_bit_signed_numbers(tmp_path: Path) -> None:
    labels = np.zeros((2, 40_000), np.uint16)
    labels[:, 39_000:39_010] = 1
    formats.write_imagej(tmp_path / "far.zip", labels)
    assert read_boxes(tmp_path / "far.zip").xyxy.tolist() == [[39_000, 0, 39_010, 2]]


def test_csv_gives_the_same_boxes_back(tmp_path: Path) -> None:
    boxes = Boxes(np.array([[0.125, 1, 2, 3.3], [4, 5, 60, 70]], np.float32), ("x, y", ""), ("", "naïve"))
    formats.write_csv(tmp_path / "b.csv", boxes)
    found = read_boxes(tmp_path / "b.csv")
    assert (found.xyxy == boxes.xyxy).all()
    assert (found.names, found.classes) == (boxes.names, boxes.classes)


def test_a_failed_write_leaves_the_older_file(tmp_path: Path, instances: np.ndarray) -> None:
    file = save(tmp_path / "n.geojson", "older")
    with pytest.raises(ValueError, match="not JSON compliant"):
        formats.write_geojson(file, instances, measurements=[{"v": float("nan")}] * 4)
    assert file.read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("write", [formats.write_geojson, formats.write_imagej])
def test_writers_want_one_text_per_instance(tmp_path: Path, instances: np.ndarray, write: Any) -> None:
    with pytest.raises(ValueError, match=r"2 .* for 4 instances"):
        write(tmp_path / "x", instances, ["a", "b"])


def test_imagej_refuses_an_image_too_large_for_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="GeoJSON instead"):
        formats.write_imagej(tmp_path / "x.zip", np.zeros((1, imagej.FARTHEST + 1), np.uint16))


# ImageJ, read


def roi(kind: ROI_TYPE, **more: Any) -> ImagejRoi:
    return ImagejRoi(roitype=kind, left=2, top=3, right=8, bottom=9, **more)


@pytest.mark.parametrize("kind", [ROI_TYPE.RECT, ROI_TYPE.OVAL])
def test_rectangle_and_oval(tmp_path: Path, kind: ROI_TYPE) -> None:
    roi(kind, group=3).tofile(tmp_path / "one.roi")
    found = read_boxes(tmp_path / "one.roi", (20, 20))
    assert found.xyxy.tolist() == [[2, 3, 8, 9]]
    assert found.names == ("one",)
    assert found.classes == ("group 3",)


def test_subpixel_rectangle_and_freehand(tmp_path: Path) -> None:
    part = roi(ROI_TYPE.RECT, options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION, xd=2.5, yd=3.25, widthd=4, heightd=5)
    part.tofile(tmp_path / "a.roi")
    assert read_boxes(tmp_path / "a.roi").xyxy.tolist() == [[2.5, 3.25, 6.5, 8.25]]
    ImagejRoi.frompoints(np.array([[1.5, 2], [9, 2.5], [5, 7.75]]), name="free").tofile(tmp_path / "b.roi")
    found = read_boxes(tmp_path / "b.roi")
    assert found.xyxy.tolist() == [[1.5, 2, 9, 7.75]]
    assert found.names == ("free",)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (roi(ROI_TYPE.LINE), "is a line"),
        (roi(ROI_TYPE.NOROI), "is a noroi"),
        (roi(ROI_TYPE.POINT, n_coordinates=1, integer_coordinates=np.zeros((1, 2), np.int32)), "is a point"),
        (roi(ROI_TYPE.RECT, subtype=ROI_SUBTYPE.TEXT, text="hi"), "is a text"),
    ],
)
def test_a_roi_without_area_is_named(tmp_path: Path, made: ImagejRoi, said: str) -> None:
    made.tofile(tmp_path / "x.roi")
    with pytest.raises(ValueError, match=rf"x\.roi: ROI 'x' {said}, expected a rectangle"):
        read_boxes(tmp_path / "x.roi")


def damaged() -> dict[str, bytes]:
    polygon = ImagejRoi.frompoints([[0, 0], [5, 0], [5, 5]]).tobytes()
    endless = bytearray(polygon)
    endless[16:18] = b"\xff\xff"  # claims 65,535 points
    path = roi(ROI_TYPE.RECT, shape_roi_size=2, multi_coordinates=np.array([9, 9], np.float32)).tobytes()
    return {"": b"", "text": b"hello" * 40, "cut": polygon[:66], "endless": bytes(endless), "path": path}


@pytest.mark.parametrize("which", sorted(damaged()))
def test_a_damaged_roi_is_named(tmp_path: Path, which: str) -> None:
    (tmp_path / "x.roi").write_bytes(damaged()[which])
    with pytest.raises(ValueError, match=r"x\.roi: ROI 'x': not a readable ImageJ ROI"):
        read_boxes(tmp_path / "x.roi")


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_archive_keeps_order_and_skips_a_macs_extras(tmp_path: Path) -> None:
    one = roi(ROI_TYPE.RECT).tobytes()
    file = archive(tmp_path / "r.zip", **{"b.roi": one, "__MACOSX/._b.roi": b"", ".DS_Store": b"", "a.roi": one})
    assert read_boxes(file).names == ("b", "a")


@pytest.mark.parametrize("name", ["../up.roi", "/root.roi", "C:\\x.roi", "a/../../b.roi", "..\\up.roi"])
def test_a_member_outside_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="points outside the archive"):
        read_boxes(archive(tmp_path / "r.zip", **{name: roi(ROI_TYPE.RECT).tobytes()}))


def test_other_members_and_damaged_members_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"member 'a\.txt', expected \.roi"):
        read_boxes(archive(tmp_path / "r.zip", **{"a.txt": b""}))
    with pytest.raises(ValueError, match=r"s\.zip: ROI 'bad': not a readable"):
        read_boxes(archive(tmp_path / "s.zip", **{"ok.roi": roi(ROI_TYPE.RECT).tobytes(), "bad.roi": b"x" * 99}))


def test_an_encrypted_or_broken_archive_is_named(tmp_path: Path) -> None:
    file = archive(tmp_path / "r.zip", **{"a.roi": roi(ROI_TYPE.RECT).tobytes()})
    data = bytearray(file.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 8] |= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="is encrypted"):
        read_boxes(file)
    file.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match="not a readable zip"):
        read_boxes(file)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = archive(tmp_path / "r.zip", **{"a.roi": bytes(5000)})
    monkeypatch.setattr(imagej, "MAX_ROI_BYTES", 4000)
    with pytest.raises(ValueError, match="ROI 'a': more than 4,000 bytes"):
        read_boxes(file)
    monkeypatch.setattr(imagej, "MAX_BYTES", 4500)
    with pytest.raises(ValueError, match="5,000 bytes unpacked"):
        read_boxes(file)


# GeoJSON, read


def test_qupath_feature_collection_multipolygon_and_cell(tmp_path: Path) -> None:
    far = [[[20, 20], [22.5, 20], [22.5, 30], [20, 20]]]
    content = {
        "type": "FeatureCollection",
        "features": [
            feature(SQUARE, properties={"classification": {"name": "Tumor", "color": [1, 2, 3]}, "name": "n1"}),
            feature([SQUARE, far], "MultiPolygon", id="u-2", properties={"classification": "Stroma"}),
            feature(far, nucleusGeometry={"type": "Polygon", "coordinates": SQUARE}, properties=None),
            feature(SQUARE, properties={"classification": {"names": ["A", "B"]}}),
        ],
    }
    found = read_boxes(save(tmp_path / "q.geojson", content))
    assert found.xyxy.tolist() == [[2, 3, 8, 9], [2, 3, 22.5, 30], [2, 3, 8, 9], [2, 3, 8, 9]]
    assert found.classes == ("Tumor", "Stroma", "", "A/B")
    assert found.names == ("n1", "u-2", "", "")


@pytest.mark.parametrize("content", [feature(SQUARE), [feature(SQUARE)]])
def test_one_feature_or_an_older_list(tmp_path: Path, content: Any) -> None:
    assert read_boxes(save(tmp_path / "q.json", content)).xyxy.tolist() == [[2, 3, 8, 9]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not valid JSON"),
        ('{"a": NaN}', "not valid JSON: the number NaN"),
        ("[" * 200_000, "not valid JSON"),
        ("3", "found int, expected a GeoJSON"),
        ({"type": "FeatureCollection", "features": {}}, "expected a GeoJSON"),
        ([feature(SQUARE), 5], 'feature 1: expected an object with "type": "Feature"'),
        ([feature([1, 2], "Point")], "feature 0: geometry is Point"),
        ([{"type": "Feature", "geometry": None}], "feature 0: geometry is missing"),
        ([feature([])], "feature 0: geometry is Polygon"),
        ([feature([[]], "MultiPolygon")], "feature 0: a polygon without a ring"),
        ([feature([[[1, 2], [3, 4]]])], "feature 0: coordinates of shape"),
        ([feature([[[1, 2], [3]]])], "feature 0: coordinates are not numbers"),
        ([feature([[["a", 2], [3, 4], [1, 1]]])], "feature 0: coordinates are not numbers"),
        ([feature([[[1e999, 2], [3, 4], [1, 1]]])], "Infinity|not finite"),
    ],
)
def test_wrong_geojson_is_named(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(ValueError, match=rf"q\.geojson: .*({said})"):
        read_boxes(save(tmp_path / "q.geojson", content))


def test_a_number_too_large_for_a_float_is_not_finite(tmp_path: Path) -> None:
    text = json.dumps([feature([[["@", 2], [3, 4], [1, 1]]])]).replace('"@"', "1e999")
    with pytest.raises(ValueError, match="feature 0: a coordinate is not finite"):
        read_boxes(save(tmp_path / "q.geojson", text))


# COCO, read


def coco(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "slides/a.tif"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [
            {"id": 10, "image_id": 1, "category_id": 7, "bbox": [2, 3, 6, 6.5]},
            {"id": 11, "image_id": 2, "bbox": [0, 0, 1, 1]},
            {"id": 12, "image_id": 2, "category_id": 7, "bbox": [5, 5, 2, 2], "iscrowd": 1},
        ],
        "categories": [{"id": 7, "name": "podocyte"}],
    }
    return {**content, **changes}


def test_coco_by_file_name(tmp_path: Path) -> None:
    file = save(tmp_path / "c.json", coco())
    found = read_boxes(file, (20, 20), image="elsewhere/a.png")
    assert found.xyxy.tolist() == [[2, 3, 8, 9.5]]
    assert (found.names, found.classes) == (("10",), ("podocyte",))
    assert read_boxes(file, image="b.png").names == ("11",)
    only = save(tmp_path / "o.json", coco(images=[{"id": 1, "file_name": "a.tif"}]))
    assert len(read_boxes(only)) == 1


@pytest.mark.parametrize(
    ("changes", "image", "said"),
    [
        ({}, None, "2 images .* none chosen"),
        ({}, "c.png", "2 images .* none chosen by 'c'"),
        ({"images": 3}, "a", 'COCO needs the lists "images"'),
        ({"images": [{"id": 1, "file_name": "a.tif"}, {"id": 2, "file_name": "a.png"}]}, "a", "2 images .* several"),
        ({"images": [{"id": 1, "file_name": "x/a"}, {"id": 2, "file_name": "y/a"}]}, "a", "2 images .* several"),
        ({"images": [{"file_name": "a"}]}, "a", "image 0: 'id' is None"),
        ({"categories": 1}, "a", '"categories" is int'),
        ({"annotations": [3]}, "a", "annotation 0: 'image_id' is None"),
        ({"annotations": [{"image_id": 1}]}, "a", "annotation 0: bbox is None"),
        ({"annotations": [{"image_id": 1, "bbox": [1, 2, 3]}]}, "a", r"annotation 0: bbox is \[1, 2, 3\]"),
        ({"annotations": [{"image_id": 1, "bbox": [1, 2, "3", 4]}]}, "a", "annotation 0: bbox is"),
    ],
)
def test_wrong_coco_is_named(tmp_path: Path, changes: dict[str, Any], image: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=rf"c\.json: {said}"):
        read_boxes(save(tmp_path / "c.json", coco(**changes)), image=image)


# CSV, read, and the bounds of all


def test_csv_with_further_columns_and_a_byte_order_mark(tmp_path: Path) -> None:
    found = read_boxes(save(tmp_path / "b.csv", f"\ufeffscore,{HEADER},class\n0.5,1,2,3,4,tumour\n"))
    assert found.xyxy.tolist() == [[1, 2, 3, 4]]
    assert found.classes == ("tumour",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: no column x0, y0, x1, y1"),
        ("x,y,w,h\n1,2,3,4\n", "line 1: no column x0.*found 'x,y,w,h'"),
        (f"{HEADER}\n1,2,3,4\n1,2,three,4\n", "line 3: sides are"),
        (f"{HEADER}\n1,2,3\n", "line 2: sides are"),
    ],
)
def test_wrong_csv_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"b\.csv: {said}"):
        read_boxes(save(tmp_path / "b.csv", text))


def test_csv_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(f"{HEADER},class\n1,2,3,4,".encode() + b"\xff\xfe\n")
    with pytest.raises(ValueError, match=r"b\.csv: not a CSV file in UTF-8"):
        read_boxes(tmp_path / "b.csv")


def test_boxes_outside_the_image_are_refused_with_a_shape_only(tmp_path: Path) -> None:
    file = save(tmp_path / "b.csv", f"{HEADER}\n1,2,30,4\n")
    assert len(read_boxes(file)) == 1
    with pytest.raises(ValueError, match=r"b\.csv: box 0 of 1 \[1, 2, 30, 4\] leaves the image"):
        read_boxes(file, (10, 10))


def test_missing_unknown_and_oversized_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="no such file of boxes"):
        read_boxes(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"cannot read boxes from '\.pkl'"):
        read_boxes(save(tmp_path / "b.pkl", ""))
    file = save(tmp_path / "b.csv", f"{HEADER}\n1,2,3,4\n1,2,3,4\n")
    monkeypatch.setattr(entries, "MAX_ENTRIES", 1)
    with pytest.raises(ValueError, match="2 entries, expected at most 1"):
        read_boxes(file)
    monkeypatch.setattr(formats, "MAX_BYTES", 3)
    with pytest.raises(ValueError, match="bytes, expected at most 3"):
        read_boxes(file)


def test_boxes_names_and_classes_go_together() -> None:
    with pytest.raises(ValueError, match="expected \\(N, 4\\), N and N"):
        Boxes(np.zeros((2, 4), np.float32), ("a",), ("b", "c"))
    assert len(Boxes.of(np.zeros((0, 4)))) == 0
