"""What held and what did not, from results written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from study.claims import Claim, claims, lead, small_loss
from study.stats import Interval

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


def findings(results: Path, begins: str) -> tuple[str, list[tuple[str, float, float, float]]]:
    """Verdict and findings, each as name, mean, low and high, of the claim whose words begin so."""
    (claim,) = (claim for claim in claims(results) if claim.says.startswith(begins))
    found = [
        (f.name, *(round(value, 3) for value in (f.interval.mean, f.interval.low, f.interval.high)))
        for f in claim.findings
    ]
    return claim.verdict, found


def test_differences_are_paired_on_the_seeds_that_both_have(write_run: WriteRun) -> None:
    write_run("allinsam", 1.0, 0, {"x": 0.80, "y": 0.70})
    write_run("allinsam", 1.0, 1, {"x": 0.10, "y": 0.10})  # no partner
    write_run("allinsam", 1.0, 0, {"x": 0.75, "y": 0.69}, label="weak")
    write_run("nnunet", 1.0, 0, {"x": 0.50, "y": 0.60}, label="weak")
    results = write_run("nnunet", 1.0, 0, {"x": 0.70, "y": 0.50})
    write_quality(results)
    assert findings(results, "With all images") == ("held", [("100 %", 0.15, 0.1, 0.2)])
    assert findings(results, "Weak labels cost") == ("undecided", [("100 %", -0.03, -0.05, -0.01)])
    assert findings(results, "With weak labels") == ("held", [("100 %", 0.17, 0.09, 0.25)])
    boxes = [("tight boxes", 0.1, 0.1, 0.1), ("random boxes", 0.1, 0.1, 0.1)]
    assert findings(results, "SAM's masks") == ("held", boxes)
    verdicts = [claim.verdict for claim in claims(results)]
    assert len(verdicts) == 11
    assert verdicts.count("not run") == 7  # few images, random weights, longer, three of Table 1, noise
    write_run("allinsam", 0.04, 0, {"x": 0.6, "y": 0.6}, profile="longer")
    write_run("unet", 0.04, 0, {"x": 0.7, "y": 0.8}, profile="longer")
    longer = ("did not hold", [("U-Net, 4 %", -0.15, -0.2, -0.1)])
    assert findings(results, "With four times the training") == longer


def test_a_duplicated_run_is_an_error_and_not_a_claim_that_was_not_run(write_run: WriteRun) -> None:
    write_run("allinsam", 1.0, 0, {"x": 0.8})
    results = write_run("allinsam", 1.0, 0, {"x": 0.8}, version="older")
    write_quality(results)
    with pytest.raises(ValueError, match="runs of the same cell and seed"):
        claims(results)
