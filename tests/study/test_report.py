"""What page notebooks share: numbers, colours, figures in two modes, tables, parts that were not run."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from myst_nb.core.variables import format_plain_text
from skimage.color import rgb2lab

from study import report
from study.results import NotRun
from study.stats import Interval


@pytest.fixture
def glued(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    monkeypatch.setattr(report, "glue", lambda key, shown, display=True: found.setdefault(key, shown))
    return found


def test_numbers_are_formatted() -> None:
    assert (report.score(0.82544), report.score(0.82544, 4)) == ("0.825", "0.8254")
    assert (report.signed(0.0012), report.signed(-0.0037, 4), report.signed(-0.00001)) == (
        "+0.001",
        "−0.0037",
        "+0.000",
    )
    assert [report.p_value(value) for value in (math.nan, 0.0004, 0.041)] == ["–", "< 0.001", "0.041"]
    found = Interval(0.1, -0.05, 0.25, 14, 0.95)
    assert report.interval(found) == "**0.100**\n[−0.050, 0.250]"
    assert report.interval(found, report.signed, " ") == "**+0.100** [−0.050, +0.250]"


def test_numbers_are_glued_as_text(glued: dict[str, Any]) -> None:
    report.numbers(images=14, dice="0.8 & more")
    assert glued["images"]._repr_mimebundle_() == {"text/html": "14", "text/plain": "'14'"}
    assert glued["dice"]._repr_mimebundle_() == {"text/html": "0.8 &amp; more", "text/plain": "'0.8 & more'"}


# ---- colours

# deuteranopia and protanopia on linear RGB, Machado, Oliveira & Fernandes, IEEE TVCG 2009, severity 1
DEFICIENCIES = (
    np.eye(3),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
)


def linear(colours: list[str]) -> np.ndarray:
    values = np.array([[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for colour in colours])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def seen(colours: list[str], deficiency: np.ndarray) -> np.ndarray:
    values = np.clip(linear(colours) @ deficiency.T, 0, 1)
    return rgb2lab(np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)[None])[0]


@pytest.mark.parametrize("mode", report.MODES)
def test_colours_differ_for_the_colour_blind_and_stand_out_from_the_page(mode: str) -> None:
    page, ink, _, cycle = report.MODES[mode]
    for deficiency in DEFICIENCIES:
        lab = seen(list(cycle), deficiency)
        assert min(np.linalg.norm(one - other) for one, other in combinations(lab, 2)) >= 28
    luminance = linear([page, ink, *cycle]) @ [0.2126, 0.7152, 0.0722] + 0.05
    contrast = np.maximum(luminance, luminance[0]) / np.minimum(luminance, luminance[0])
    assert contrast[1] >= 7  # text
    assert contrast[2:].min() >= 3  # marks: WCAG 1.4.11


# ---- figures


def sources(markup: str) -> list[tuple[str, bytes]]:
    images = ElementTree.fromstring(f"<p>{markup.replace('>', '/>')}</p>").findall("img")
    return [(image.get("src", "").split(";")[0], b64decode(image.get("src", "").split(",")[1])) for image in images]


def test_a_figure_is_drawn_in_both_modes_the_same_each_time(glued: dict[str, Any]) -> None:
    def draw() -> Any:
        drawn, axes = plt.subplots()
        axes.plot([0, 1], [0, 1])
        return drawn

    before = plt.get_fignums()
    report.figure("once", 'A line, "straight"')(draw)
    (kind, light), (_, dark) = sources(glued["once"].markup)
    assert kind == "data:image/svg+xml"
    assert report.MODES["light"][3][0] in light.decode()
    assert report.MODES["dark"][3][0] in dark.decode()
    assert glued["once"].markup.count('alt="A line, &quot;straight&quot;"') == 2
    assert 'class="in-light"' in glued["once"].markup
    assert plt.get_fignums() == before  # closed, so that no notebook shows them once more
    first = glued.pop("once").markup
    report.figure("once", 'A line, "straight"')(draw)
    assert glued["once"].markup == first


def test_a_photograph_is_one_jpeg(glued: dict[str, Any]) -> None:
    @report.photograph("photo", "grey")
    def _() -> Any:
        return plt.figure(figsize=(1, 1))

    ((kind, content),) = sources(glued["photo"].markup)
    assert kind == "data:image/jpeg"
    assert content.startswith(b"\xff\xd8")


# ---- tables


def test_a_table_is_light_markdown_and_can_be_had_as_csv(glued: dict[str, Any]) -> None:
    frame = pd.DataFrame({"`dice`": ["**0.8**\n[0.7, 0.9]"], "x < y": ["[3](runs.html?a=1&b=2) of 4 %"]})
    report.table("t", frame, text=2, again="`make it`\n3 runs")
    markup = glued["t"].markup
    assert "<th><code>dice</code></th>" in markup
    assert "<td><b>0.8</b><br>[0.7, 0.9]</td>" in markup
    assert "<th>x &lt; y</th>" in markup
    assert '<td><a href="runs.html?a=1&amp;b=2">3</a> of 4\u00a0%</td>' in markup
    assert 'class="dataframe table text-2"' in markup
    assert "<summary>Reproduce this table</summary><code>make it</code><br>3 runs" in markup
    csv = unquote(markup.split("charset=utf-8,")[1].split('"')[0])
    assert csv == 'dice,x < y\n"0.8 [0.7, 0.9]",3 of 4 %\n'
    report.table("numbers", frame, data=pd.DataFrame({"dice": [0.8123]}))
    assert "dice%0A0.8123" in glued["numbers"].markup
    assert "Reproduce" not in glued["numbers"].markup


def test_what_it_takes_to_make_runs_again() -> None:
    environment = {"device_name": "a processor", "threads": 2}
    record = {"fit_seconds": 90.0, "predict_seconds": 30.0, "environment": environment}
    text = report.reproduce("make study", [record, record])
    assert text == "`make study`\n2 runs, 4 minutes of training and prediction in all, on a processor, 2 thread(s)."
    assert "1.0 hours" in report.reproduce("make study", [{**record, "fit_seconds": 3570.0}])


def test_runs_are_linked_by_what_they_are() -> None:
    link = report.runs("3", profile="mini/table1", label="Expert without IF", fraction="0.04")
    assert link == "[3](runs.html?profile=mini%2Ftable1&label=Expert+without+IF&fraction=0.04)"


# ---- what was not run


def test_what_was_not_run_is_said_and_other_errors_stay(glued: dict[str, Any]) -> None:
    with report.if_run("table", "number"):
        raise NotRun("x: no finished run; `make study PROFILE=x` makes them")
    assert glued["number"].text == "not run"
    assert "Not run yet. x: no finished run" in glued["table"].markup
    with pytest.raises(ValueError, match="two runs"), report.if_run("other"):
        raise ValueError("two runs of one cell")
    assert "other" not in glued


def test_folders_are_found_from_wherever_a_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "notebooks").mkdir()
    for place in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(place)
        assert report.folder("results") == tmp_path / "results"
    assert report.folder(tmp_path / "notebooks") == tmp_path / "notebooks"
    assert report.folder("absent") == Path("absent")


def test_the_learning_curve_shows_losses_and_the_validations_that_chose_the_weights() -> None:
    training = {"losses": [(0, 1.5), (10, 1.0)], "validations": [{"step": 5, "dice": 0.4}, {"step": 10, "dice": 0.6}]}
    plt.close("all")
    left, right = report.learning_curve({**training, "best": 10}).axes
    assert [list(values) for values in left.get_lines()[0].get_data()] == [[0, 10], [1.5, 1.0]]
    assert [list(values) for values in right.get_lines()[0].get_data()] == [[5, 10], [0.4, 0.6]]
    assert list(right.get_lines()[1].get_xdata()) == [10, 10]
    assert all((left.get_xlabel(), left.get_ylabel(), right.get_ylabel()))
    figure = report.learning_curve({**training, "validations": []})
    assert len(figure.axes) == 1
    picture = report.shown(figure, "Loss against steps")
    assert picture.data.startswith(b"\x89PNG")
    assert picture.alt == "Loss against steps"
    assert not plt.get_fignums()[1:]  # what was shown is closed


def test_a_number_reads_as_it_was_formatted(glued: dict[str, Any]) -> None:
    report.numbers(dice=report.score(0.7), cases=f"{2674:,}", seeds=3)
    plain = {key: shown._repr_mimebundle_()["text/plain"] for key, shown in glued.items()}
    read = {key: format_plain_text(text, "s") for key, text in plain.items()}  # as {glue:text} does
    assert read == {"dice": "0.700", "cases": "2,674", "seeds": "3"}
