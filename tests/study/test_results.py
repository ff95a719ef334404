"""Tables from a results folder written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from study import records
from study import results as tables
from study.audit.published import table3 as published

WriteRun = Callable[..., Path]


def test_every_metric_stands_beside_a_printed_column() -> None:
    row = published()[3]
    assert (row.method, row.training_data) == ("All-in-SAM", "All")
    values = [getattr(row, column) for column in tables.TABLE3_METRICS.values()]
    assert values == [0.8254, 0.9717, 0.8474, 0.8081, 0.8304, 0.6974, 0.7036]
    assert list(tables.TABLE3_METRICS)[5:] == ["iou_column", "jaccard"]


def test_the_papers_value_ours_and_the_difference_by_hand(write_run: WriteRun) -> None:
    write_run("allinsam", 1.0, 0, {"a": 0.80, "b": 0.84}, jaccard={"a": 0.6, "b": 0.8})
    write_run("allinsam", 1.0, 1, {"a": 0.82, "b": 0.86}, jaccard={"a": 0.6, "b": 0.8})
    results = write_run("unet", 1.0, 0, {"a": 0.5, "b": 0.7})
    found = tables.rows(tables.collect(results, "mini"), ("dice", "jaccard", "iou_column", "aji_kumar"))
    assert [(row.method, len(row.runs)) for row in found] == [("allinsam", 2), ("unet", 1)]
    dice = found[0].cells["dice"]
    assert dice.paper == 0.8254
    assert dice.ours.mean == pytest.approx(0.83)
    assert dice.difference == pytest.approx(0.0046)
    # a resample holds one image twice or both, and one seed twice or both: 0.80, one of each, has 1/16 > 2.5 %
    assert (dice.ours.low, dice.ours.high, dice.ours.n) == pytest.approx((0.80, 0.86, 2))
    assert dice.seeds == 2
    assert dice.between_seeds == pytest.approx(0.02 / math.sqrt(2))
    assert found[0].cells["jaccard"].difference == pytest.approx(0.7 - 0.7036)
    assert found[0].cells["iou_column"].difference == pytest.approx(0.83 - 0.6974)
    assert found[0].cells["aji_kumar"].paper is None
    rival = found[1].cells["dice"]
    assert (rival.paper, rival.difference, rival.seeds) == (None, None, 1)
    assert math.isnan(rival.between_seeds)


@pytest.mark.parametrize(
    ("label", "fraction", "dice"),
    [("complete", 0.04, 0.8134), ("complete", 0.005, 0.7816), ("weak", 1.0, 0.8246), ("weak", 0.005, 0.7873)],
)
def test_each_cell_meets_its_own_row_of_the_paper(
    write_run: WriteRun, label: str, fraction: float, dice: float
) -> None:
    results = write_run("allinsam", fraction, 0, {"a": 0.8, "b": 0.9}, label=label)
    (row,) = tables.rows(tables.collect(results, "mini"), ("dice",))
    assert row.cells["dice"].paper == dice


def test_other_amounts_of_data_and_simulated_images_have_no_printed_value(write_run: WriteRun) -> None:
    write_run("allinsam", 0.1, 0, {"a": 0.8, "b": 0.9})
    results = write_run("allinsam", 1.0, 0, {"a": 0.8, "b": 0.9}, simulated=True)
    assert [row.cells["dice"].paper for row in tables.rows(tables.collect(results, "mini"), ("dice",))] == [None, None]


def test_an_undefined_score_is_left_out_and_n_says_so(write_run: WriteRun) -> None:
    images = {"a": 0.8, "b": 0.9, "c": 0.5}
    results = write_run("unet", 1.0, 0, images, auc={"a": 0.8, "b": 0.9, "c": float("nan")})
    (row,) = tables.rows(tables.collect(results, "mini"), ("auc", "dice"))
    assert (row.cells["auc"].ours.n, row.cells["dice"].ours.n) == (2, 3)
    assert row.cells["auc"].ours.mean == pytest.approx(0.85)


def test_table_3_in_long_form(write_run: WriteRun) -> None:
    for fraction in (0.005, 1.0):
        results = write_run("allinsam", fraction, 0, {"a": 0.7, "b": 0.9})
    table = tables.table3(tables.collect(results, "mini"))
    assert len(table) == 2 * 7
    assert table["training data"].unique().tolist() == ["100 %", "0.5 %"]
    first = table.iloc[0]
    assert (first["label"], first["method"], first["metric"]) == ("complete", "All-in-SAM (mini-SAM)", "dice")
    assert (first["paper"], first["images"], first["seeds"]) == (0.8254, 2, 1)
    assert first["difference"] == pytest.approx(0.8 - 0.8254)


def test_rows_are_called_by_the_sam_of_their_own_runs(write_run: WriteRun) -> None:
    write_run("allinsam", 1.0, 0, {"a": 0.8}, sam={"name": "vit_h"}, profile="paper", version="0" * 64)
    results = write_run("otsu", 0.0, 0, {"a": 0.8}, profile="paper")
    names = tables.names(tables.collect(results, "paper"))
    assert names["allinsam"] == "All-in-SAM (ViT-H, other weights)"
    assert names["zeroshot"] == "ViT-H, other weights, no MoNuSeg training"  # not run: as the others of the profile
    assert names["otsu"] == "Stain deconvolution + Otsu"
    assert not any("mini-SAM" in name for name in names.values())
    mini = write_run("allinsam", 1.0, 0, {"a": 0.8})
    assert tables.names(tables.collect(mini, "mini"))["allinsam"] == "All-in-SAM (mini-SAM)"


def test_rows_of_the_paper_without_runs(write_run: WriteRun) -> None:
    write_run("allinsam", 1.0, 0, {"a": 0.8})
    results = write_run("nnunet", 0.04, 0, {"a": 0.8}, label="weak")
    scores = tables.collect(results, "mini")
    absent = [(method, row.training_data) for method, row in tables.not_run(scores, "complete")]
    assert len(absent) == 5
    assert ("allinsam", "All") not in absent
    weak = [(method, row.training_data) for method, row in tables.not_run(scores, "weak")]
    assert ("nnunet", "4%") not in weak
    assert ("allinsam", "0.5%") in weak


def test_what_runs_cost(write_run: WriteRun, tmp_path: Path) -> None:
    (line,) = tables.run_table(write_run("unet", 1.0, 0, {"a": 0.7}), "mini").to_dict("records")
    assert line == {
        "run": next((tmp_path / "results" / "mini").iterdir()).name,
        "trained parameters": 900,
        "fit s": 90.0,
        "predict s": 1.3,
        "peak MiB": 3072,
        "device": "cpu",
        "commit": "abcdef0123",
    }


def test_no_finished_run_says_what_to_run(write_run: WriteRun) -> None:
    results = write_run("unet", 1.0, 0, {"a": 0.7})
    with pytest.raises(tables.NotRun, match=r"smoke: no finished run; `make study PROFILE=smoke`"):
        tables.collect(results, "smoke")
    next(results.glob("mini/*/run.json")).unlink()
    with pytest.raises(tables.NotRun, match="mini: no finished run"):
        tables.collect(results, "mini")


def test_different_test_images_refuse(write_run: WriteRun) -> None:
    write_run("unet", 1.0, 0, {"a": 0.7})
    results = write_run("allinsam", 1.0, 0, {"a": 0.7}, test="other")
    with pytest.raises(ValueError, match=r"allinsam-\S+ and \S+unet-\S+ were scored on different test images"):
        tables.collect(results, "mini")


def test_two_runs_of_one_cell_refuse(write_run: WriteRun) -> None:
    write_run("unet", 1.0, 0, {"a": 0.7})
    results = write_run("unet", 1.0, 0, {"a": 0.9}, version="newer")
    with pytest.raises(ValueError, match=r"unet-\S+ and \S+unet-\S+ are runs of the same cell and seed; delete"):
        tables.collect(results, "mini")


def test_names_of_fractions() -> None:
    assert [tables.fraction_name(f) for f in (1.0, 0.04, 0.005, 0.0)] == ["100 %", "4 %", "0.5 %", "none"]
    assert [tables.trained_on(data, "weak") for data in ("4 %", "none")] == ["4 %, weak", "none"]


def test_the_validation_that_chose_the_weights_counts(write_run: WriteRun) -> None:
    (path,) = (write_run("unet", 1.0, 0, {"a": 0.7}) / "mini").glob("*/run.json")
    record = records.read(path)
    assert tables.validation_dice(record) == 0.6
    record["training"]["best"] = 5
    assert tables.validation_dice(record) == 0.4


def test_leads_are_paired_on_the_seeds_that_both_have(write_run: WriteRun) -> None:
    write_run("allinsam", 1.0, 0, {"x": 0.8, "y": 0.6})
    write_run("allinsam", 1.0, 1, {"x": 0.1, "y": 0.1})
    scores = tables.collect(write_run("unet", 1.0, 0, {"x": 0.7, "y": 0.4}), "mini")
    lead = tables.lead(scores, ("allinsam", "complete"), ("unet", "complete"))
    assert lead is not None
    assert (lead.mean, lead.n) == (pytest.approx(0.15), 2)
    scores = tables.collect(write_run("unet", 1.0, 1, {"x": 0.0, "y": 0.0}), "mini")
    both = tables.lead(scores, ("allinsam", "complete"), ("unet", "complete"))
    assert both is not None
    assert (both.mean, both.n) == (pytest.approx(0.125), 2)
    assert tables.lead(scores, ("allinsam", "weak"), ("unet", "complete")) is None
