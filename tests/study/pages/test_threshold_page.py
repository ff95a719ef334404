"""Leads at 0.5 and at each image's best threshold, from results written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from study import tables
from study.pages import threshold_page

WriteRun = Callable[..., Path]


@pytest.fixture
def results(write_run: WriteRun) -> Path:
    ours = {"x": 0.8, "y": 0.6}
    write_run("allinsam", 0.04, 0, ours, best_f1={"x": 0.81, "y": 0.61})
    write_run("allinsam", 0.04, 0, ours, label="weak")
    write_run("nnunet", 0.04, 0, {"x": 0.7, "y": 0.3}, best_f1={"x": 0.81, "y": 0.63})
    write_run("unet", 1.0, 0, ours)  # no partner
    write_run("boxes", 0.0, 0, ours)
    return write_run("lvit_oracle", 0.04, 0, ours)


def test_a_lead_can_be_one_of_threshold(results: Path) -> None:
    found = threshold_page.fragments(results)
    assert found.numbers["threshold:nnunet:complete:0.04:dice"] == "+0.200"
    assert found.numbers["threshold:nnunet:complete:0.04:best_f1"] == "−0.010"
    assert found.numbers["threshold:nnunet:complete:0.04:auc"] == "+0.200"
    (line,) = found.tables["threshold"].strip().split("\n")[5:-1]  # only nnU-Net has a partner
    assert line.startswith("| nnU-Net v2 | 4 %, complete | **+0.200**<br>[+0.100, +0.300]<br>paper ")
    assert " | **−0.010**<br>[−0.020, +0.000]<br>paper " in line


def test_the_printed_leads_stand_beside_ours(results: Path) -> None:
    found = threshold_page.fragments(results)
    assert found.numbers["threshold:paper:complete:0.04:dice"] == "+0.021"  # 0.8134 − 0.7920
    assert found.tables["threshold"].splitlines()[5].count("paper +0.0214 | ") == 1
    assert "paper +0.0220 | " in found.tables["threshold"]  # 0.8190 − 0.7970


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
    assert (both.mean, both.n) == (pytest.approx(0.125), 2)  # images, whose seeds stay together
    assert (both.low, both.high) == pytest.approx((0.1, 0.15))
    assert tables.lead(scores, ("allinsam", "weak"), ("unet", "complete")) is None


def test_chosen_thresholds_stand_beside_a_half(write_run: WriteRun) -> None:
    assert "make study PROFILE=threshold" in threshold_page.chosen(Path("nowhere")).tables["threshold_chosen"]
    again = {"profile": "threshold"}
    for seed, cut in ((0, 0.4), (1, 0.6)):
        write_run("allinsam", 1.0, seed, {"x": 0.8, "y": 0.6})
        write_run("unet", 1.0, seed, {"x": 0.5, "y": 0.5})
        write_run("allinsam", 1.0, seed, {"x": 0.8, "y": 0.6}, threshold=cut, **again)
        write_run("unet", 1.0, seed, {"x": 0.9, "y": 0.8}, threshold=0.8, **again)
    write_run("otsu", 0.0, 0, {"x": 0.3, "y": 0.3})
    write_run("otsu", 0.0, 0, {"x": 0.4, "y": 0.4}, threshold=0.75, **again)
    results = write_run("unet", 0.04, 0, {"x": 0.1, "y": 0.1}, label="weak")  # of another label, with no second run
    found = threshold_page.chosen(results)
    ours, unet, otsu = found.tables["threshold_chosen"].splitlines()[5:8]
    own = "**0.700**<br>[0.600, 0.800]"
    assert ours == f"| All-in-SAM (mini-SAM) | 100 % | 0.40 0.60 | {own} | {own} | – | 2 × 2 |"
    dices = "**0.500**<br>[0.500, 0.500] | **0.850**<br>[0.800, 0.900]"
    assert unet == f"| U-Net | 100 % | 0.80 0.80 | {dices} | **−0.150**<br>[−0.200, −0.100] | 2 × 2 |"
    assert otsu.endswith("| – | 2 × 1 |")
    assert found.numbers["chosen:allinsam:1:threshold"] == "0.50"
    assert found.numbers["chosen:unet:1:dice"] == "0.850"
    assert found.numbers["chosen:unet:1:lead"] == "−0.150"
    assert "chosen:allinsam:1:lead" not in found.numbers
