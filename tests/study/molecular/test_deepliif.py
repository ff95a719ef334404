"""Lay boxes, masks and classes on a tile drawn by hand, and DeepLIIF's own where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest

from allinsam_core.annotation.sam import Sam
from allinsam_core.data.errors import DataError, MissingData
from study import records
from study.datasets import deepliif as reader
from study.molecular import deepliif

SIDE, NUCLEI, POSITIVE = 160, 30, 9
IHC, IF = (3, -4), (-2, 5)  # how far these panels lie off the haematoxylin panel, rows and columns
GLASS, BLUE, BROWN = (240, 240, 240), (90, 80, 170), (110, 70, 30)


def panels(seed: int = 0) -> dict[str, np.ndarray]:
    """NUCLEI discs of different sizes at random places, apart from each other; POSITIVE of them positive."""
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    nuclei, positive = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    centres: list[np.ndarray] = []
    while len(centres) < NUCLEI:
        centre = rng.integers(12, SIDE - 12, 2)
        if all(np.hypot(*(centre - other)) > 18 for other in centres):
            centres.append(centre)
    for index, (row, column) in enumerate(centres):
        disc = (rows - row) ** 2 + (columns - column) ** 2 <= rng.integers(4, 8) ** 2
        nuclei |= disc
        positive |= disc & (index < POSITIVE)

    def moved(image: np.ndarray, by: tuple[int, int]) -> np.ndarray:
        return np.roll(image, by, axis=(0, 1))

    def stain(nuclear: np.ndarray, brown: np.ndarray) -> np.ndarray:
        image = np.where(nuclear[..., None], BLUE, GLASS)
        return np.where(brown[..., None], BROWN, image) + rng.integers(-4, 5, (SIDE, SIDE, 1))

    def light(where: np.ndarray, level: int) -> np.ndarray:
        return np.repeat((where * level + rng.integers(2, 8, (SIDE, SIDE)))[..., None], 3, axis=2)

    nothing = np.zeros_like(nuclei)
    return {
        "ihc": stain(moved(nuclei, IHC), moved(positive, IHC)),
        "haematoxylin": stain(nuclei, nothing),
        "dapi": light(moved(nuclei, IF), 150),
        "lap2": light(nothing, 0),
        "ki67": light(moved(positive, IF), 120),
        "segmentation": 255 * np.stack([positive, nothing, nuclei & ~positive], axis=2),
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the tile, some panels replaced, as tmp_path/deepliif/one.png; returns its path."""

    def save(**replaced: np.ndarray) -> Path:
        path = tmp_path / "deepliif" / "one.png"
        path.parent.mkdir(exist_ok=True)
        imageio.imwrite(path, np.concatenate([*(panels() | replaced).values()], axis=1).astype(np.uint8))
        return path

    return save


def test_nuclei_and_classes_are_read_from_the_last_panel(write: Callable[..., Path], tmp_path: Path) -> None:
    write()
    (tile,) = reader.load(tmp_path)
    assert (tile.name, tile.instances.max(), tile.positive.sum()) == ("one", NUCLEI, POSITIVE)
    assert tile.instances.dtype == np.uint16
    first = tile.panels["segmentation"][tile.instances == 1]
    assert (first == ((255, 0, 0) if tile.positive[0] else (0, 0, 255))).all()


def test_specks_are_no_nuclei(write: Callable[..., Path]) -> None:
    segmentation = panels()["segmentation"]
    segmentation[:3, :3, 0] = 255  # 9 px
    assert reader.read(write(segmentation=segmentation)).positive.sum() == POSITIVE
    segmentation[:3, :4, 0] = 255  # 12 px
    assert reader.read(write(segmentation=segmentation)).positive.sum() == POSITIVE + 1


def test_what_is_no_such_tile_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "deepliif").mkdir()
    with pytest.raises(MissingData, match=r"no \*\.png"):
        reader.load(tmp_path)
    segmentation = panels()["segmentation"]
    for change, message in (
        (np.where(segmentation > 0, 150, 0), "not black, red, green or blue"),
        (np.maximum(segmentation, (0, 255, 0)), "not black, red, green or blue"),
        (np.zeros_like(segmentation), "no red or blue nucleus"),
    ):
        with pytest.raises(DataError, match=message):
            reader.read(write(segmentation=change))
    half = segmentation.copy()
    half[SIDE // 2 :] = half[SIDE // 2 :, :, ::-1]  # red and blue change places below the middle
    with pytest.raises(DataError, match="are red and blue"):
        reader.read(write(segmentation=half))
    imageio.imwrite(tmp_path / "five.png", np.zeros((20, 100, 3), np.uint8))
    with pytest.raises(DataError, match="20 × 100 px, expected 6 square panels"):
        reader.read(tmp_path / "five.png")


def test_a_box_is_positive_above_the_threshold_over_the_boxes() -> None:
    marker = np.full((8, 40), 10.0)
    marker[2:4, 2:4] = 90  # mean of the first box: 30
    marker[:, 30:] = np.nan
    boxes = np.array([[0, 0, 4, 4], [10, 0, 14, 4], [20, 0, 24, 4], [32, 0, 36, 4], [28, 0, 32, 4]], np.float32)
    np.testing.assert_array_equal(deepliif.read_class(marker, boxes), [True, False, False, False, False])


def test_agreement_by_hand() -> None:
    read, truth = np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 1, 0, 0], bool)
    found = deepliif.agreement(read, truth)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert (found["f1_positive"], found["f1_negative"]) == (pytest.approx(1 / 2), pytest.approx(2 / 3))
    assert np.isnan(deepliif.agreement(~read | True, ~truth | True)["f1_negative"])


def test_a_run_and_its_page(
    write: Callable[..., Path], tmp_path: Path, tiny_sam: Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    monkeypatch.setenv("ALLINSAM_DATA", str(tmp_path))
    monkeypatch.setattr(deepliif.sams, "load_mini", lambda name="mini": tiny_sam)
    folder = deepliif.execute(tmp_path / "results")
    rows = pd.read_csv(folder / "rows.csv").set_index(["part", "item"])
    shift = rows.loc["registration", "shift_px"]
    assert shift["ihc"] == pytest.approx(np.hypot(*IHC), abs=0.5)
    assert shift["dapi"] == pytest.approx(np.hypot(*IF), abs=0.5)
    assert shift["segmentation"] < 0.5
    assert rows.loc[("class", "Ki67 registered"), "accuracy"] == 1
    assert rows.loc[("class", "Ki67 as given"), "positive_nuclei"] == POSITIVE
    assert rows.loc[("class", "none, all negative"), "accuracy"] == pytest.approx(21 / 30)
    correlation = rows.loc["check", "correlation"]
    assert correlation["registered"] > 0.9 > 0.5 > correlation["as given"]
    assert rows.loc[("masks", "ellipses"), "mean_instance_iou"] > 0.2
    assert records.read(folder / "run.json")["failed_registrations"] == {"one": {}}


def test_a_failed_registration_is_reported_and_nothing_rests_on_it(
    write: Callable[..., Path], tmp_path: Path, tiny_sam: Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(dapi=panels(seed=1)["dapi"])  # of another place
    monkeypatch.setenv("ALLINSAM_DATA", str(tmp_path))
    monkeypatch.setattr(deepliif.sams, "load_mini", lambda name="mini": tiny_sam)
    folder = deepliif.execute(tmp_path / "results")
    rows = pd.read_csv(folder / "rows.csv")
    assert "Ki67 registered" not in set(rows["item"])
    assert "check" not in set(rows["part"])
    assert rows[rows["item"] == "dapi"]["shift_px"].isna().all()
    assert "registration failed" in records.read(folder / "run.json")["failed_registrations"]["one"]["dapi"]


def test_the_real_tiles(data_root: Path) -> None:
    if not (data_root / "deepliif").is_dir():
        pytest.skip(f"no DeepLIIF tiles in {data_root / 'deepliif'}; set ALLINSAM_DATA")
    tiles = {tile.name: tile for tile in reader.load(data_root)}
    assert {name: (len(t.positive), t.positive.sum()) for name, t in tiles.items()} == {
        "Bladder1": (184, 15),
        "Lung1": (61, 11),
    }
    middle = np.s_[80:432, 80:432]
    part = replace(tiles["Lung1"], panels={name: image[middle] for name, image in tiles["Lung1"].panels.items()})
    found, failed = deepliif.align(replace(part, instances=part.instances[middle]))
    assert not failed
    shift = {panel: deepliif._shift(r)["shift_px"] for panel, r in found.items()}
    assert shift["segmentation"] < 2 < 3 < min(shift["ihc"], shift["dapi"])
