"""The Data Science Bowl reader, in both layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from allinsam_core.data.errors import DataError, MissingData
from study.datasets import dsb2018
from study.datasets.image import ConversionWarning, count_labels

INDEX = "id,source_id,width,height,modality,nuclei,overlap_px\n"


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, array, check_contrast=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = ["bb,bb0,6,4,stained-brightfield,2,0", "aa,aa0,6,4,stained-brightfield,2,0", "cc,cc0,6,4,fluorescence,2,0"]
    (tmp_path / "index.csv").write_text(INDEX + "\n".join(rows) + "\n")
    labels = np.zeros((4, 6), np.uint16)
    labels[0, 0], labels[3, 3:] = 1, 300
    for name in ("aa", "bb", "cc"):
        save(tmp_path / "images" / f"{name}.png", np.full((4, 6, 3), 9, np.uint8))
        save(tmp_path / "instances" / f"{name}.png", labels)
    return tmp_path


def test_the_index_decides_what_is_read(folder: Path) -> None:
    assert [case.name for case in dsb2018.load(folder)] == ["aa", "bb"]
    assert [case.name for case in dsb2018.load(folder, dsb2018.MODALITIES)] == ["aa", "bb", "cc"]
    case = dsb2018.load(folder, ["fluorescence"])[0]
    assert (case.instances[3, 5], case.source, np.isnan(case.spacing)) == (300, "dsb2018", True)
    with pytest.raises(ValueError, match="x-ray"):
        dsb2018.load(folder, ["x-ray"])


def test_disagreements_with_the_index_are_named(folder: Path) -> None:
    text = (folder / "index.csv").read_text()
    for old, new, message in (
        ("aa,aa0,6", "aa,aa0,7", r"aa\.png: image of size \(4, 6\), expected \(4, 7\)"),
        ("brightfield,2", "brightfield,3", r"aa\.png: 2 labels .* expected 3"),
        ("fluorescence", "sonar", r"index\.csv: cc has modality 'sonar'"),
        ("nuclei", "cells", r"index\.csv: row 'bb' lacks \['nuclei'\]"),
    ):
        (folder / "index.csv").write_text(text.replace(old, new))
        with pytest.raises(DataError, match=message):
            dsb2018.load(folder)
    (folder / "index.csv").write_text(text)
    (folder / "instances" / "aa.png").unlink()
    with pytest.raises(MissingData, match=r"aa\.png"):
        dsb2018.load(folder)


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="ALLINSAM_DATA"):
        dsb2018.load(tmp_path / "none")
    with pytest.raises(MissingData, match="allinsam data fetch dsb2018"):
        dsb2018.load(tmp_path)


def test_the_published_layout_is_put_together_from_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsb2018, "_modalities", lambda: {"abc": "stained-brightfield", "def": "fluorescence"})
    inside = tmp_path / "dsb2018" / "stage1_train" / "abc123"
    save(inside / "images" / "abc123.png", np.full((4, 6, 4), 255, np.uint8))
    for name, columns in (("m1", slice(0, 3)), ("m2", slice(2, 5))):
        mask = np.zeros((4, 6), np.uint8)
        mask[1, columns] = 255
        save(inside / "masks" / f"{name}.png", mask)
    with pytest.warns(ConversionWarning, match="alpha"):
        [case] = dsb2018.load(tmp_path)
    assert case.name == "abc"
    assert case.instances[1].tolist() == [1, 1, 1, 2, 2, 0]


def test_the_shipped_modalities_are_those_of_the_real_index(data_root: Path) -> None:
    rows = dsb2018.index(data_root / "dsb2018")
    assert dsb2018._modalities() == {row["id"]: row["modality"] for row in rows}
    assert len(rows) == 664


def test_the_real_stained_images(data_root: Path) -> None:
    cases = dsb2018.load(data_root)
    assert (len(cases), sum(count_labels(case.instances) for case in cases)) == (107, 4550)
