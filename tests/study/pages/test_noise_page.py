"""The page on label noise: means, paired differences and verdicts by hand; which records it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from allinsam_core.refinement.mocl import VARIANTS
from study import records
from study.pages import noise_page
from study.pages.fragments import PALETTES

Write = Callable[..., Path]
PLAIN = (0.5, 0.6, 0.7)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a noise run under tmp_path/results: one image a patient, its Dice as given."""

    def write(
        variant: str, dice: Sequence[float], rate: float = 0.4, seed: int = 0, profile: str = "mini",
        source: str = "monuseg_20x", version: int = 0, test: str = "same",
    ) -> Path:  # fmt: skip
        rows = [{"image": f"i{n}", "patient": f"p{n}", "dice": value} for n, value in enumerate(dice)]
        config = {"profile": profile, "method": variant, "seed": seed, "version": version}
        config |= {"data": {"source": source}, "noise": {"rate": rate}}
        record = {
            "run_id": records.run_id(config),
            "config_hash": records.hash_of(config),
            "config": config,
            "simulated": False,
            "data": {"test": {"images": len(rows), "sha256": test}},
            "fit_seconds": 10.0,
            "label_dice": 1 - rate,
        }
        folder = tmp_path / "results" / profile / "noise" / records.run_id(config)
        records.save(record, folder, rows=pd.DataFrame(rows))
        return tmp_path / "results"

    return write


def test_differences_are_paired_by_image_and_seed(write: Write) -> None:
    write("none", PLAIN, seed=0)
    write("none", [x - 0.3 for x in PLAIN], seed=1)
    write("ours", [x + 0.1 for x in PLAIN], seed=0)
    results = write("ours", [x - 0.2 for x in PLAIN], seed=1)
    scores = noise_page.collect(results, "mini")
    (gap,) = noise_page.differences(scores)
    assert (gap.variant, gap.rate, gap.seeds) == ("ours", 0.4, 2)
    assert gap.interval.mean == pytest.approx(0.1)
    assert (gap.interval.low, gap.interval.high) == (pytest.approx(0.1), pytest.approx(0.1))  # unpaired: far wider
    assert gap.verdict == "better"
    none, ours = noise_page.points(scores)
    assert none.interval.mean == pytest.approx(0.45)
    assert ours.interval.mean == pytest.approx(0.55)
    assert none.interval.n == 3  # patients


def test_verdicts_by_hand(write: Write) -> None:
    write("none", PLAIN)
    write("paper_eq5", [0.4, 0.5, 0.6])
    write("molecular_el", [0.4, 0.6, 0.8])
    results = write("ours", [0.6, 0.7, 0.8])
    verdicts = {g.variant: g.verdict for g in noise_page.differences(noise_page.collect(results, "mini"))}
    assert verdicts == {"paper_eq5": "worse", "molecular_el": "no difference shown", "ours": "better"}
    text = noise_page.fragments(results).tables["noise_verdict"]
    assert "MOCL helps in some of the cells" in text
    assert "1 of 3 comparisons with plain training are better, 1 worse" in text
    assert "- `paper_eq5`: MoNuSeg at 20×, 40 %: −0.100 [−0.100, −0.100], worse." in text


def test_it_says_so_when_mocl_does_not_help(write: Write) -> None:
    write("none", PLAIN)
    write("ours", [x - 0.1 for x in PLAIN])
    write("none", PLAIN, rate=0.0)
    text = noise_page.fragments(write("ours", [x + 0.1 for x in PLAIN], rate=0.0)).tables["noise_verdict"]
    assert "**MOCL does not help here**" in text  # what it does on clean labels is no help against noise
    assert "0 of 1 comparisons" in text


def test_smoke_runs_alone_conclude_nothing_and_say_so(write: Write) -> None:
    write("none", PLAIN, profile="smoke", source="simulated")
    smoke = noise_page.fragments(write("ours", [0.9, 0.9, 0.9], profile="smoke", source="simulated"))
    assert smoke.numbers["noise:profile"] == "smoke"
    assert "Only the `smoke` runs are here" in smoke.tables["noise_status"]
    assert "cannot tell" in smoke.tables["noise_verdict"]
    assert "better" not in smoke.tables["noise_differences"]
    write("none", PLAIN)
    both = noise_page.fragments(write("ours", PLAIN))
    assert both.numbers["noise:profile"] == "mini"
    assert both.tables["noise_status"] == ""
    assert both.numbers["noise:runs"] == "2"
    assert "| MoNuSeg at 20× | 0.4 | 0.60 | `ours` | **0.600** [0.5" in both.tables["noise_cells"]


def test_what_cannot_be_collected(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run; `allinsam noise --profile mini`"):
        noise_page.collect(tmp_path, "mini")
    write("none", PLAIN)
    results = write("none", PLAIN, version=1)
    with pytest.raises(ValueError, match="same cell and seed"):
        noise_page.collect(results, "mini")
    write("none", PLAIN, profile="smoke")
    results = write("ours", PLAIN, profile="smoke", test="other")
    with pytest.raises(ValueError, match="different test images"):
        noise_page.collect(results, "smoke")


@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_the_curve_shows_every_mean(write: Write, palette) -> None:
    for rate, lower in ((0.0, 0.0), (0.4, 0.2)):
        write("none", [x - lower for x in PLAIN], rate=rate)
        results = write("none", PLAIN, rate=rate, source="glomerulus")
        write("ours", PLAIN, rate=rate)
    figure = noise_page.curve(noise_page.points(noise_page.collect(results, "mini")), palette)
    left, right = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["MoNuSeg at 20×", "Simulated cohort, podocytes"]
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in left.get_lines()}
    assert drawn["none"] == ([0.0, 0.4], [pytest.approx(0.6), pytest.approx(0.4)])
    assert drawn["ours"] == ([0.0, 0.4], [pytest.approx(0.6), pytest.approx(0.6)])
    assert len(right.get_lines()) == 1
    assert left.get_ylabel()
    assert left.get_xlabel()


def test_every_loss_has_a_mark_and_two_colours() -> None:
    for table in (noise_page.MARKERS, *noise_page.COLOURS.values()):
        assert table.keys() == VARIANTS.keys()
        assert len(set(table.values())) == len(table)
