"""Files as QuPath, ImageJ, COCO tools and spreadsheets write them: the boxes that were meant, or an error."""

from __future__ import annotations

import json
import unicodedata
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from roifile import ROI_TYPE, ImagejRoi

from study.tools.formats import read_boxes

SHAPE = (200, 300)
A, B, C = [20, 20, 40, 45], [60, 20, 82, 40], [20, 100, 46, 120]


def ring(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def thing(box: list[float], kind: str | None = None, **more: Any) -> dict[str, Any]:
    properties = {"objectType": kind} if kind else {}
    own = {key: more.pop(key) for key in ("classification", "childObjects", "name") if key in more}
    geometry = {"type": "Polygon", "coordinates": [ring(*box)], **more.pop("plane", {})}
    return {"type": "Feature", "geometry": geometry, "properties": {**properties, **own}, **more}


def geojson(folder: Path, *features: dict[str, Any]) -> Path:
    path = folder / "q.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def boxes(path: Path, **options: Any) -> list[list[float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_boxes(path, SHAPE, **options).xyxy.tolist()


REGION = [0, 0, 200, 150]


@pytest.mark.parametrize("kind", ["detection", "cell", "annotation", None])
@pytest.mark.parametrize(
    "region",
    [
        thing(REGION, "annotation"),
        thing(REGION, "annotation", classification={"name": "Tumor"}),
        thing(REGION),
        thing(REGION, "tma_core"),
        thing([90, 90, 95, 95], "tma_core"),
        thing([90, 90, 95, 95], "tile"),
        thing([90, 90, 95, 95], "annotation", classification={"name": "Ignore*"}),
        {**thing([90, 90, 95, 95]), "id": "PathRootObject"},
        {**thing([90, 90, 95, 95]), "id": "TMACoreObject"},
        thing([-1, -1, 301, 201], "annotation"),  # the whole image, as QuPath draws it
        {"type": "Feature", "geometry": None, "properties": {"objectType": "root"}},
    ],
)
def test_regions_beside_nuclei_are_left_out_and_named(tmp_path: Path, region: dict[str, Any], kind: str | None) -> None:
    path = geojson(tmp_path, region, *(thing(box, kind) for box in (A, B, C)))
    with pytest.warns(UserWarning, match=r"q\.geojson: 1 of 4 objects are no nuclei: feature 0 \(.*left out"):
        assert read_boxes(path, SHAPE).xyxy.tolist() == [A, B, C]


@pytest.mark.parametrize("place", ["properties", "feature"])
def test_child_objects_are_read_and_their_parents_are_regions(tmp_path: Path, place: str) -> None:
    inner = thing([10, 10, 50, 50], "annotation", childObjects=[thing(A, "detection")])
    children = [inner, thing(B, "cell")]
    outer = thing(REGION, "annotation", **({"childObjects": children} if place == "properties" else {}))
    if place == "feature":
        outer["childObjects"] = children
    path = geojson(tmp_path, outer, thing(C, "detection"))
    assert boxes(path) == [A, B, C]
    with pytest.warns(UserWarning, match=r"2 of 5 objects are no nuclei: feature 0 \(has child.*feature 0, child 0"):
        read_boxes(path)


def test_spots_inside_a_cell_are_no_nuclei(tmp_path: Path) -> None:
    spot = thing([22, 22, 23, 23], "detection", childObjects=[thing([22, 22, 22.5, 22.5], "detection")])
    path = geojson(tmp_path, thing(A, "cell", childObjects=[spot]), thing(B, "detection", childObjects=[spot]))
    assert boxes(path) == [A, B]
    with pytest.warns(UserWarning, match=r"4 of 6 objects are no nuclei: feature 0, child 0 \(part of a cell\)"):
        read_boxes(path)


def test_a_region_that_holds_nothing_is_told_by_the_detections_beside_it(tmp_path: Path) -> None:
    path = geojson(tmp_path, thing([150, 100, 290, 190], "annotation"), thing(A, "detection"), thing(B, "detection"))
    assert boxes(path) == [A, B]


def test_nuclei_of_unlike_sizes_all_stay(tmp_path: Path) -> None:
    large, small, drawn = [10, 10, 60, 60], [12, 12, 26, 26], [100, 20, 130, 50]
    path = geojson(tmp_path, *(thing(box, "annotation") for box in (large, small, drawn)))
    assert boxes(path) == [large, small, drawn]  # one box in another is no region
    path = geojson(tmp_path, thing(drawn, "annotation"), thing(A, "detection"))
    assert boxes(path) == [drawn, A]  # a nucleus drawn by hand beside detected ones
    path = geojson(tmp_path, *(thing(box, "detection") for box in (large, [12, 12, 20, 20], [30, 30, 38, 38])))
    assert len(boxes(path)) == 3  # what was detected is no region


def test_a_long_nucleus_is_no_region_for_its_neighbours(tmp_path: Path) -> None:
    long = thing([0, 0, 1, 1], "annotation")
    long["geometry"]["coordinates"] = [[[10, 10], [16, 10], [90, 88], [90, 94], [84, 94], [10, 16], [10, 10]]]
    small = [[60, 15, 68, 23], [15, 60, 23, 68], [75, 20, 83, 28]]  # in the corners of its bounding box
    path = geojson(tmp_path, long, *(thing(box, "annotation") for box in small))
    assert len(boxes(path)) == 4


def test_an_outline_without_area_is_no_region_and_makes_none(tmp_path: Path) -> None:
    crossed, sliver = thing(A, "annotation"), thing(A, "annotation")
    crossed["geometry"]["coordinates"] = [[[20, 20], [40, 45], [40, 20], [20, 45], [20, 20]]]  # its halves cancel
    sliver["geometry"]["coordinates"] = [[[30, 30], [31, 31], [30, 30], [30, 30]]]
    assert boxes(geojson(tmp_path, crossed)) == [A]
    assert boxes(geojson(tmp_path, thing(A, "annotation"), sliver)) == [A, [30, 30, 31, 31]]


def test_nothing_but_regions_is_an_error(tmp_path: Path) -> None:
    path = geojson(tmp_path, thing([-1, -1, 301, 201], "annotation"))
    with pytest.raises(
        ValueError, match=r"1 of 1 objects are no nuclei: feature 0 \(spans the whole image\); expected"
    ):
        read_boxes(path, SHAPE)


def test_each_area_of_a_collection_is_a_box(tmp_path: Path) -> None:
    feature = thing(A)
    parts = [thing(box)["geometry"] for box in (A, B)]
    inner = {
        "type": "GeometryCollection",
        "geometries": [thing(C)["geometry"], {"type": "Point", "coordinates": [1, 2]}],
    }
    feature["geometry"] = {"type": "GeometryCollection", "geometries": [*parts, inner]}
    path = geojson(tmp_path, feature)
    assert boxes(path) == [A, B, C]
    with pytest.warns(UserWarning, match="feature 0: Point beside areas is left out"):
        read_boxes(path)
    feature["geometry"]["geometries"] = [{"type": "LineString", "coordinates": [[1, 2], [3, 4]]}]
    with pytest.raises(ValueError, match="feature 0: geometry is LineString, expected Polygon"):
        read_boxes(geojson(tmp_path, feature))


def test_a_cell_without_a_nucleus_is_said(tmp_path: Path) -> None:
    path = geojson(tmp_path, thing(A, "cell", nucleusGeometry=thing(B)["geometry"]), thing(C, "cell"))
    with pytest.warns(UserWarning, match="1 cells without a nucleus: the cell's outline is taken"):
        assert read_boxes(path).xyxy.tolist() == [B, C]


def test_several_planes_are_refused(tmp_path: Path) -> None:
    features = [thing(A, plane={"plane": {"c": -1, "z": z, "t": 0}}) for z in (0, 1)]
    with pytest.raises(ValueError, match="objects on several planes"):
        read_boxes(geojson(tmp_path, *features))
    assert boxes(geojson(tmp_path, features[1])) == [A]


@pytest.mark.parametrize("over", [0.5, 1.0])
def test_a_box_just_over_the_edge_is_clipped_and_named(tmp_path: Path, over: float) -> None:
    path = geojson(tmp_path, thing([-over, 10, 20, 30]), thing(A), thing([280, 190, 300 + over, 200 + over]))
    with pytest.warns(UserWarning, match="2 boxes up to a pixel over the edge are clipped"):
        assert read_boxes(path, SHAPE).xyxy.tolist() == [[0, 10, 20, 30], A, [280, 190, 300, 200]]
    path = geojson(tmp_path, thing([-1.5, 10, 20, 30]), thing(A))
    with pytest.raises(ValueError, match=r"box 0 of 2 \[-1.5, 10, 20, 30\] leaves the image"):
        read_boxes(path, SHAPE)


# COCO


def coco(folder: Path, image_id: Any = 7, owner: Any = 7, **changes: Any) -> Path:
    image = {"id": image_id, "file_name": "image.tif", "width": 300, "height": 200}
    box = {"id": 1, "image_id": owner, "category_id": 3, "bbox": [20, 20, 20, 25]}
    content = {"images": [image], "annotations": [box], "categories": [{"id": 3.0, "name": "nucleus"}], **changes}
    path = folder / "c.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("image_id", "owner"), [(7, "7"), ("7", 7), (7.0, 7), (7, 7.0), ("7.0", 7), ("a", " a"), (7, 7)]
)
def test_ids_of_two_types_are_one(tmp_path: Path, image_id: Any, owner: Any) -> None:
    found = read_boxes(coco(tmp_path, image_id, owner), SHAPE, "image.tif")
    assert found.xyxy.tolist() == [A]
    assert found.classes == ("nucleus",)


@pytest.mark.parametrize("wrong", [None, True, [7], {"id": 7}, ""])
def test_other_ids_are_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"c\.json: image 0: 'id' is .*, expected a number or a name"):
        read_boxes(coco(tmp_path, wrong))


def test_an_annotation_of_no_image_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 annotations belong to none of the 1 images, and none to the image"):
        read_boxes(coco(tmp_path, 7, 8))
    path = coco(
        tmp_path, annotations=[{"image_id": 7, "bbox": [20, 20, 20, 25]}, {"image_id": 8, "bbox": [1, 1, 2, 2]}]
    )
    with pytest.warns(UserWarning, match="1 annotations belong to none of the 1 images; left out"):
        assert read_boxes(path).xyxy.tolist() == [A]


def test_crowds_are_said(tmp_path: Path) -> None:
    path = coco(tmp_path, annotations=[{"image_id": 7, "bbox": [20, 20, 20, 25], "iscrowd": k} for k in (0, 1)])
    with pytest.warns(UserWarning, match="1 annotations marked iscrowd are left out"):
        assert read_boxes(path).xyxy.tolist() == [A]


@pytest.mark.parametrize("size", [{"width": 150, "height": 100}, {"width": 200, "height": 300}])
def test_another_image_size_is_refused(tmp_path: Path, size: dict[str, int]) -> None:
    path = coco(tmp_path, images=[{"id": 7, "file_name": "image.tif", **size}])
    with pytest.raises(ValueError, match=r"made on an image of .* px .*, this one is 200×300"):
        read_boxes(path, SHAPE)


@pytest.mark.parametrize(
    "outline",
    [
        [[20, 20, 40, 20, 40, 45, 20, 45]],
        [20, 20, 40, 20, 40, 45],
        [[20, 20, 40, 21, 30, 30], [30, 30, 31, 45, 25, 40]],
    ],
)
@pytest.mark.parametrize("bbox", [{}, {"bbox": []}, {"bbox": None}])
def test_polygons_alone_give_boxes(tmp_path: Path, outline: list, bbox: dict[str, Any]) -> None:
    assert boxes(coco(tmp_path, annotations=[{"image_id": 7, "segmentation": outline, **bbox}])) == [A]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({"segmentation": [[20, 20, 40]]}, "segmentation is"),
        ({"segmentation": [["a", 20, 40, 3, 4, 5]]}, "segmentation is"),
        ({"segmentation": {"counts": "abc", "size": [200, 300]}}, "run-length mask and no bbox"),
        ({"bbox": A, "segmentation": [[20, 20, 40, 20, 40, 45, 20, 45]]}, "holds two corners"),
    ],
)
def test_what_gives_no_box_says_why(tmp_path: Path, annotation: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"annotation 0: .*{said}"):
        read_boxes(coco(tmp_path, annotations=[{"image_id": 7, **annotation}]))


@pytest.mark.parametrize(
    ("names", "image", "chosen"),
    [
        (["slide.v2"], "slide.v2.tif", 0),
        (["slide.v2.png", "slide.v3.png"], "slide.v2.tif", 0),
        (["a.ome.tif", "b.tif"], "a.png", 0),
        (["a/x.tif", "b/x.tif", "image.tif"], "image.tif", 2),
        (["a/x.tif", "b/x.tif"], "/data/b/x.tif", 1),
        (["a\\x.tif", "b\\x.tif"], "/data/b/x.tif", 1),
        (["x.png", "x.tif"], "x.tif", 1),
        ([unicodedata.normalize("NFD", "Ä1.tif")], unicodedata.normalize("NFC", "Ä1.tif"), 0),
        ([unicodedata.normalize("NFC", "Ä1.tif")], unicodedata.normalize("NFD", "Ä1.tif"), 0),
    ],
)
def test_the_image_is_found_by_its_name(tmp_path: Path, names: list[str], image: str, chosen: int) -> None:
    images = [{"id": index, "file_name": name} for index, name in enumerate(names)]
    owned = [{"id": 1, "image_id": index, "bbox": [index, 0, 9, 9]} for index in range(len(names))]
    assert boxes(coco(tmp_path, images=images, annotations=owned), image=image) == [[chosen, 0, chosen + 9, 9]]


def test_two_images_of_one_name_are_refused_if_both_may_be_meant(tmp_path: Path) -> None:
    images = [{"id": index, "file_name": name} for index, name in enumerate(["a/x.tif", "b/x.tif"])]
    with pytest.raises(ValueError, match=r"2 images \['a/x.tif', 'b/x.tif'\], several chosen by 'x'"):
        read_boxes(coco(tmp_path, images=images), image="x.tif")


def test_one_id_for_two_images_or_categories_is_refused(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "a.tif"}, {"id": "7", "file_name": "b.tif"}]
    with pytest.raises(ValueError, match="image 1: id 7 is there twice"):
        read_boxes(coco(tmp_path, images=images), image="a.tif")
    with pytest.raises(ValueError, match="category 1: id 3 is there twice"):
        read_boxes(coco(tmp_path, categories=[{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]))


# CSV, and all formats


def table(folder: Path, text: str) -> Path:
    path = folder / "b.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("header", ["x0,y0,x1,y1,Class,Name", " X0, Y0 ,X1,Y1,CLASS,name "])
def test_headers_in_any_case(tmp_path: Path, header: str) -> None:
    found = read_boxes(table(tmp_path, f"{header}\n20,20,40,45, tumour ,n1\n"))
    assert (found.classes, found.names) == (("tumour",), ("n1",))


@pytest.mark.parametrize("tail", [",,,\n", ",,,,,\n,\n\n", '"","", ,\n', "\n\n"])
def test_what_a_spreadsheet_leaves_behind_does_not_count(tmp_path: Path, tail: str) -> None:
    assert boxes(table(tmp_path, f"x0,y0,x1,y1,,\n20,20,40,45,,\n{tail}")) == [A]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x0,y0,x1,y1,x0\n20,20,40,45,0\n", "line 1: column x0 is there twice"),
        ("x0,y0,x1,y1,Class,class\n20,20,40,45,a,b\n", "line 1: column class is there twice"),
        ("x0,y0,x1,y1\n20,5,20,40,45\n", "line 2: 5 values for 4 columns.*decimal"),
        ("x0,y0,x1,y1\n20,20,40,45\n,,,7\n", "line 3: sides are"),
        ("x0;y0;x1;y1\n20;20;40;45\n", "line 1: no column x0.*with commas, found 'x0;y0;x1;y1'"),
        ("x0,y0,x1,y1\n20,20,nan,45\n", "line 2: sides are .*expected four numbers"),
        ("x0,y0,x1,y1\n20,20,1e39,45\n", "box 0 of 1 is not finite"),
    ],
)
def test_tables_that_mean_something_else_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"b\.csv: {said}"):
        read_boxes(table(tmp_path, text))


def test_fractions_of_the_image_are_no_pixels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all sides lie between 0 and 1: fractions of the image, expected pixels"):
        read_boxes(table(tmp_path, "x0,y0,x1,y1\n0.1,0.1,0.2,0.2\n0.5,0.5,1,1\n"))
    assert boxes(table(tmp_path, "x0,y0,x1,y1\n0,0,1,1\n")) == [[0, 0, 1, 1]]  # the first pixel


@pytest.mark.parametrize("unit", ["1.020,1.100,1.045,1.130", "-0.1,0.2,0.4,0.5", "0.1,0.1,0.2,1.001"])
def test_boxes_narrower_than_a_pixel_are_of_another_unit(tmp_path: Path, unit: str) -> None:
    with pytest.raises(ValueError, match=r"b\.csv: every box is narrower than a pixel, expected pixels"):
        read_boxes(table(tmp_path, f"x0,y0,x1,y1\n{unit}\n"))
    path = table(tmp_path, f"x0,y0,x1,y1\n{unit}\n20.5,20,40,45\n")
    assert boxes(path)[1] == [20.5, 20, 40, 45]  # one small box is none of our business


# ImageJ


def roi(box: list[int], **more: Any) -> bytes:
    return ImagejRoi(roitype=ROI_TYPE.RECT, left=box[0], top=box[1], right=box[2], bottom=box[3], **more).tobytes()


def zipped(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "r.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "junk",
    [
        "Thumbs.db",
        "sub/Thumbs.db",
        "desktop.ini",
        "ehthumbs.db",
        "__MACOSX/._a.roi",
        "x/__MACOSX/a",
        ".DS_Store",
        "Icon\r",
    ],
)
def test_what_file_managers_leave_in_an_archive_does_not_count(tmp_path: Path, junk: str) -> None:
    assert boxes(zipped(tmp_path, {"a.roi": roi(A), junk: b"junk", "b.roi": roi(B)})) == [A, B]


def test_rois_of_several_slices_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, {f"{z}.roi": roi(A, version=228, z_position=z) for z in (1, 2)})
    with pytest.raises(ValueError, match="ROIs on 2 slices of a stack"):
        read_boxes(path)
    path = zipped(tmp_path, {f"{name}.roi": roi(A, position=3) for name in "ab"})
    assert np.array_equal(boxes(path), [A, A])
