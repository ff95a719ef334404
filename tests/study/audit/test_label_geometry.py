from pathlib import Path

import numpy as np
import pytest

from study.audit import label_geometry
from study.audit.published import table3
from study.simulation import simulate

RESULTS = Path(__file__).parents[3] / "results"


def test_shift_moves_down_and_right_and_loses_what_leaves() -> None:
    assert label_geometry.shifted(np.array([[1, 2], [3, 4]])).tolist() == [[0, 0], [0, 1]]


def test_thinner_takes_the_outermost_pixels_only() -> None:
    square = np.zeros((14, 14), np.uint16)
    square[2:12, 2:12] = 1
    thin = label_geometry.thinner(square)
    assert (square > 0).sum() - (thin > 0).sum() == 8  # 8 % of 100 px
    assert (thin[3:11, 3:11] == 1).all()  # the ring of 36 px holds all that is gone


def test_thinner_parts_nuclei_that_touch() -> None:
    pair = np.repeat([[1, 2]], 40, axis=0).repeat(20, axis=1)
    gone = (label_geometry.thinner(pair) == 0).any(axis=0)
    assert np.flatnonzero(gone).tolist() == [18, 19, 20, 21]  # between the two; the image's edge is no outline


def test_thicker_adds_one_pixel() -> None:
    dot = np.zeros((5, 5), int)
    dot[2, 2] = 7
    assert (label_geometry.thicker(dot) == 7).sum() == 5


def test_measure_scores_the_truth_itself_as_perfect() -> None:
    case = simulate.tile(3, 128)
    geometry, names = label_geometry.measure([case], lambda image: case.instances)
    official = geometry[geometry["geometry"] == "official"]
    assert (official[list(label_geometry.METRICS)].drop(columns="iou_column") == 1).all().all()
    thin = geometry[geometry["geometry"] == "8 % thinner"]["dice"]
    assert thin.to_numpy() == pytest.approx(2 * 0.92 / 1.92, abs=2e-3)  # a part of area a has Dice 2a / (1 + a)
    assert len(names) == 5


def test_a_missing_record_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="audit-labels"):
        label_geometry.read(tmp_path / "none.csv")


def test_what_the_page_says_of_the_five_names() -> None:
    names = label_geometry.read(RESULTS / label_geometry.NAMES_RECORD)
    mean = names.groupby("name")["value"].mean()
    assert names["image"].nunique() == 14
    assert mean.idxmax() == "jaccard"
    assert mean["jaccard"] - mean["aji_kumar"] > 0.05  # the page: much larger than the other differences
    assert mean["aji_kumar"] - mean["aji_components"] > 0  # the page: without an instance step it falls
    assert abs(mean["aji_kumar"] - mean["aji_plus"]) < 0.02  # the page: the pairing rule matters least


def test_what_the_page_says_of_geometry() -> None:
    geometry = label_geometry.read(RESULTS / label_geometry.GEOMETRY_RECORD)
    means = geometry.groupby(["scored", "geometry"])[list(label_geometry.METRICS)].mean()
    perfect, prediction = means.loc["perfect"], means.loc["prediction"]
    assert perfect["dice"]["official"] == 1
    assert perfect["dice"]["8 % thinner"] == pytest.approx(2 * 0.92 / 1.92, abs=1e-3)
    assert perfect["dice"]["shifted and thinner"] < 0.95  # the page: a perfect model stays below
    change = prediction.loc["8 % thinner"] - prediction.loc["official"]
    assert change["precision"] < 0 < change["recall"]  # the page: precision is paid for recall


def test_the_printed_recall_is_above_the_printed_precision_on_every_row() -> None:
    assert all(row.recall > row.precision for row in table3())
