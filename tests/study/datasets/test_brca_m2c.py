"""The reader of real tiles with points, and that of the Data Science Bowl's stained test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from allinsam_core.data.errors import DataError
from study.datasets import brca_m2c, dsb2018_test


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("images", "points"):
        (tmp_path / part).mkdir()
    lines = ["id,width,height,n_nuclei,official_split", "b,6,4,2,train", "a,6,4,0,test"]
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    for name in "ab":
        Image.fromarray(np.full((4, 6, 3), 7, np.uint8)).save(tmp_path / "images" / f"{name}.webp", lossless=True)
    (tmp_path / "points" / "a.csv").write_text("x,y,class\n")
    (tmp_path / "points" / "b.csv").write_text("x,y,class\n1,2,3\n5,0,1\n")
    return tmp_path


def test_points_and_classes_are_read_by_split(folder: Path) -> None:
    a, b = brca_m2c.load(folder)
    assert (a.name, a.points.shape) == ("a", (0, 2))
    assert b.points.tolist() == [[1, 2], [5, 0]]
    assert b.classes.tolist() == [3, 1]
    assert b.image.shape == (4, 6, 3)
    assert [tile.name for tile in brca_m2c.load(folder, ("train", "val"))] == ["b"]
    with pytest.raises(ValueError, match="splits \\['dev'\\]"):
        brca_m2c.load(folder, ("dev",))


def test_what_disagrees_with_the_index_is_refused(folder: Path) -> None:
    (folder / "points" / "b.csv").write_text("x,y,class\n1,2,3\n")
    with pytest.raises(DataError, match=r"b\.csv: 1 points, expected 2"):
        brca_m2c.load(folder)
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(folder / "images" / "a.webp", lossless=True)
    with pytest.raises(DataError, match=r"a\.webp: image of size \(4, 5\), expected \(4, 6\)"):
        brca_m2c.load(folder, ("test",))


def test_the_halves_are_disjoint_and_whole(data_root: Path) -> None:
    halves = {half: dsb2018_test.load(data_root, half) for half in dsb2018_test.HALVES}
    names = [case.name for cases in halves.values() for case in cases]
    assert len(set(names)) == len(names) == 12
    assert sum(len(np.unique(c.instances)) - 1 for cases in halves.values() for c in cases) == 1069


def test_an_index_of_other_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("id,width,height,n_nuclei\nother,1,1,0\n")
    with pytest.raises(DataError, match=r"lists \['other'\], expected the twelve images"):
        dsb2018_test.load(tmp_path, "train")
