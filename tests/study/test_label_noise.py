"""The page on label noise: means, paired differences and verdicts by hand; which records it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from allinsam_core.refinement.mocl import VARIANTS
from study import label_noise, records

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
    scores = label_noise.collect(results, "mini")
    (gap,) = label_noise.differences(scores)
    assert (gap.variant, gap.rate, gap.seeds) == ("ours", 0.4, 2)
    assert gap.interval.mean == pytest.approx(0.1)
    assert (gap.interval.low, gap.interval.high) == (pytest.approx(0.1), pytest.approx(0.1))  # unpaired: far wider
    assert gap.verdict == "better"
    none, ours = label_noise.points(scores)
    assert none.interval.mean == pytest.approx(0.45)
    assert ours.interval.mean == pytest.approx(0.55)
    assert none.interval.n == 3  # patients


def test_verdicts_by_hand(write: Write) -> None:
    write("none", PLAIN)
    write("paper_eq5", [0.4, 0.5, 0.6])
    write("molecular_el", [0.4, 0.6, 0.8])
    results = write("ours", [0.6, 0.7, 0.8])
    verdicts = {g.variant: g.verdict for g in label_noise.differences(label_noise.collect(results, "mini"))}
    assert verdicts == {"paper_eq5": "worse", "molecular_el": "no difference shown", "ours": "better"}


def test_what_the_comparisons_say_together(write: Write) -> None:
    def said(results: Path) -> str:
        return label_noise.verdict(label_noise.differences(label_noise.collect(results, "mini")))

    write("none", PLAIN)
    write("none", PLAIN, rate=0.0)
    write("ours", [x + 0.1 for x in PLAIN], rate=0.0)  # on clean labels: no help against errors
    text = said(write("paper_eq5", [x - 0.1 for x in PLAIN]))
    assert "MOCL does not help here" in text
    assert "0 of 1 comparisons with plain training are better, 1 worse" in text
    assert "in some of the cells" in said(write("ours", [x + 0.1 for x in PLAIN]))
    write("none", PLAIN, rate=0.8)
    (results := write("ours", [x + 0.1 for x in PLAIN], rate=0.8))
    for path in (results / "mini" / "noise").glob("*paper_eq5*/run.json"):
        path.unlink()
    assert "in every cell" in said(results)


def test_what_cannot_be_collected(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run; `allinsam noise --profile mini`"):
        label_noise.collect(tmp_path, "mini")
    write("none", PLAIN)
    results = write("none", PLAIN, version=1)
    with pytest.raises(ValueError, match="same cell and seed"):
        label_noise.collect(results, "mini")
    write("none", PLAIN, profile="smoke")
    results = write("ours", PLAIN, profile="smoke", test="other")
    with pytest.raises(ValueError, match="different test images"):
        label_noise.collect(results, "smoke")


def test_every_loss_is_known() -> None:
    assert set(label_noise.VARIANTS) == VARIANTS.keys()
