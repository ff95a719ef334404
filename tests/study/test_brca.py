"""The tables of the fourth experiment, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from study import brca
from study.datasets.brca_m2c import CLASSES


def scores(*lines: tuple[str, int, tuple[int, int, int]], method: str = "unet", fraction: float = 1.0) -> pd.DataFrame:
    """image, seed and (hits, truth, pred), the same for every class; one hit less by the greedy rule."""
    made = []
    for image, seed, (hits, truth, pred) in lines:
        row: dict[str, object] = {"image": image, "seed": seed, "method": method, "fraction": fraction}
        for name in (*CLASSES, "any"):
            row |= {f"hits_{name}_3.05um": hits, f"hits_{name}_3.05um_greedy": hits - 1}
            row |= {f"truth_{name}": truth, f"pred_{name}": pred}
        made.append(row)
    return pd.DataFrame(made)


def test_counts_are_added_before_f1_is_taken() -> None:
    """A tile of 2 of 2 and one of 10 of 98: F1 is 2 · 12 / 200, not the mean of 1 and 0.102."""
    both = scores(("a", 0, (2, 2, 2)), ("b", 0, (10, 98, 98)))
    found = brca.pooled(both, ["stromal"])
    assert found.mean == pytest.approx(0.12)
    assert found.low == pytest.approx(20 / 196)
    assert found.high == pytest.approx(1)
    assert found.n == 2
    assert brca.pooled(both, ["stromal"], greedy=True).mean == pytest.approx(0.1)


def test_the_mean_is_over_classes_and_seeds_are_drawn_too() -> None:
    table = scores(("a", 0, (1, 2, 2)), ("a", 1, (2, 2, 2)))
    table["hits_stromal_3.05um"] = 0
    found = brca.pooled(table, CLASSES)
    assert found.mean == pytest.approx((0.75 + 0.75 + 0) / 3)
    assert (found.low, found.high) == (pytest.approx(1 / 3), pytest.approx(2 / 3))  # seed 0 or seed 1 twice


def test_cells_stand_in_one_order() -> None:
    lines = [("a", 0, (1, 1, 1))]
    parts = [("hue", 0.04), ("unet", 1.0), ("other", 1.0), ("allinsam", 1.0)]
    found = brca.cells(pd.concat([scores(*lines, method=m, fraction=f) for m, f in parts]))
    assert [(c.method, c.fraction) for c in found] == [
        ("allinsam", 1.0), ("unet", 1.0), ("other", 1.0), ("hue", 0.04)
    ]  # fmt: skip
    assert found[0].f1.keys() == {"mean", *CLASSES, "any"}
    assert found[0].seeds == 1


def test_errors_by_kind() -> None:
    one = pd.DataFrame(
        [["lymphocyte", 6, 2, 0, 2], ["epithelial", 0, 9, 0, 1], ["stromal", 1, 1, 2, 0], ["none", 5, 0, 2, 0]],
        columns=["truth", *CLASSES, "none"],
    )
    found = brca.errors([one, one]).set_index("class")
    assert found.loc["lymphocyte"].tolist() == [20, 0.6, 0.2, 0.2, 0.5]
    assert found.loc["epithelial"].tolist() == [20, 0.9, 0.0, 0.1, 0.0]
    assert found.loc["stromal"].tolist() == [8, 0.5, 0.5, 0.0, 0.5]


def test_reliability_of_several_runs() -> None:
    one = pd.DataFrame(
        {"class": ["a", "a"], "from": [0.5, 0.6], "nuclei": [2, 0], "confidence": [1.1, 0], "hits": [1, 0]}
    )
    other = one.assign(nuclei=[2, 0], confidence=[1.0, 0], hits=[2, 0])
    (line,) = brca.reliability([one, other]).to_dict("records")
    assert (line["nuclei"], line["confidence"], line["precision"]) == (4, pytest.approx(0.525), 0.75)


def test_quoted_figures_have_a_source_and_a_distance() -> None:
    found = brca.published()
    assert found[["source", "distance"]].notna().all().all()
    figures = found[[*CLASSES, "mean", "any"]].to_numpy()
    assert ((figures > 0) & (figures < 1)).all()
    assert np.allclose(found[list(CLASSES)].mean(axis=1), found["mean"], atol=5e-5)
