"""The MoNuSeg reader, on miniatures of both layouts and on the real data."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.io import imsave

from allinsam_core.data.errors import DataError, MissingData
from study.datasets import monuseg
from study.datasets.image import ConversionWarning, count_labels

Build = Callable[[str], Path]
TRAIN = "train/images"


def train_case() -> str:
    return monuseg.names("train")[0]


def test_the_split_is_24_6_14_with_the_six_validation_cases() -> None:
    assert [len(monuseg.names(split)) for split in ("train", "val", "test")] == [24, 6, 14]  # type: ignore[arg-type]
    short = [name[5:12] for name in monuseg.names("val")]
    assert short == ["18-5592", "AY-A8YK", "E2-A14V", "E2-A1B5", "G9-6363", "HE-7129"]
    with pytest.raises(ValueError, match="'extra'"):
        monuseg.names("extra")  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", ["study", "published"])
@pytest.mark.parametrize("inside", [True, False])
def test_both_layouts_are_read(build: Build, layout: str, inside: bool) -> None:
    folder = build(layout)
    for split in ("train", "val", "test"):
        cases = monuseg.load(folder if inside else folder.parent, split, checksums="ignore")
        assert [case.name for case in cases] == monuseg.names(split)
        assert all(case.instances.sum() == 20 and case.split == split for case in cases)
        assert all(case.name.startswith(case.patient) and case.spacing == 0.25 for case in cases)


def test_organs_follow_the_case(build: Build) -> None:
    cases = monuseg.load(build("study"), "val", checksums="ignore")
    assert [case.organ for case in cases] == ["liver", "colon", "breast", "breast", "prostate", "kidney"]


def test_given_instances_win_in_training_and_xml_wins_at_test(build: Build) -> None:
    folder = build("study")
    other = np.zeros((12, 12), np.uint16)
    other[0, 0] = 9
    for split in ("train", "test"):
        name = monuseg.names(split)[0]  # type: ignore[arg-type]
        (folder / split / "instances").mkdir()
        imsave(folder / split / "instances" / f"{name}.png", other, check_contrast=False)
    assert monuseg.load(folder, "train", "ignore")[0].instances.sum() == 9
    assert monuseg.load(folder, "test", "ignore")[0].instances.sum() == 20
    (folder / "test/annotations" / f"{monuseg.names('test')[0]}.xml").unlink()
    assert monuseg.load(folder, "test", "ignore")[0].instances.sum() == 9


def test_a_missing_root_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"set ALLINSAM_DATA .* `allinsam data fetch NAME`"):
        monuseg.load(tmp_path / "nowhere", "train")


def test_missing_images_and_annotations_are_named(build: Build) -> None:
    folder, name = build("study"), train_case()
    (folder / "train/annotations" / f"{name}.xml").unlink()
    with pytest.raises(MissingData, match=f"{name} has no annotation"):
        monuseg.load(folder, "train", "ignore")
    (folder / TRAIN / f"{name}.tif").unlink()
    with pytest.raises(MissingData, match=f"1 of 24 train images are missing .{name}."):
        monuseg.load(folder, "train", "ignore")


def test_an_unknown_case_refuses_and_the_seven_later_ones_do_not(build: Build) -> None:
    folder = build("study")
    image = folder / TRAIN / f"{train_case()}.tif"
    shutil.copy(image, folder / TRAIN / "TCGA-FG-A87N-01Z-00-DX1.tif")
    shutil.copy(image, folder / TRAIN / "._TCGA-what-macOS-leaves.tif")
    assert len(monuseg.load(folder, "train", "ignore")) == 24
    test_case = monuseg.names("test")[0]
    shutil.copy(image, folder / TRAIN / f"{test_case}.tif")
    with pytest.raises(DataError, match=f"{test_case} is not a MoNuSeg train case"):
        monuseg.load(folder, "train", "ignore")


def test_a_case_in_both_layouts_is_refused(build: Build) -> None:
    build("published")
    with pytest.raises(DataError, match="is also at"):
        monuseg.load(build("study"), "train", "ignore")


def test_bad_files_of_one_case_are_named(build: Build) -> None:
    folder, name = build("study"), train_case()
    annotation, image = folder / "train/annotations" / f"{name}.xml", folder / TRAIN / f"{name}.tif"
    text, data = annotation.read_text(), image.read_bytes()
    annotation.write_text(text[:40])
    with pytest.raises(DataError, match=rf"{name}\.xml: malformed"):
        monuseg.load(folder, "train", "ignore")
    annotation.write_text(text)
    image.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=rf"{name}\.tif"):
        monuseg.load(folder, "train", "ignore")
    image.write_bytes(data)
    (folder / "train/instances").mkdir()
    imsave(folder / "train/instances" / f"{name}.png", np.zeros((12, 13), np.uint16), check_contrast=False)
    with pytest.raises(DataError, match=rf"{name}\.png: labels of size \(12, 13\), expected \(12, 12\)"):
        monuseg.load(folder, "train", "ignore")


def test_altered_pixels_warn_or_refuse(build: Build) -> None:
    folder = build("study")
    with pytest.warns(UserWarning, match=r"tif: pixels have sha256 .* the image was altered"):
        assert len(monuseg.load(folder, "train")) == 24
    with pytest.raises(DataError, match="the image was altered"):
        monuseg.load(folder, "train", "strict")


def test_the_mislabelled_copy_is_recognised_and_its_tissue_named(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, name = build("study"), train_case()
    image = tifffile.imread(folder / TRAIN / f"{name}.tif")
    owners = monuseg._official() | {monuseg._digest(image): "TCGA-XS-A8TJ-01Z-00-DX1"}
    monkeypatch.setattr(monuseg, "_official", lambda: owners)
    with pytest.raises(monuseg.MislabelledImage, match=f"named {name} but holds the tissue of TCGA-XS-A8TJ-01Z-00-DX1"):
        monuseg.load(folder, "train", "warn")
    assert len(monuseg.load(folder, "train", "ignore")) == 24


def test_the_shipped_checksums_cover_every_case_once() -> None:
    with Path(monuseg.__file__).with_name(monuseg.CHECKSUMS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["part"] for row in rows) == {"train": 30, "test": 14, "extra7": 7}
    assert {row["case"] for row in rows} == set(monuseg.manifest.load().datasets["monuseg"].cases)
    assert len({row["sha256_of_rgb_bytes"] for row in rows}) == 51
    swapped = {row["stored_under_this_case_in_the_mislabelled_copy"] for row in rows} - {""}
    assert len(swapped) == 7
    assert swapped <= {*monuseg.names("train"), *monuseg.names("val")}


@pytest.mark.parametrize(("split", "nuclei"), [("train", 13471), ("val", 3487), ("test", 6697)])
def test_real_cases_are_the_official_ones(data_root: Path, split: monuseg.Split, nuclei: int) -> None:
    cases = monuseg.load(data_root, split, checksums="strict")
    assert sum(count_labels(case.instances) for case in cases) == nuclei
    assert all(case.image.shape == (1000, 1000, 3) for case in cases)


def test_a_real_case_stored_as_another_is_refused(data_root: Path) -> None:
    one, other = monuseg.names("train")[:2]
    image = tifffile.imread(data_root / "monuseg" / TRAIN / f"{one}.tif")
    assert monuseg.pixel_trouble(one, image) is None
    assert f"holds the tissue of {one}" in str(monuseg.pixel_trouble(other, image))


def test_a_real_image_in_16_bits_is_read_as_the_same_pixels(data_root: Path, tmp_path: Path) -> None:
    name = train_case()
    image = tifffile.imread(data_root / "monuseg" / TRAIN / f"{name}.tif")
    tifffile.imwrite(tmp_path / "deep.tif", image.astype(np.uint16) * 257, photometric="rgb")
    with pytest.warns(ConversionWarning):
        assert monuseg.pixel_trouble(name, monuseg.read_rgb(tmp_path / "deep.tif")) is None
