"""The in-house folder: written, checked, read back; every way to be incomplete is named exactly."""

from __future__ import annotations

import csv
import shutil
import struct
import zlib
from dataclasses import replace

import imageio.v3 as imageio
import numpy as np
import pytest
from imagecodecs import png_encode
from PIL import Image

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


def append(folder, line):
    with (folder / "slides.csv").open("a") as file:
        file.write(line)


def cut(path):
    """Keep the header and lose pixels at the end."""
    path.write_bytes(path.read_bytes()[:-200])


def claim(path):
    """Let the PNG's header say 14000×14000 px."""
    header = b"IHDR" + struct.pack(">II", 14_000, 14_000) + path.read_bytes()[24:29]
    path.write_bytes(path.read_bytes()[:12] + header + struct.pack(">I", zlib.crc32(header)) + path.read_bytes()[33:])


def turned(path):
    picture = Image.open(path)
    exif = Image.Exif()
    exif[274] = 6
    picture.save(path, exif=exif)


PATCH = "patches/podocyte/S1_podocyte_1.png"
IF, MASK = "if/S1_podocyte_1.png", "masks/expert/podocyte/S2_podocyte_1.png"
SPOILED = {
    "no table": (lambda f: (f / "slides.csv").unlink(), r"no such file, expected columns slide,injured"),
    "no column": (lambda f: (f / "slides.csv").write_text("slide,injured\nS0,yes\n"), r"no column spacing, wt1_thr"),
    "injured": (lambda f: spoil_rows(f, injured="maybe"), r"slides.csv:2: injured is 'maybe', expected yes or no"),
    "spacing": (lambda f: spoil_rows(f, spacing="0.25"), r"spacing is 0.25, expected 0.5"),
    "threshold": (lambda f: spoil_rows(f, wt1_threshold="high"), r"slides.csv:2: .*'high' is no number"),
    "range": (lambda f: spoil_rows(f, gata3_threshold="300"), r"expected grey levels 0 … 255"),
    "slide": (lambda f: spoil_rows(f, slide="T0"), r"S0_podocyte_1.png: name begins with no slide of slides.csv"),
    "unused": (lambda f: spoil_rows(f, slide="T0"), r"slide T0 has no patches"),
    "no type": (lambda f: shutil.rmtree(f / "patches" / "mesangial"), r"mesangial: no PNG files, expected the mes"),
    "no if": (lambda f: (f / IF).unlink(), r"if/S1_podocyte_1.png: missing"),
    "if grey": (lambda f: empty(f / IF, (32, 40)), r"pixel mode L, expected 8-bit RGB"),
    "if size": (lambda f: empty(f / IF, (32, 41, 3)), r"41×32 px \(width × height\), expected 40×32 as its"),
    "no masks": (lambda f: shutil.rmtree(f / "masks"), r"masks: no annotator folders"),
    "no mask": (lambda f: (f / MASK).unlink(), r"S2_podocyte_1.png: missing, expected expert's podocyte mask"),
    "mask grey": (lambda f: ramp(f / MASK), r"256 different values up to 255, expected only 0 and 255"),
    "orphan if": (lambda f: empty(f / "if" / "S9_x.png", (4, 4, 3)), r"S9_x.png: no patch of this name in patches/"),
    "orphan mask": (lambda f: empty(f / "masks/expert/mesangial/S9_x.png", (4, 4)), r"S9_x.png: no patch of this"),
    "cut patch": (lambda f: cut(f / PATCH), r"podocyte/S1_podocyte_1.png: cannot be decoded .*truncated"),
    "cut if": (lambda f: cut(f / IF), r"if/S1_podocyte_1.png: cannot be decoded .*truncated"),
    "cut mask": (lambda f: cut(f / MASK), r"expert/podocyte/S2_podocyte_1.png: cannot be decoded .*truncated"),
    "not an image": (lambda f: (f / MASK).write_text("<html>"), r"S2_podocyte_1.png: cannot be decoded"),
    "empty file": (lambda f: (f / PATCH).write_bytes(b""), r"podocyte/S1_podocyte_1.png: cannot be decoded"),
    "huge": (
        lambda f: claim(f / MASK),
        r"S2_podocyte_1.png: 14000×14000 px .*expected 40×32",
    ),
    "huge patch": (lambda f: claim(f / PATCH), r"S1_podocyte_1.png: .*196000000"),
    "turned": (lambda f: turned(f / PATCH), r"S1_podocyte_1.png: is turned by its Orientation"),
    "if alpha": (lambda f: empty(f / IF, (32, 40, 4)), r"pixel mode RGBA, expected 8-bit RGB"),
    "16 bits": (lambda f: (f / IF).write_bytes(png_encode(np.zeros((32, 40, 3), np.uint16))), r"pixels are uint16"),
    "type": (
        lambda f: (f / "masks/expert/podocyte").rename(f / "masks/expert/podocytes"),
        r"podocytes: is no cell type, .*; podocyte missing",
    ),
    "type of patches": (lambda f: (f / "patches/extra").mkdir(), r"patches/extra: is no cell type, expected podocyte"),
    "no type of masks": (
        lambda f: (f / "masks/other").mkdir(),
        r"masks/other: no masks, expected podocyte or mesangial",
    ),
    "in the annotator": (
        lambda f: empty(f / "masks/expert/a.png", (4, 4)),
        r"a.png: expected in a folder of its cell type",
    ),
    "in masks": (lambda f: empty(f / "masks/a.png", (4, 4)), r"masks/a.png: expected annotator folders only"),
    "other format": (lambda f: (f / PATCH).rename(f / "patches/podocyte/S1.tif"), r"S1.tif: expected PNG files only"),
    "Latin-1": (
        lambda f: (f / "slides.csv").write_bytes("slide,injured\nGröße".encode("latin-1")),
        r"slides.csv: not a CSV",
    ),
    "empty table": (lambda f: (f / "slides.csv").write_text(""), r"slides.csv: no column slide, injured"),
    "zero bytes": (lambda f: (f / "slides.csv").write_bytes(b"slide\0" * 9), r"slides.csv: "),
    "twice": (
        lambda f: (f / "slides.csv").write_text(",".join((*inhouse.COLUMNS, "slide"))),
        r"no column slide, or twice",
    ),
    "commas": (lambda f: spoil_rows(f, gata3_threshold="60,5"), r"slides.csv:2: .*60,5"),
    "more": (lambda f: append(f, "S7,no,0,5,40,60\n"), r"slides.csv:8: 6 values for 5 columns"),
    "few": (lambda f: append(f, "S7,no\n"), r"slides.csv:8: '' is no number"),
    "not a number": (lambda f: spoil_rows(f, spacing="nan"), r"slides.csv:2: 'nan' is no number"),
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


def test_one_fault_hides_no_other(folder):
    cut(folder / PATCH)
    cut(folder / "if/S1_podocyte_1.png")
    ramp(folder / "masks/expert/podocyte/S1_podocyte_1.png")
    cut(folder / MASK)
    (folder / "slides.csv").write_bytes(b"\xff")
    (folder / "patches/podocytes").mkdir()
    problems = inhouse.check(folder)
    for part in (
        "slides.csv: not a CSV file in UTF-8",
        "patches/podocytes: is no cell type",
        f"{PATCH}: cannot be decoded",
        "if/S1_podocyte_1.png: cannot be decoded",
        "S1_podocyte_1.png: 256 different values",
        f"{MASK}: cannot be decoded",
    ):
        assert sum(part in problem for problem in problems) == 1, part
    assert len(problems) == 6


def test_capitals_and_what_file_managers_leave_are_no_fault(folder):
    for path in [*folder.rglob("*.png")][::3]:
        path.rename(path.with_suffix(".PNG"))
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        for place in ("patches", "patches/podocyte", "masks", "masks/expert", "masks/expert/podocyte", "if"):
            (folder / place / name).write_bytes(b"junk")
    text = (folder / "slides.csv").read_text()
    (folder / "slides.csv").write_text(f"\ufeff{text.replace('slide,', ' Slide ,', 1)},,,,\n")
    assert inhouse.check(folder) == []
    read = inhouse.InHouse(folder)
    assert len(read) == 12
    assert all(set(patch.masks) == {"expert", "student1"} for patch in read)
