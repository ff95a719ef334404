"""What was tried, what it gave on the validation images, and which of it the mini profile has."""

from pathlib import Path

import pandas as pd

from study import config, records
from study.pages import choice_page


def write(results: Path, name: str, dice: float) -> None:
    tried = config.profile("choice").run(name, "complete", 0.0 if name == "zeroshot" else 1.0, 0)
    record = {
        "run_id": tried.run_id,
        "config_hash": tried.hash,
        "config": tried.model_dump(mode="json"),
        "simulated": False,
        "data": {"val": {"images": 2, "sha256": "same"}},
        "fit_seconds": 61.4,
    }
    rows = pd.DataFrame({"image": ["x", "y"], "dice": [dice, dice + 0.1]})
    records.save(record, results / "choice" / tried.run_id, rows=rows)


def test_trials_by_method_with_the_one_that_was_taken_first(tmp_path: Path) -> None:
    for name, dice in (("unet-1e-3", 0.5), ("allinsam-3e-4-zero", 0.6), ("allinsam-1e-3", 0.5), ("zeroshot", 0.4)):
        write(tmp_path, name, dice)
    found = choice_page.fragments(tmp_path)
    lines = found.tables["choice"].splitlines()[5:9]
    assert lines == [
        "| All-in-SAM (mini-SAM) | 0.001 | 150 → 256 | 0.550 | 61 | ✓ |",
        "| All-in-SAM (mini-SAM), zero start | 0.0003 | 150 → 256 | 0.650 | 61 |  |",
        "| U-Net | 0.001 | 256 → 256 | 0.550 | 61 |  |",
        "| mini-SAM, no MoNuSeg training | – | 150 → 256 | 0.450 | 61 | ✓ |",
    ]
    assert found.numbers["choice:allinsam-1e-3"] == "0.550"
    assert found.numbers["choice:missed"] == "0.000"  # of the U-Net's own rate there is no trial


def test_what_another_rate_would_have_gained(tmp_path: Path) -> None:
    trials = {"unet-1e-3": 0.55, "unet-1e-2": 0.5, "allinsam-1e-3": 0.6, "allinsam-3e-4": 0.61, "allinsam-wider": 0.9}
    for name, dice in trials.items():
        write(tmp_path, name, dice)
    assert choice_page.fragments(tmp_path).numbers["choice:missed"] == "0.050"  # the U-Net's; another window is no rate


def test_without_trials_the_page_says_how_to_make_them(tmp_path: Path) -> None:
    assert "make study PROFILE=choice" in choice_page.fragments(tmp_path).tables["choice"]


def test_every_trial_is_of_a_method_of_mini() -> None:
    methods = config.profile("mini").methods
    for trial in config.profile("choice").methods:
        assert trial.partition("-")[0] in methods
