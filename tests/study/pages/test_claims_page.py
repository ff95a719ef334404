"""What held and what did not, from results written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from allinsam_core.metrics.stats import Interval
from study.pages import claims_page
from study.pages.claims_page import Claim, lead, small_loss

WriteRun = Callable[..., Path]
UP, DOWN, UNSURE = (Interval(m, m - 0.05, m + 0.05, 14, 0.95) for m in (0.1, -0.1, 0.01))


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ((), "not run"),
        ((UP, UP), "held"),
        ((UP, DOWN), "held in part"),
        ((UP, UNSURE), "held in part"),
        ((DOWN, UNSURE), "did not hold"),
        ((UNSURE,), "undecided"),
    ],
)
def test_verdicts_follow_from_the_intervals(found: tuple[Interval, ...], verdict: str) -> None:
    findings = tuple(lead("x", interval) for interval in found)
    assert Claim("a claim", "data", "a measure", findings, "a page").verdict == verdict


def test_a_small_loss_is_judged_by_the_margin() -> None:
    within, beyond, across = (Interval(m, m - 0.005, m + 0.005, 14, 0.95) for m in (-0.01, -0.03, -0.02))
    assert small_loss("", within).supports
    assert not small_loss("", beyond).supports
    assert small_loss("", beyond).contradicts
    assert not small_loss("", across).supports
    assert not small_loss("", across).contradicts


def write_quality(results: Path) -> None:
    (results / "mini_sam" / "quality").mkdir(parents=True)
    iou = {"tight boxes": 0.8, "ellipses of tight boxes": 0.7, "random boxes": 0.6, "ellipses of random boxes": 0.5}
    rows = [{"image": i, "prompt": p, "mean_instance_iou": v} for i in "ab" for p, v in iou.items()]
    pd.DataFrame(rows).to_csv(results / "mini_sam" / "quality" / "rows.csv", index=False)


def test_differences_are_paired_on_the_seeds_that_both_have(write_run: WriteRun) -> None:
    write_run("allinsam", 1.0, 0, {"x": 0.80, "y": 0.70})
    write_run("allinsam", 1.0, 1, {"x": 0.10, "y": 0.10})  # no partner
    write_run("allinsam", 1.0, 0, {"x": 0.75, "y": 0.69}, label="weak")
    write_run("nnunet", 1.0, 0, {"x": 0.50, "y": 0.60}, label="weak")
    results = write_run("nnunet", 1.0, 0, {"x": 0.70, "y": 0.50})
    write_quality(results)
    found = claims_page.fragments(results)
    table = found.tables["claims"]
    assert "All-in-SAM − nnU-Net<br>100 % +0.150 [+0.100, +0.200] | **held** |" in table
    assert "weak − complete<br>100 % −0.030 [−0.050, −0.010] | **undecided** |" in table
    assert "All-in-SAM − nnU-Net<br>100 % +0.170 [+0.090, +0.250] | **held** |" in table
    assert "tight boxes +0.100 [+0.100, +0.100]<br>random boxes +0.100" in table
    assert found.numbers["claims:all"] == str(table.count("\n") - 2) == "11"
    assert found.numbers["claims:not_run"] == "7"  # few images, random weights, longer, three of Table 1, noise
    write_run("allinsam", 0.04, 0, {"x": 0.6, "y": 0.6}, profile="longer")
    write_run("unet", 0.04, 0, {"x": 0.7, "y": 0.8}, profile="longer")
    after = claims_page.fragments(results)
    assert "longer<br>U-Net, 4 % −0.150 [−0.200, −0.100] | **did not hold** |" in after.tables["claims"]
