"""Numbers that Python reads and nobody wrote as numbers: refused at every door, by file and line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from allinsam_core.settings import SettingsError
from study import grid, numbers
from study.annotator import cost
from study.annotator.session import Session
from study.datasets import aperio, brca_m2c
from study.molecular.inhouse_folder import COLUMNS, read_slides
from study.tools import doctor, folder, spacing
from study.tools.cli import app
from study.tools.formats import read_boxes
from study.tools.formats.points import read_points

NONE = ("2_0", "1_000.5", "nan", "inf", "-Infinity", "٣", "２", "0x10", "1e999", "", " ", "1,5", "1 0", "½", "1\xa0000")
SHAPE = (64, 64)


@pytest.mark.parametrize("text", [*NONE, None, True])
def test_what_is_no_number(text: Any) -> None:
    for kind in (numbers.number, numbers.whole):
        with pytest.raises(ValueError, match=r"is no (whole )?number, expected digits"):
            kind(text)


def test_what_is_a_number() -> None:
    for given, value in (("20", 20), (" 2.50\t", 2.5), ("-.5", -0.5), ("+3.", 3), ("1E-3", 0.001), (2.5, 2.5), (7, 7)):
        assert numbers.number(given) == value
    assert [numbers.whole(given) for given in ("300", " -4 ", 7)] == [300, -4, 7]
    for text in ("2.0", "1e3", "9" * 5000):
        with pytest.raises(ValueError, match="is no whole number"):
            numbers.whole(text)
    bounded = numbers.within(numbers.number, 0, 1)
    assert bounded("1") == 1
    with pytest.raises(ValueError, match=r"1\.5 is out of range, expected 0 to 1"):
        bounded("1.5")


def test_an_array_holds_numbers_only() -> None:
    assert numbers.array([[1, 2.5], [3, 4]]).tolist() == [[1, 2.5], [3, 4]]
    for given in ([["1", 2]], [[1, None]], [True, False], [[1], [2, 3]], [10**400], {"x": 1}):
        with pytest.raises(ValueError, match=r"not all are numbers|inhomogeneous"):
            numbers.array(given)


def in_csv(path: Path, text: str) -> object:
    path = path.with_suffix(".csv")
    path.write_text(f'x0,y0,x1,y1\n1,1,20,20\n5,5,"{text}",20\n', encoding="utf-8")
    return read_boxes(path, SHAPE)


def in_points(path: Path, text: str) -> object:
    path = path.with_suffix(".csv")
    path.write_text(f'x,y\n1,1\n5,"{text}"\n', encoding="utf-8")
    return read_points(path, SHAPE, 3)


def in_class_table(path: Path, text: str) -> object:
    path.write_text(f'label,class\n1,a\n"{text}",b\n', encoding="utf-8")
    return folder._class_table(path)


def in_aperio_vertex(path: Path, text: str) -> object:
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((2, 3), (6, 3), (text, 8)))
    regions = f'<Region Id="1"><Vertices>{vertices}</Vertices></Region>'
    path.write_text(f"<Annotations><Annotation><Regions>{regions}</Regions></Annotation></Annotations>", "utf-8")
    return aperio.read(path)


def in_published_points(path: Path, text: str) -> object:
    path = path.with_suffix(".txt")
    path.write_text(f"1 1 1\n5 {text} 2\n", encoding="utf-8")
    return brca_m2c._points(path, SHAPE)


def in_annotators_log(path: Path, text: str) -> object:
    entry = {"seconds": text, "clicks": 1, "keys": 0, "action": "draw", "id": "a", "kind": "box"}
    path.write_text(json.dumps(entry), encoding="utf-8")
    return cost.read([path])


def outline(text: object) -> list[list[object]]:
    return [[2, 2], [9, 2], [9, text], [2, 9]]


def in_geojson(path: Path, text: object) -> object:
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [outline(text)]}, "properties": {}}
    path.with_suffix(".geojson").write_text(json.dumps([feature]), encoding="utf-8")
    return read_boxes(path.with_suffix(".geojson"), SHAPE)


def in_geojson_points(path: Path, text: object) -> object:
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [3, text]}, "properties": {}}
    path.with_suffix(".geojson").write_text(json.dumps([feature]), encoding="utf-8")
    return read_points(path.with_suffix(".geojson"), SHAPE, 3)


def in_coco(path: Path, text: object, **changes: object) -> object:
    entry = {
        "id": 1,
        "image_id": 1,
        "bbox": [2, 2, 7, 7],
        "segmentation": [[side for point in outline(text) for side in point]],
    } | changes
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [entry]}
    path.with_suffix(".json").write_text(json.dumps(content), encoding="utf-8")
    return read_boxes(path.with_suffix(".json"), SHAPE)


def in_coco_box(path: Path, text: object) -> object:
    return in_coco(path, 9, bbox=[2, 2, 7, text])


def in_coco_runs(path: Path, text: object) -> object:
    return in_coco(path, 9, segmentation={"size": [64, text], "counts": [4096]})


TABLES = [in_csv, in_points, in_class_table, in_aperio_vertex, in_annotators_log]
OBJECTS = [in_geojson, in_geojson_points, in_coco, in_coco_box, in_coco_runs]


@pytest.mark.parametrize("text", NONE)
@pytest.mark.parametrize("read", TABLES)
def test_a_table_with_such_a_number_is_refused_by_name(tmp_path: Path, read: Callable[..., Any], text: str) -> None:
    read(tmp_path / "own", "20" if read is not in_class_table else "2")
    with pytest.raises(ValueError, match=r"own.*(number|numeric)"):
        read(tmp_path / "own", text)


@pytest.mark.parametrize("text", ["2_0", "nan", "٣", "inf"])
def test_published_points_with_such_a_number_are_refused(tmp_path: Path, text: str) -> None:
    in_published_points(tmp_path / "own", "20")
    with pytest.raises(ValueError, match=r"own\.txt: a line is not y x class \('.*' is no number"):
        in_published_points(tmp_path / "own", text)


@pytest.mark.parametrize("text", ["2_0", "9", "nan", "٣", None, float("inf")])
@pytest.mark.parametrize("read", OBJECTS)
def test_json_with_text_for_a_number_is_refused_by_name(tmp_path: Path, read: Callable[..., Any], text: Any) -> None:
    read(tmp_path / "own", 64 if read is in_coco_runs else 9)
    with pytest.raises(ValueError, match=r"own\.(geo)?json: "):
        read(tmp_path / "own", text)


@pytest.mark.parametrize("text", NONE)
def test_a_slides_spacing(tmp_path: Path, text: str) -> None:
    (tmp_path / "slides.csv").write_text(f'{",".join(COLUMNS)}\na,yes,"{text}",1,2\nb,no,0.5,"{text}",2\n', "utf-8")
    slides, problems = read_slides(tmp_path / "slides.csv")
    empty = not text.strip()  # thresholds may be
    assert list(slides) == ["b"] * empty
    assert len(problems) == 2 - empty
    assert all("is no number" in problem for problem in problems)


def test_pixel_sizes_in_digits_of_other_scripts_and_with_underscores_are_unknown() -> None:
    assert spacing._mpp("MPP = 0.25", 10, 10) == 0.25
    assert spacing._mpp("MPP = 0,25", 10, 10) == 0.25
    for text in ("0_2", "٠.٢٥", "1e-٣", "nan"):
        assert spacing._mpp(f"MPP = {text}", 10, 10) is None
    head = '<OME><Image><Pixels SizeX="10" PhysicalSizeX="{0}" PhysicalSizeY="{0}"/></Image></OME>'
    assert spacing._from_ome(head.format("0.25"), 10) == 0.25
    for text in ("0_2", "٢", "inf"):
        assert spacing._from_ome(head.format(text), 10) is None


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["segment", "a.png", "--out", "o", "--spacing"], "0_2"),
        (["segment", "a.png", "--out", "o", "--threshold"], "nan"),
        (["annotate", "a.png", "--boxes", "b.csv", "--out", "o", "--spacing"], "nan"),
        (["train", "folder", "--out", "m.safetensors", "--spacing"], "0_2"),
        (["train", "folder", "--out", "m.safetensors", "--radius"], "0_4"),
        (["train", "folder", "--out", "m.safetensors", "--steps"], "1_000"),
        (["train", "folder", "--out", "m.safetensors", "--seed"], "2.0"),
        (["score", "a.png", "b.png", "--threshold"], "0_1"),
        (["run", "--fraction"], "0_1"),
        (["run", "--seed"], "1_0"),
        (["pretrain", "--steps"], "1_0"),
        (["notebook", "pages", "a", "--jobs"], "1_0"),
    ],
)
def test_an_option_with_such_a_number_is_refused(words: list[str], text: str) -> None:
    found = CliRunner().invoke(app, [*words, text], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert found.exit_code == 2
    assert f"Invalid value for '{words[-1]}'" in found.output
    assert "number" in found.output


def test_options_keep_their_bounds() -> None:
    for words in (
        ("score", "a", "b", "--threshold", "1.5"),
        ("train", "f", "--out", "m", "--steps", "0"),
        ("train", "f", "--out", "m", "--seed", "-1"),
        ("notebook", "pages", "a", "--jobs", "0"),
    ):
        found = CliRunner().invoke(app, list(words))
        assert found.exit_code == 2
        assert "out of range" in found.output


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_settings_are_finite(value: str) -> None:
    with pytest.raises(SettingsError, match=r"train\.learning_rate is (nan|-?inf), expected a finite number"):
        grid.profile("smoke").run("unet", label="complete", fraction=1.0, seed=0, settings=f"{{lr: {value}}}")


@pytest.mark.parametrize("revision", [None, "1_0", "x", 2.5])
def test_a_strange_revision_does_not_keep_the_annotator_from_opening(tmp_path: Path, revision: object) -> None:
    content = {"type": "FeatureCollection", "revision": revision, "features": []}
    (tmp_path / "a.geojson").write_text(json.dumps(content), encoding="utf-8")
    assert Session(tmp_path / "a.geojson", np.zeros((8, 8, 3), np.uint8)).revision == 0


def test_cores_of_a_job_are_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("²", "٣", "x"):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", text)
        monkeypatch.setenv("SLURM_MEM_PER_NODE", text)
        assert doctor.cores() >= 1
        assert doctor.memory() > 2**30
