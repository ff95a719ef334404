"""The tutorial, from file to GeoJSON, with a few steps of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from allinsam_core.annotation import sam as sams
from study.datasets import dsb2018
from study.tools import notebook
from study.tools.formats import read_boxes

NOTEBOOK = Path(__file__).resolve().parents[3] / "notebooks" / "tutorial.ipynb"


def test_the_tutorial_does_what_it_says(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (data_root / "dsb2018").is_dir():
        pytest.skip("no dsb2018/ among the data")
    if not sams.SHIPPED["mini"].is_file():
        pytest.skip("mini-SAM's weights are not in this checkout")
    monkeypatch.setenv("ALLINSAM_DATA", str(data_root))
    work = tmp_path / "work"
    made = notebook.run(NOTEBOOK, tmp_path / "out.ipynb", {"steps": 2, "work": str(work)})
    cases = [case for case in dsb2018.load(data_root) if case.image.shape == (256, 320, 3)][:4]
    for number, case in enumerate(cases[:3]):
        drawn = read_boxes(work / "annotated" / f"slide{number}_a.geojson", (256, 320))
        assert len(drawn) == len({*case.instances.ravel().tolist()} - {0})
    found = json.loads((work / "found" / "slide3_a.geojson").read_text())["features"]
    assert found
    assert len(read_boxes(work / "corrected.geojson", (256, 320))) == len(found)
    outputs = [o for c in json.loads(made.read_text())["cells"] for o in c.get("outputs", [])]
    pages = [
        "".join(o["data"]["text/html"]) for o in outputs if "<svg" in "".join(o.get("data", {}).get("text/html", ""))
    ]
    assert len(pages) == 2
    assert all("<script" not in page and "<image" in page for page in pages)
    assert (work / "mine.safetensors").is_file()
