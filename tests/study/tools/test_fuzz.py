"""Damaged and hostile files: every reader gives a value or one sentence that names the file, and nothing else.

The generator is that of benchmarks/fuzz.py, whose long run is in results/reliability/fuzz.csv; hypothesis chooses the
seeds, always the same. Below are the inputs that such runs found.
"""

from __future__ import annotations

import errno
import json
import logging
import pathlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from allinsam_core import model
from allinsam_core.atomic import replacing
from allinsam_core.learning import checkpoint, train
from benchmarks import fuzz, fuzz_corpus
from study.tools import folder, split
from study.tools.errors import sentence
from study.tools.formats import read_boxes
from study.tools.formats.points import read_points
from study.tools.slide import open_slide
from study.tools.spacing import from_tiff

FEW = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """tifffile logs what it finds wrong."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_right_file_is_read(name: str, tmp_path: Path) -> None:
    reader = fuzz.READERS[name]
    for file, data in reader.corpus().items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(data)
    refused = 0
    for file in ["."] if reader.folder else reader.corpus():
        try:
            reader.read(tmp_path / file)
        except ValueError:
            refused += 1
    assert refused < max(1, len(reader.corpus()) / 2)  # of the label images, floats and masks are no labels


@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    found = {"value": 0, "refused": 0}

    @FEW
    @given(seed=st.integers(0, 2**32))
    def check(seed: int) -> None:
        begun = time.monotonic()
        result, said, path = fuzz.outcome(fuzz.READERS[name], seed, tmp_path)
        assert result in found, f"{name}, seed {seed}, {path.name}: {said}"
        assert time.monotonic() - begun < 20  # seconds; usually milliseconds
        found[result] += 1

    check()
    assert found["value"] + found["refused"] >= 40


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
PLACES: dict[str, Any] = {
    "geometry": lambda v: {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": v}]},
    "coordinates": lambda v: [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": v}}],
    "parts": lambda v: [{"type": "Feature", "geometry": {"type": "GeometryCollection", "geometries": v}}],
    "properties": lambda v: [{"type": "Feature", "geometry": fuzz_corpus._square(1, 1), "properties": v}],
    "children": lambda v: [{"type": "Feature", "geometry": fuzz_corpus._square(1, 1), "childObjects": v}],
    "bbox": lambda v: {"images": [{"id": 1}], "annotations": [{"image_id": 1, "bbox": v}]},
    "segmentation": lambda v: {"images": [{"id": 1}], "annotations": [{"image_id": 1, "segmentation": v}]},
    "images": lambda v: {"images": v, "annotations": []},
    "ids": lambda v: {"images": [{"id": v}], "annotations": [{"image_id": v, "category_id": v, "bbox": [1, 1, 2, 2]}]},
    "everything": lambda v: v,
}


@pytest.mark.parametrize("place", PLACES)
def test_any_json_in_any_place_is_read_or_refused(place: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    @FEW
    @given(value=JSON)
    def check(value: Any) -> None:
        path.write_text(json.dumps(PLACES[place](value)))
        try:
            found = read_boxes(path, fuzz_corpus.SHAPE)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 (any of the two outcomes is right)
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert (found.xyxy[:, 2:] > found.xyxy[:, :2]).all()

    check()


# found by such runs


@pytest.mark.parametrize("kind", [["Polygon"], {"type": "Polygon"}, None, 3])
def test_a_geometry_type_that_is_no_text(kind: Any, tmp_path: Path) -> None:
    geometry = {"type": kind, "coordinates": [[[0, 0], [1, 0], [1, 1]]]}
    (tmp_path / "a.geojson").write_text(json.dumps([{"type": "Feature", "geometry": geometry}]))
    with pytest.raises(ValueError, match=r"a\.geojson: feature 0: geometry is"):
        read_boxes(tmp_path / "a.geojson")


@pytest.mark.parametrize("keep", [12, 40])
def test_a_tiff_cut_in_its_tags_says_so_when_its_pixel_size_is_asked(keep: int, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(fuzz_corpus.images()["plain.tif"][:keep])
    with pytest.raises(ValueError, match=r"a\.tif: its tags cannot be read"):
        from_tiff(tmp_path / "a.tif")


@pytest.mark.parametrize("geometry", ["Point", ["Point"], 3, True])
def test_points_whose_geometry_is_no_object_are_left_to_the_reader_of_areas(geometry: Any, tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps([{"type": "Feature", "geometry": geometry, "properties": 3}]))
    assert read_points(tmp_path / "a.geojson", fuzz_corpus.SHAPE, 3) is None


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_points(path, fuzz_corpus.SHAPE, 3),
        lambda path: split.read_table(path, ["a"]),
        folder._class_table,
    ],
)
def test_a_table_that_is_not_in_utf_8_is_named(read: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("image,patient\na,Größe\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.csv: not a CSV file in UTF-8 .*; save it again as CSV"):
        read(tmp_path / "a.csv")


def test_a_table_with_a_line_break_in_its_header_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"ima\nge",patient\na,P\n')
    with pytest.raises(ValueError, match=r"^[^\n]*columns \['ima\\nge', 'patient'\]; expected image[^\n]*$"):
        split.read_table(tmp_path / "a.csv", ["a"])


def test_a_model_file_with_a_damaged_note_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(save(nn.Linear(2, 3).state_dict(), metadata={"base": "0", "note": '{"base": "mini"'}))
    for read in (model.describe, lambda path: checkpoint.load(nn.Linear(2, 3), path, "0")):
        with pytest.raises(ValueError, match=r"own\.safetensors: its note on the training is damaged"):
            read(path)


def test_a_pyramid_with_damaged_tags_is_named(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    data = bytearray(fuzz_corpus.slides()["a.ome.tif"])
    path = tmp_path / "a.ome.tif"
    path.write_bytes(data)
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages.first.tags["ImageWidth"]
    data[tag.offset + 2 : tag.offset + 4] = (2).to_bytes(2, "little")  # text, where a number belongs
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.ome\.tif: not a readable slide \(.*\); damaged or incomplete"):
        open_slide(path)


def test_a_tile_that_fits_into_no_memory_does_not_end_the_process(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    path = tmp_path / "a.tif"
    data = bytearray(fuzz_corpus.slides()["generic.tif"])
    path.write_bytes(data)
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages.first.tags["TileWidth"]
    data[tag.valueoffset : tag.valueoffset + 4] = (2**29 + 32).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.tif: a tile of 51,539,610,624 bytes, expected at most"):
        open_slide(path)


def test_damaged_masks_of_boxes_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "masks.npz"
    path.write_bytes(fuzz_corpus.caches()["masks.npz"])
    found = folder._recall(path, 2)
    assert found is not None
    assert [(m.top, m.left, m.score) for m in found] == [(0, 0, 0.5), (3, 4, 0.9)]
    with pytest.warns(UserWarning, match=r"masks\.npz: damaged .*2 masks, expected 3.* set aside as masks\.damaged"):
        assert folder._recall(path, 3) is None
    assert not path.exists()
    path.write_bytes(fuzz_corpus.caches()["masks.npz"][:300])
    with pytest.warns(UserWarning, match=r"masks\.npz: damaged .*; its masks are made anew"):
        assert folder._recall(path, 2) is None


@pytest.mark.parametrize("number", [10**400, [1], "a", None])
def test_coordinates_that_are_no_numbers(number: Any, tmp_path: Path) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [5, 0], [5, 5], [0, number]]]}
    point = {"type": "Point", "coordinates": [1, number]}
    for geometry, read in ((square, read_boxes), (point, lambda path: read_points(path, fuzz_corpus.SHAPE, 3))):
        (tmp_path / "a.geojson").write_text(json.dumps([{"type": "Feature", "geometry": geometry, "properties": {}}]))
        with pytest.raises(ValueError, match=r"a\.geojson: feature 0: "):
            read(tmp_path / "a.geojson")


def test_a_damaged_checkpoint_is_told_in_one_line(tmp_path: Path) -> None:
    torch.save({"model": pathlib.PurePosixPath("a")}, tmp_path / "last.ckpt")  # torch refuses it in many lines
    with pytest.warns(UserWarning, match=r"^[^\n]*last\.ckpt: damaged [^\n]*; training starts anew$"):
        assert train._recall(tmp_path / "last.ckpt") is None


def test_a_full_disk_is_told_from_other_faults_of_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.save says `basic_ios::clear: iostream error`, whatever was wrong."""
    with pytest.raises(RuntimeError, match="iostream"), replacing(tmp_path / "last.ckpt"):
        raise RuntimeError("iostream error")
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=4096))
    with pytest.raises(OSError, match=r"No space left on device: '.*last\.ckpt'"), replacing(tmp_path / "last.ckpt"):
        raise RuntimeError("iostream error")


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"rows\.csv") as caught, replacing(tmp_path / "rows.csv"):
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write says it, without a name
    assert sentence(caught.value).startswith(f"{tmp_path}/rows.csv: no space left on device; free space")


@pytest.mark.parametrize("seed", [19 * 10**9 + 4571, 19 * 10**9 + 4710])
def test_a_record_without_its_checksum_is_refused_by_file(seed: int, tmp_path: Path) -> None:
    result, said, path = fuzz.outcome(fuzz.READERS["run record"], seed, tmp_path)
    assert result == "refused", said
    assert json.loads(path.read_bytes())["sha256"] == ""
