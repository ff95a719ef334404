"""The in-house folder: written, checked, read back; every way to be incomplete is named exactly."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import imageio.v3 as imageio
import numpy as np
import pytest

from allinsam_core.data.errors import DataError, MissingData
from study.molecular import inhouse
from study.molecular.patch import CELL_TYPES, Patch


def patches() -> list[Patch]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(6):
        for cell_type in CELL_TYPES:
            slide = f"S{number}"
            mask = rng.random((32, 40)) > 0.8
            patch = Patch(
                name=f"{slide}_{cell_type}_1",
                slide=slide,
                cell_type=cell_type,
                injured=number < 3,
                simulated=False,
                pas=rng.integers(0, 256, (32, 40, 3), dtype=np.uint8),
                molecular=rng.integers(0, 256, (32, 40, 3), dtype=np.uint8),
                masks={"expert": {cell_type: mask}, "student1": {cell_type: ~mask}},
                thresholds={"WT1": 40.5 + number, "GATA3": 60.0},
            )
            made.append(patch)
    return made


@pytest.fixture
def folder(tmp_path):
    inhouse.write(tmp_path, patches())
    return tmp_path


def test_a_complete_folder_has_no_problems(folder):
    assert inhouse.check(folder) == []


def test_what_was_written_is_read_back(folder):
    read = inhouse.InHouse(folder)
    assert len(read) == 12
    wanted = {patch.name: patch for patch in patches()}
    for patch in read:
        before = wanted[patch.name]
        np.testing.assert_array_equal(patch.pas, before.pas)
        np.testing.assert_array_equal(patch.molecular, before.molecular)
        assert (patch.slide, patch.injured, patch.cell_type) == (before.slide, before.injured, before.cell_type)
        assert patch.thresholds == before.thresholds
        assert not patch.simulated
        assert set(patch.masks) == {"expert", "student1"}
        for annotator, drawn in before.masks.items():
            np.testing.assert_array_equal(patch.masks[annotator][patch.cell_type], drawn[patch.cell_type])
    assert [patch.cell_type for patch in read[:]] == ["podocyte"] * 6 + ["mesangial"] * 6
    assert {patch.slide: patch.split for patch in read} == read.splits
    assert set(read.splits.values()) == {"train", "val", "test"}


def test_slide_ids_may_begin_with_each_other(tmp_path):
    short, long = patches()[0], patches()[2]
    inhouse.write(
        tmp_path,
        [
            replace(short, name="K_1_podocyte", slide="K"),
            replace(long, name="K_1_2", slide="K_1"),
            replace(patches()[1], name="K_m", slide="K"),
        ],
    )
    assert {patch.name: patch.slide for patch in inhouse.InHouse(tmp_path)} == {
        "K_1_podocyte": "K_1",  # the longest id wins: ids should not begin with each other
        "K_1_2": "K_1",
        "K_m": "K",
    }


def spoil_rows(folder, **changed):
    with (folder / "slides.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0].update(changed)
    with (folder / "slides.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, inhouse.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def empty(path, shape):
    imageio.imwrite(path, np.zeros(shape, np.uint8))


def ramp(path):
    imageio.imwrite(path, np.arange(1280).reshape(32, 40).astype(np.uint8))


IF, MASK = "if/S1_podocyte_1.png", "masks/expert/podocyte/S2_podocyte_1.png"
SPOILED = {
    "no table": (lambda f: (f / "slides.csv").unlink(), r"no such file, expected columns slide,injured"),
    "no column": (lambda f: (f / "slides.csv").write_text("slide,injured\nS0,yes\n"), r"no column spacing, wt1_thr"),
    "injured": (lambda f: spoil_rows(f, injured="maybe"), r"slides.csv:2: injured is 'maybe', expected yes or no"),
    "spacing": (lambda f: spoil_rows(f, spacing="0.25"), r"spacing is 0.25, expected 0.5"),
    "threshold": (lambda f: spoil_rows(f, wt1_threshold="high"), r"slides.csv:2: .*'high'.*expected numbers"),
    "range": (lambda f: spoil_rows(f, gata3_threshold="300"), r"expected grey levels 0 … 255"),
    "slide": (lambda f: spoil_rows(f, slide="T0"), r"S0_podocyte_1.png: name begins with no slide of slides.csv"),
    "unused": (lambda f: spoil_rows(f, slide="T0"), r"slide T0 has no patches"),
    "no type": (lambda f: shutil.rmtree(f / "patches" / "mesangial"), r"mesangial: no PNG files, expected the mes"),
    "no if": (lambda f: (f / IF).unlink(), r"if/S1_podocyte_1.png: missing"),
    "if grey": (lambda f: empty(f / IF, (32, 40)), r"pixel mode L, expected 8-bit RGB"),
    "if size": (lambda f: empty(f / IF, (32, 41, 3)), r"\(41, 32\) px \(width, height\), expected \(40, 32\)"),
    "no masks": (lambda f: shutil.rmtree(f / "masks"), r"masks: no annotator folders"),
    "no mask": (lambda f: (f / MASK).unlink(), r"S2_podocyte_1.png: missing, expected expert's podocyte mask"),
    "mask grey": (lambda f: ramp(f / MASK), r"256 different values up to 255, expected only 0 and 255"),
    "orphan if": (lambda f: empty(f / "if" / "S9_x.png", (4, 4, 3)), r"S9_x.png: no patch of this name in patches/"),
    "orphan mask": (lambda f: empty(f / "masks/expert/mesangial/S9_x.png", (4, 4)), r"S9_x.png: no patch of this"),
    "damaged": (lambda f: (f / "patches/podocyte/S1_podocyte_1.png").write_bytes(b"x"), r"cannot be decoded"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_every_defect_is_named(folder, what):
    spoil, message = SPOILED[what]
    spoil(folder)
    with pytest.raises(DataError, match=message):
        inhouse.InHouse(folder)


def test_a_missing_folder_is_missing_data(tmp_path):
    with pytest.raises(MissingData, match="no such folder"):
        inhouse.InHouse(tmp_path / "nowhere")


def test_empty_thresholds_are_left_out(folder):
    spoil_rows(folder, wt1_threshold="")
    first = next(patch for patch in inhouse.InHouse(folder) if patch.slide == "S0")
    assert first.thresholds == {"GATA3": 60.0}
