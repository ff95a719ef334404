"""An annotation on disk after every change, with SAM's masks; files in and out; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from allinsam_core.annotation.predict import BoxAnnotator, BoxMask
from study.annotator import static
from study.annotator.session import Session, Shape, svg_path
from study.tools.formats import Boxes, read_boxes
from study.tools.formats.outline import rasterise
from study.tools.formats.writers import write_boxes

IMAGE = np.full((60, 80, 3), 200, np.uint8)
BOX: dict[str, Any] = {"id": "a", "kind": "box", "points": [[10, 20], [30.5, 44]], "class": "podocyte"}
OUTLINE: dict[str, Any] = {"id": "b", "kind": "outline", "points": [[50, 5], [70, 5], [60, 25]], "class": ""}
CLASSES = ("", "podocyte")


def session(folder: Path, **more: Any) -> Session:
    return Session(folder / "x.geojson", IMAGE, classes=CLASSES, **more)


def test_what_was_changed_is_there_when_opened_again(tmp_path: Path) -> None:
    first = session(tmp_path)
    first.change(1, [BOX, OUTLINE], {"action": "draw", "seconds": 1.5, "clicks": 1})
    again = session(tmp_path)
    assert again.revision == 1
    plain = [{**shape.plain(), "id": ""} for shape in again.shapes]
    assert plain == [{**BOX, "id": ""}, {**OUTLINE, "id": ""}]
    (line,) = again.trace.read_text().splitlines()
    assert {"action": "draw", "seconds": 1.5, "clicks": 1}.items() <= json.loads(line).items()


def test_a_failed_save_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = session(tmp_path)
    kept.change(1, [BOX])
    before = kept.path.read_bytes()

    def full(path: Path, text: str, **more: Any) -> None:
        path.write_bytes(text[: len(text) // 2].encode())
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            kept.change(2, [BOX, OUTLINE])
    assert kept.path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.geojson"]
    assert kept.revision == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"points": [[10, 20], [81, 44]]}, "leaves the image"),
        ({"points": [[10, float("nan")], [30, 44]]}, "leaves the image"),
        ({"points": [[10, 20]]}, "expected a box or outline"),
        ({"kind": "star"}, "expected a box or outline"),
        ({"class": "tubule"}, "expected one of"),
    ],
)
def test_what_the_browser_sends_is_checked(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        session(tmp_path).change(1, [BOX | wrong])
    assert not (tmp_path / "x.geojson").exists()


def test_only_new_boxes_are_asked_for(tmp_path: Path, tiny_sam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    annotator = BoxAnnotator(tiny_sam, 64)
    predict = annotator.predict
    monkeypatch.setattr(annotator, "predict", lambda boxes, source: asked.append(len(boxes)) or predict(boxes, source))
    one = session(tmp_path, annotator=annotator)
    one.change(1, [BOX])
    first = one.masks()["a"]
    one.change(2, [BOX, {**BOX, "id": "c", "points": [[40, 30], [55, 50]]}, OUTLINE])
    assert set(one.masks()) == {"a", "c"}
    assert asked == [1, 1]
    alone = BoxAnnotator(tiny_sam, 64).annotate(IMAGE, np.array([[10, 20, 30.5, 44]], np.float32))[0]
    assert np.array_equal(first.full((60, 80)), alone.full((60, 80)))


def test_a_label_image_of_masks_and_outlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = session(tmp_path)
    one.change(1, [OUTLINE, BOX])
    monkeypatch.setattr(one, "masks", lambda: {"a": BoxMask(22, 12, np.ones((3, 4), bool), 0.9)})
    found = one.instances()
    triangle = rasterise(shapely.Polygon(OUTLINE["points"]), (60, 80))
    assert np.array_equal(found == 1, triangle)
    assert np.array_equal(np.argwhere(found == 2)[[0, -1]], [[22, 12], [24, 15]])
    assert (found == 2).sum() == 12


@pytest.mark.parametrize("suffix", [".geojson", ".json", ".zip", ".csv"])
def test_every_format_gives_back_what_was_written(tmp_path: Path, suffix: str) -> None:
    sides = np.array([[1, 2, 9, 12], [3.5, 4.25, 20, 30]], np.float32)
    area = shapely.Polygon([(30, 30), (50, 30), (40, 55)])
    sides = np.vstack([sides, np.array([area.bounds], np.float32)])
    given = Boxes(sides, ("p", "q", "r"), ("podocyte", "mesangial", "podocyte"), areas=(None, None, area))
    path = tmp_path / f"x{suffix}"
    write_boxes(path, given, (60, 80), "x.png")
    found = read_boxes(path, (60, 80), "x.png")
    np.testing.assert_allclose(found.xyxy, given.xyxy)
    assert found.classes == (("group 2", "group 1", "group 2") if suffix == ".zip" else given.classes)
    if suffix != ".csv":
        assert found.areas[2] is not None
        assert found.areas[2].equals(area)
        assert all(
            a is None or a.equals(shapely.box(*s)) for a, s in zip(found.areas[:2], sides[:2].tolist(), strict=True)
        )


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected \.geojson, \.json, \.zip, \.csv"):
        write_boxes(tmp_path / "x.xlsx", Boxes.of(np.array([[0, 0, 2, 2]])), (60, 80), "x.png")


def test_a_file_is_added_and_its_class_becomes_known(tmp_path: Path) -> None:
    (tmp_path / "y.csv").write_text("x0,y0,x1,y1,class\n1,2,9,12,mesangial\n")
    one = session(tmp_path)
    one.change(1, [BOX])
    one.read(tmp_path / "y.csv")
    assert [shape.name for shape in session(tmp_path).shapes] == ["podocyte", "mesangial"]
    assert one.classes == ["", "podocyte", "mesangial"]
    assert one.revision == 2


def test_a_mask_as_an_svg_path() -> None:
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    path = svg_path(BoxMask(10, 20, ring, 1.0))
    assert path.count("M") == path.count("Z") == 2
    assert {"20 10", "23 13", "21 11", "22 12"} <= set(path.replace("M", "L").replace("Z", "L").split("L"))
    assert svg_path(BoxMask(0, 0, np.zeros((0, 0), bool), 1.0)) == ""


def test_the_static_view_shows_every_shape_and_asks_nothing_outside() -> None:
    shapes = [Shape.of(given, CLASSES, (60, 80)) for given in (BOX, OUTLINE)]
    pictures = [{"name": name, "width": 80, "height": 60, "data": b"\x89PNG"} for name in ("<pas>", "if")]
    page = static.html(pictures, shapes, {"a": "M1 2L3 4Z"}, CLASSES)
    assert page.count("<image") == 2
    assert page.count("<polygon") == 4
    assert page.count('<path d="M1 2L3 4Z"') == 2
    assert "&lt;pas&gt;" in page
    assert "http" not in page
