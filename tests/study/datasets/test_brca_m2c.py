"""The readers of real tiles with points, and that of the Data Science Bowl's stained test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from allinsam_core.data.errors import DataError, MissingData
from study.data import DataSettings
from study.datasets import brca_m2c, dsb2018_test, manifest

A, B, C = "TCGA-AA-0001-a", "TCGA-AA-0002-b", "TCGA-AA-0003-c"


def write(folder: Path, published: bool = False, **points: str) -> Path:
    """Three tiles of 6 × 4 px of three patients: a for test, b for training, c for validation; points: of b."""
    listed = points.get("b", "1,2,3 5,0,1")
    table = {A: "0,0,2", B: listed, C: "2,2,2"}
    images = folder / "images"
    images.mkdir(parents=True)
    for name in table:
        path = images / f"{name}{'.png' if published else '.webp'}"
        Image.fromarray(np.full((4, 6, 3), 7, np.uint8)).save(path, **({} if published else {"lossless": True}))
    (folder / ("labels" if published else "points")).mkdir()
    for name, rows in table.items():
        lines = rows.split()
        if published:
            swapped = [" ".join((y, x, k)) for x, y, k in (line.split(",") for line in lines)]
            (folder / "labels" / f"{name}_gt_class_coords.txt").write_text("\n".join(swapped) + "\n")
        else:
            (folder / "points" / f"{name}.csv").write_text("\n".join(["x,y,class", *lines]) + "\n")
    if published:
        for split, name in (("test", A), ("train", B), ("val", C)):
            (folder / f"brca_ds_{split}.txt").write_text(f"{name}.png\n")
    else:
        rows = [f"{n},6,4,{len(table[n].split())},{s}" for s, n in (("train", B), ("test", A), ("val", C))]
        (folder / "index.csv").write_text("\n".join(["id,width,height,n_nuclei,official_split", *rows]) + "\n")
    return folder


def test_points_and_classes_are_read_by_split(tmp_path: Path) -> None:
    a, b, c = brca_m2c.load(write(tmp_path))
    assert [(t.name, t.split, t.patient) for t in (a, c)] == [(A, "test", "TCGA-AA-0001"), (C, "val", "TCGA-AA-0003")]
    assert b.points.tolist() == [[1, 2], [5, 0]]
    assert b.classes.tolist() == [3, 1]
    assert b.image.shape == (4, 6, 3)
    assert [tile.name for tile in brca_m2c.load(tmp_path, ("train", "val"))] == [B, C]
    with pytest.raises(ValueError, match="splits \\['dev'\\]"):
        brca_m2c.load(tmp_path, ("dev",))


def test_the_publishers_layout_holds_the_same(tmp_path: Path) -> None:
    own = brca_m2c.load(write(tmp_path / "prepared"))
    write(tmp_path / "root" / "brca_m2c" / "Dataset-BRCA-M2C", published=True)
    theirs = brca_m2c.load(tmp_path / "root")
    assert [(t.name, t.split, t.sha256) for t in own] == [(t.name, t.split, t.sha256) for t in theirs]
    listed = tmp_path / "root" / "brca_m2c" / "Dataset-BRCA-M2C" / "brca_ds_train.txt"
    listed.write_text(listed.read_text() + "TCGA-A7-A13E-01Z-00-DX1_1_1.png\n")  # of a patient of MoNuSeg, and no file
    assert len(brca_m2c.load(tmp_path / "root")) == 3


def test_a_point_is_a_nucleus_of_one_pixel(tmp_path: Path) -> None:
    case = brca_m2c.load(write(tmp_path), ("train",))[0].case()
    assert np.argwhere(case.instances).tolist() == [[0, 5], [2, 1]]  # row, column
    assert case.instances[2, 1] == 1
    assert dict(case.classes) == {1: "stromal", 2: "lymphocyte"}
    assert (case.spacing, case.patient, case.split) == (0.5, "TCGA-AA-0002", "train")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("1,2,3 6,0,1", r"TCGA-AA-0002-b\.csv: point \(6, 0\) lies outside its tile, expected 0 ≤ x < 6 and 0 ≤ y < 4"),
        ("1,2,3 5,-1,1", r"point \(5, -1\) lies outside its tile"),
        ("1,2,4", r"class 4 is unknown, expected 1 \(lymphocyte\), 2 \(epithelial\), 3 \(stromal\); correct the file"),
        ("", r"TCGA-AA-0002-b\.csv: no point, expected at least one"),
        ("1,2,3 1,2,1", "two points share a pixel"),
        ("1,2,one", r"a line is not x,y,class \('one' is no number"),
    ],
)
def test_bad_points_are_refused_in_a_sentence(points: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        brca_m2c.load(write(tmp_path, b=points))


def test_a_patient_is_in_one_split(tmp_path: Path) -> None:
    index = write(tmp_path) / "index.csv"
    text = index.read_text()
    for name in (A, C):
        index.write_text(f"{text}TCGA-{name[5:12]}-z,6,4,1,train\n")
        with pytest.raises(DataError, match=f"patient {name[:12]} is in splits (test|val) and train, expected one"):
            brca_m2c.load(tmp_path)
    index.write_text(text.replace("train", "dev"))
    with pytest.raises(DataError, match="is of split 'dev', expected train, val, test"):
        brca_m2c.load(tmp_path)


def test_what_disagrees_with_the_index_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "points" / f"{B}.csv").write_text("x,y,class\n1,2,3\n")
    with pytest.raises(DataError, match=r"b\.csv: 1 points, expected 2"):
        brca_m2c.load(tmp_path)
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "images" / f"{A}.webp", lossless=True)
    with pytest.raises(DataError, match=r"a\.webp: image of size \(4, 5\), expected \(4, 6\)"):
        brca_m2c.load(tmp_path, ("test",))


def test_what_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"no index\.csv and no brca_ds_train\.txt, .*fetch brca-m2c"):
        brca_m2c.check(tmp_path)
    write(tmp_path)
    brca_m2c.check(tmp_path)
    (tmp_path / "images" / f"{C}.webp").unlink()
    with pytest.raises(MissingData, match=r"c\.png: no such file"):
        brca_m2c.check(tmp_path)


def test_the_official_data_are_whole_and_no_patient_is_shared(data_root: Path) -> None:
    tiles = brca_m2c.load(data_root)
    assert {trouble for tile in tiles if (trouble := brca_m2c.trouble(tile))} == set()
    counts = manifest.load().datasets["brca_m2c"].counts
    for split in brca_m2c.SPLITS:
        assert sum(tile.split == split for tile in tiles) == counts[f"{split}_tiles"]
    for number, name in enumerate(brca_m2c.CLASSES, start=1):
        assert sum(int((tile.classes == number).sum()) for tile in tiles) == counts[name]
    cases = brca_m2c.by_split(DataSettings(source="brca_m2c"), data_root)
    assert {split: len(part) for split, part in cases.items()} == {"train": 73, "val": 10, "test": 30}
    patients = [patient for part in cases.values() for patient in {case.patient for case in part}]
    assert len(patients) == len(set(patients)) == 110


def test_altered_pixels_and_points_are_noticed(data_root: Path, tmp_path: Path) -> None:
    (tile,) = (t for t in brca_m2c.load(data_root, ("val",)) if t.name.startswith("TCGA-A7-A0DB"))
    image, points = tile.image.copy(), tile.points.copy()
    image[0, 0, 0] ^= 1
    points[0, 0] += 1
    for altered in ({"image": image}, {"points": points}):
        fields = {"image": tile.image, "points": tile.points, **altered}
        other = brca_m2c.PointTile(tile.name, fields["image"], fields["points"], tile.classes)
        assert "altered" in (brca_m2c.trouble(other) or "")
    assert "no tile of BRCA-M2C" in (brca_m2c.trouble(brca_m2c.load(write(tmp_path))[0]) or "")


def test_the_halves_are_disjoint_and_whole(data_root: Path) -> None:
    halves = {half: dsb2018_test.load(data_root, half) for half in dsb2018_test.HALVES}
    names = [case.name for cases in halves.values() for case in cases]
    assert len(set(names)) == len(names) == 12
    assert sum(len(np.unique(c.instances)) - 1 for cases in halves.values() for c in cases) == 1069


def test_an_index_of_other_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("id,width,height,n_nuclei\nother,1,1,0\n")
    with pytest.raises(DataError, match=r"lists \['other'\], expected the twelve images"):
        dsb2018_test.load(tmp_path, "train")
