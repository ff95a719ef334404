"""Figures show what they were given, on labelled axes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from study import results as tables
from study.pages import figures
from study.pages.fragments import DARK, LIGHT, PALETTES
from study.simulation import simulate

WriteRun = Callable[..., Path]


@pytest.fixture
def results(write_run: WriteRun) -> Path:
    write_run("allinsam", 1.0, 0, {"TCGA-aa-1111-x": 0.7, "TCGA-bb-2222-y": 0.9})
    write_run("allinsam", 0.1, 0, {"TCGA-aa-1111-x": 0.6, "TCGA-bb-2222-y": 0.8})
    write_run("allinsam", 0.005, 0, {"TCGA-aa-1111-x": 0.5, "TCGA-bb-2222-y": 0.7})
    write_run("brandnew", 1.0, 0, {"TCGA-aa-1111-x": 0.4, "TCGA-bb-2222-y": 0.3})
    return write_run("otsu", 0.0, 0, {"TCGA-aa-1111-x": 0.4, "TCGA-bb-2222-y": 0.5})


@pytest.fixture
def record(results: Path) -> dict:
    return json.loads(next(results.glob("mini/allinsam-complete-1-*/run.json")).read_text())


def lines(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    return {str(a.get_label()): (list(a.get_xdata()), list(a.get_ydata())) for a in figure.axes[0].get_lines()}


def test_the_learning_curve(record: dict) -> None:
    figure = figures.learning_curve(record)
    assert figure is not None
    left, right = figure.axes
    assert lines(figure)["training loss"] == ([0, 10], [1.5, 1.0])
    assert list(right.get_lines()[0].get_ydata()) == [0.4, 0.6]
    assert list(right.get_lines()[1].get_xdata()) == [10, 10]  # the kept weights
    assert all((left.get_xlabel(), left.get_ylabel(), right.get_ylabel()))
    record["training"]["validations"] = []
    assert len(figures.learning_curve(record).axes) == 1
    record["training"] = {}
    assert figures.learning_curve(record) is None


def test_one_bar_per_image_lowest_first() -> None:
    rows = pd.DataFrame({"image": ["x", "y", "z"], "dice": [0.7, 0.2, 0.9]})
    (axes,) = figures.per_image(rows, "dice").axes
    assert [bar.get_width() for bar in axes.patches] == [0.2, 0.7, 0.9]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["y", "x", "z"]
    assert "dice" in axes.get_xlabel()


@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_dice_against_the_share_of_data(results: Path, palette: object) -> None:
    figure = figures.dice_by_fraction(tables.collect(results, "mini"), palette)  # type: ignore[arg-type]
    drawn = lines(figure)
    share, dice = drawn["All-in-SAM (mini-SAM)"]
    assert share == pytest.approx([100, 10, 0.5])
    assert dice == pytest.approx([0.8, 0.7, 0.6])
    assert drawn["All-in-SAM, paper"] == (pytest.approx([100, 0.5]), pytest.approx([0.8254, 0.7816]))  # 10 % is ours
    assert drawn["Stain deconvolution + Otsu"][1] == pytest.approx([0.45, 0.45])
    assert "brandnew" in drawn
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel()
    assert axes.get_ylabel()


@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_every_image_by_method(results: Path, palette: object) -> None:
    figure = figures.per_image_by_method(tables.collect(results, "mini"), "dice", palette)  # type: ignore[arg-type]
    drawn = lines(figure)
    assert set(drawn) == {"All-in-SAM (mini-SAM)", "brandnew", "Stain deconvolution + Otsu"}
    assert drawn["All-in-SAM (mini-SAM)"][0] == [0.7, 0.9]  # full data only
    assert drawn["brandnew"][0] == [0.4, 0.3]  # in the same order of images
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["aa-1111", "bb-2222"]
    assert axes.get_xlabel() == "dice of one test image"


def test_pictures_of_image_truth_and_prediction(tmp_path: Path) -> None:
    cases = [simulate.tile(seed, size=64) for seed in (1, 2)]
    for case, level in zip(cases, (127, 128), strict=True):  # half of 255 rounds to 128
        half = np.zeros((64, 64), np.uint8)
        half[:, :32] = level
        np.save(tmp_path / f"{case.name}.npy", half)
    figure = figures.predictions(cases, tmp_path)
    assert [axes.get_title() for axes in figure.axes] == ["image (simulated)", "truth", "prediction"] * 2
    assert np.array_equal(figure.axes[2].images[0].get_array(), cases[0].image)
    assert (figure.axes[5].images[0].get_array()[:, 31] == (255, 225, 0)).all()
    assert not np.array_equal(figure.axes[1].images[0].get_array(), cases[0].image)


def test_outlines_are_drawn_inside_the_labels() -> None:
    labels = np.zeros((7, 7), int)
    labels[1:6, 1:6] = 1
    image = np.zeros((7, 7, 3), np.uint8)
    yellow = (figures.outlined(image, labels) == (255, 225, 0)).all(axis=2)
    expected = labels > 0
    expected[2:5, 2:5] = False
    assert np.array_equal(yellow, expected)
    assert not image.any()


def test_a_figure_in_a_notebook_has_words_for_those_who_cannot_see_it(record: dict) -> None:
    shown = figures.shown(figures.learning_curve(record), "Loss against steps")
    assert shown is not None
    assert shown.data.startswith(b"\x89PNG")
    assert shown.alt == "Loss against steps"
    assert figures.shown(None, "nothing") is None


def test_what_a_run_took(record: dict) -> None:
    column = figures.cost(record)["this run"]
    assert column["parameters, trained"] == "900"
    assert column["training pixels"] == "120,000"
    assert column["peak memory, MiB"] == 3072
    assert column["device"] == "cpu: a processor, 2 threads"


def test_short_names_and_colours() -> None:
    assert figures.short("TCGA-A6-6782-01A-01-BS1") == "A6-6782"
    assert figures.short("simulated-3") == "simulated-3"
    assert figures.COLOURS.keys() == {LIGHT.name, DARK.name}
    assert figures.COLOURS["light"].keys() == figures.COLOURS["dark"].keys()
    assert (
        set(tables.METHOD_NAMES) - set(tables.TABLE2_ONLY)
        <= figures.COLOURS["light"].keys()
        <= set(tables.METHOD_NAMES)
    )
    for palette in figures.COLOURS.values():
        assert len(set(palette.values())) == len(palette)
