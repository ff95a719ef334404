"""Names that are no text: in a folder, an image, a table, an archive, at every door. On a system with UTF-8 names."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import warnings
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from allinsam_core.annotation import sam as sams
from allinsam_core.data.errors import DataError
from study import records, strict_yaml
from study.molecular import inhouse_folder
from study.names import fitting, readable, speak
from study.tools.cli import app
from study.tools.folder import Reader, pairs
from study.tools.formats.geojson import parse

LATIN = os.fsdecode(b"Pr\xe4parat")  # as a laptop of 2004 called it
READ = "Pr\\xe4parat"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or sys.getfilesystemencoding() != "utf-8", reason="names there are text"
)


@pytest.fixture
def image(tmp_path: Path, tiny_sam: sams.Sam, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tile of 64 px in a folder; neither's name is UTF-8. A base small enough to test with."""
    monkeypatch.setattr(sams, "load_mini", lambda name="mini": tiny_sam)
    path = tmp_path / LATIN / f"{LATIN}.tif"
    path.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", resolution=(40_000, 40_000), resolutionunit=3)
    return path


def call(*words: object) -> Result:
    """What the command says, byte by byte."""
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found


def test_bytes_that_were_kept_are_read_as_utf_8() -> None:
    assert readable(b"Gr\xc3\xb6\xc3\x9fe".decode("ascii", "surrogateescape")) == "Größe"
    assert readable(LATIN) == READ
    assert readable(Path("Größe")) == "Größe"
    assert readable("half \ud83d") == "half \\ud83d"


def test_a_text_fits_a_system_with_ascii_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda name: str(name).encode("ascii", "surrogateescape"))
    monkeypatch.setattr(os, "fsdecode", lambda name: name.decode("ascii", "surrogateescape"))
    assert fitting("plain") == "plain"
    assert readable(fitting("Größe")) == "Größe"
    assert fitting(fitting("Größe")) == fitting("Größe")


def test_what_is_printed_comes_out_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, expected in (("ascii", "µ ≥ \udce4"), ("utf-8", "µ ≥ \udce4"), ("latin-1", "µ \\u2265 \udce4")):
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", out)
        speak()
        print("µ ≥ \udce4", end="", flush=True)
        name = "latin-1" if encoding == "latin-1" else "utf-8"
        assert out.buffer.getvalue() == expected.encode(name, "surrogateescape")  # type: ignore[attr-defined]


def test_segment_and_score_an_image_whose_name_is_no_text(image: Path) -> None:
    out = image.parent / "out"
    said = call("segment", image, "--out", out, "--also", "coco,imagej")
    assert said.exit_code == 0, said.output
    assert os.fsencode(out) in said.stdout_bytes
    assert json.loads((out / f"{LATIN}.json").read_bytes())["images"][0]["file_name"] == f"{READ}.tif"
    found = call("score", out, out, "--json")
    assert found.exit_code == 0, found.output
    assert list(json.loads(found.stdout_bytes)["images"]) == [READ]
    strange = out / f"{LATIN}.txt"
    strange.touch()
    assert json.loads(call("score", out, out, "--json").stdout_bytes)["left_out"] == 2 * [readable(strange)]


def test_annotate_an_image_whose_name_is_no_text(image: Path) -> None:
    boxes = image.with_suffix(".json")
    content = {
        "images": [{"id": 1, "file_name": f"{READ}.tif"}, {"id": 2, "file_name": "b.tif"}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [4, 4, 20, 20]}],
    }
    boxes.write_text(json.dumps(content), encoding="utf-8")
    out = image.parent / "out"
    said = call("annotate", image, "--boxes", boxes, "--out", out)
    assert said.exit_code == 0, said.output
    with (out / f"{LATIN}_provenance.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 1


def test_an_error_names_the_file_as_it_was_given(tmp_path: Path) -> None:
    for words in (("segment", tmp_path / LATIN, "--out", tmp_path), ("score", tmp_path / LATIN, tmp_path)):
        found = call(*words)
        assert found.exit_code in (1, 2)
        assert os.fsencode(tmp_path / LATIN) in found.stderr_bytes


def test_a_folder_to_train_on(image: Path, tiny_sam: sams.Sam) -> None:
    labels = np.zeros((64, 64), np.uint16)
    labels[10:30, 10:30] = 1
    tifffile.imwrite(image.parent / f"{LATIN}_labels.tif", labels)
    reader = Reader(tiny_sam, "", image.parent / "masks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (case,) = reader.cases(pairs(image.parent))
    assert case.name == READ
    assert records.data_checksum([case])


def test_a_record_holds_text(tmp_path: Path) -> None:
    records.write({"config_hash": "1", LATIN: [LATIN]}, tmp_path / "run.json")
    assert records.read(tmp_path / "run.json")[READ] == [READ]


def test_patches_of_the_laboratory_go_by_text(tmp_path: Path) -> None:
    (tmp_path / f"{LATIN}_1.png").touch()
    assert list(inhouse_folder.pngs(tmp_path)) == [f"{READ}_1"]


def test_an_roi_without_a_name_has_its_members(tmp_path: Path) -> None:
    from roifile import ROI_TYPE, ImagejRoi

    from study.tools.formats import read_boxes

    roi = ImagejRoi(roitype=ROI_TYPE.RECT, version=228, left=1, top=1, right=9, bottom=9)
    (tmp_path / f"{LATIN}.roi").write_bytes(roi.tobytes())
    assert read_boxes(tmp_path / f"{LATIN}.roi").names == (READ,)


def test_a_notebook_runs_to_a_place_whose_name_is_no_text(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell("x = ''", metadata={"tags": ["parameters"]}), nbformat.v4.new_code_cell("x")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    source, target = tmp_path / f"{LATIN}.ipynb", tmp_path / LATIN / "done.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), source)
    said = call("notebook", "run", source, target, "-p", f"x={LATIN}")
    assert said.exit_code == 0, said.output
    assert READ in nbformat.read(target, 4).cells[-1].outputs[0].data["text/plain"].replace("\\\\", "\\")
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("text", ['{"class": "\\ud83d"}', '["\\udc00\\ud83d"]'])
def test_half_a_character_in_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.geojson: not valid JSON: half a character"):
        parse(path)
    path.write_text('"\\ud83d\\ude00"', encoding="utf-8")
    assert parse(path) == "😀"


def test_half_a_character_in_yaml_is_refused() -> None:
    with pytest.raises(DataError, match=r"own\.yaml, line 2: not valid YAML, the text '\\ud83d', which no UTF-8"):
        strict_yaml.parse('name: a\nabout: "\\ud83d"', "own.yaml")


def test_an_archive_unpacks_names_of_any_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from study.tools import archive

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("Größe/a.txt", "1")
        out.writestr("b.txt", "2")
    monkeypatch.setattr(archive, "fitting", lambda name: name.replace("öß", "oess"))
    archive.unpack(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out" / "Groesse" / "a.txt").is_file()
