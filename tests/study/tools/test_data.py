"""`allinsam data`: what it prints and the status it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from typer.testing import CliRunner, Result

from study.datasets import monuseg
from study.molecular import inhouse
from study.simulation import glomerulus
from study.tools.data import app

Build = Callable[[str], Path]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_list_names_every_artefact(tmp_path: Path) -> None:
    rows = json.loads(call("list", "--json", "--root", str(tmp_path)).stdout)["artefacts"]
    assert {row["name"] for row in rows} >= {"monuseg-train", "monuseg-test", "sam-vit-b", "dsb2018"}
    assert all({"sha256", "bytes", "licence", "citation", "role", "source"} <= set(row) for row in rows)
    text = call("list", "--root", str(tmp_path))
    assert text.exit_code == 0
    assert "CC BY-NC-SA 4.0, non-commercial" in text.stdout


def test_a_folder_of_own_slides_is_told_what_it_lacks(tmp_path: Path) -> None:
    empty = call("check-inhouse", str(tmp_path))
    assert empty.exit_code == 1
    assert "slides.csv: no such file" in empty.stdout
    slide = glomerulus.cohort(1, 1, slides=1, injured=0, size=128)
    drawn = [replace(p, masks={"expert": {p.cell_type: np.zeros((128, 128), bool)}}) for p in slide]
    inhouse.write(tmp_path, drawn)
    ready = call("check-inhouse", str(tmp_path))
    assert ready.exit_code == 0, ready.stdout
    assert ready.stdout == f"{tmp_path}: ready\n"


def test_fetch_reports_an_error_in_one_line(tmp_path: Path) -> None:
    for arguments, message in (
        (("fetch", "monuseg", "--root", str(tmp_path)), "--accept-licence"),
        (("fetch", "sam-vit-b", "--offline", "--root", str(tmp_path)), "sam_vit_b_01ec64.pth"),
        (("fetch", "nothing"), "nothing is called 'nothing'"),
    ):
        result = call(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
        assert message in result.stderr


def test_check_of_nothing_is_not_a_success(tmp_path: Path) -> None:
    result = call("check", "--root", str(tmp_path))
    assert result.exit_code == 1
    assert "monuseg: absent" in result.stdout
    assert call("check", "sam-vit-b", "--root", str(tmp_path)).exit_code == 1


def test_check_finds_what_is_off_in_a_miniature(build: Build) -> None:
    folder = build("published")
    first, second = monuseg.names("test")[:2]
    (folder / "MoNuSegTestData" / f"{first}.xml").write_text("<Annotations>")
    (folder / "MoNuSegTestData" / f"{second}.tif").write_bytes(b"II*\0")
    (folder / "MoNuSeg 2018 Training Data" / "Tissue Images" / f"{monuseg.names('val')[0]}.tif").unlink()
    result = call("check", "monuseg", "--json", "--root", str(folder.parent))
    assert result.exit_code == 1
    [report] = json.loads(result.stdout)
    counts = report["counts"]
    assert report["status"] == "problem"
    assert counts["train_images"] == {"found": 29, "expected": 30}
    assert counts["test_images"] == {"found": 14, "expected": 14}
    assert counts["test_regions"] == {"found": 13, "expected": 6697}
    assert counts["test_official_pixels"] == {"found": 0, "expected": 14}
    assert "train_nuclei" not in counts
    for part in (
        f"{first}.xml: malformed",
        f"{second}.tif",
        "images missing: TCGA-18-5592",
        "the image was altered",
        "13 test regions, expected 6697",
    ):
        assert any(part in problem for problem in report["problems"]), part


def test_check_of_a_downloaded_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "sam_vit_h_4b8939.pth"
    path.parent.mkdir()
    path.write_bytes(b"short")
    result = call("check", "sam-vit-h", "--root", str(tmp_path))
    assert result.exit_code == 1
    assert "5 bytes, expected 2564550879" in result.stdout


def test_check_of_the_real_data(data_root: Path) -> None:
    result = call("check", "--json", "--root", str(data_root))
    assert result.exit_code == 0, result.stdout
    found = {report["name"]: report for report in json.loads(result.stdout)}
    counts = {key: value["found"] for key, value in found["monuseg"]["counts"].items()}
    assert (counts["train_images"], counts["test_images"], counts["test_regions"]) == (30, 14, 6697)
    assert (counts["train_official_pixels"], counts["test_official_pixels"]) == (30, 14)
    assert found["dsb2018"]["counts"]["nuclei"] == {"found": 28986, "expected": 28986}
