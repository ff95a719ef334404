"""The notebook's pictures show what the demonstration recorded."""

from __future__ import annotations

import numpy as np
import pytest

from allinsam_core.data.case import Case
from study.pages import mocl_figures
from study.simulation.demonstration import Demonstration, Snapshot


@pytest.fixture
def demo() -> Demonstration:
    """Four pixels wide: cell, missed, invented, background. Two moments."""
    image = np.zeros((4, 4, 3), np.uint8)
    truth, noisy = (np.zeros((4, 4), np.uint16) for _ in range(2))
    truth[:, :2], noisy[:, 0], noisy[:, 2] = 1, 1, 2
    cases = [Case("tile", image, labels, 0.25, "made up") for labels in (truth, noisy)]
    columns = np.tile(np.array([0.9, 0.5, 0.25, 0.1], np.float32), (4, 1))
    snapshots = [
        Snapshot(
            step, step > 0, 1.0, columns, 1 - columns, columns * scale, np.array([0.0, step, 0.0]), np.array([[1, 0]])
        )
        for step, scale in ((0, 1), (10, 3))
    ]
    return Demonstration(*cases, snapshots)


def test_maps_are_shown_as_recorded_on_one_scale_a_row(demo: Demonstration) -> None:
    figure = mocl_figures.evolution(demo)
    panels = [axes for axes in figure.axes if axes.images and axes.get_label() != "<colorbar>"]
    assert len(panels) == 6
    omega = [axes.images[0] for axes in panels[4:]]
    assert np.array_equal(omega[1].get_array(), demo.snapshots[1].omega)
    assert omega[0].get_clim() == omega[1].get_clim() == (0, pytest.approx(2.7))
    assert panels[0].get_title() == "step 0\nplain"
    assert panels[1].get_title() == "step 10\ncorrective"
    dots = panels[2].get_lines()[0]
    assert (list(dots.get_xdata()), list(dots.get_ydata())) == ([0], [1])  # column is x, row is y


def test_means_by_region(demo: Demonstration) -> None:
    table = mocl_figures.means(demo)
    assert table.loc[(10, "corrective", "invented")].to_dict() == pytest.approx({"W": 0.25, "S": 0.75, "ω": 0.75})
    assert table.loc[(0, "plain", "missed"), "W"] == 0.5
    assert len(table) == 8


def test_principal_components_by_hand() -> None:
    at, share = mocl_figures.principal(np.array([[0.0, 0, 5], [2, 0, 5], [4, 0, 5]]))
    assert np.abs(at[:, 0]) == pytest.approx([2, 0, 2])
    assert np.sign(at[0, 0]) == -np.sign(at[2, 0])
    assert share == pytest.approx([1, 0])
    assert mocl_figures.principal(np.ones((3, 4)))[0] == pytest.approx(np.zeros((3, 2)))


def test_one_way_per_loss(demo: Demonstration) -> None:
    figure = mocl_figures.prototypes({"paper_eq5": demo, "ours": demo})
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["paper_eq5", "ours"]
    first, second = (np.stack(line.get_data(), 1) for line in lines)
    assert first == pytest.approx(second)
    assert np.abs(first[1] - first[0]) == pytest.approx([10, 0])
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "10", "0", "10"]


def test_where_annotation_and_truth_part(demo: Demonstration) -> None:
    third = mocl_figures.annotation(demo).axes[2].images[0].get_array()
    assert [tuple(third[0, column]) for column in (1, 2)] == [(213, 94, 0), (0, 114, 178)]
