"""The rehearsal in short, in this process: stand-ins, a mirror, the downloads, runs of SAM and rivals, Tables 2 and 3.

What `make rehearse` does with commands and every method is done here with the calls behind them, on one block of ViT-B
and images of 128 px.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from study import grid, report, run
from study.datasets import manifest
from study.rehearsal import __main__ as rehearsal
from study.rehearsal import standins
from study.tools import doctor
from study.tools.cli import app

RunPage = Callable[..., Any]
VIT_B = {"name": "vit_b", "weights": "sam-vit-b", "depth": 1}
CALLED = "stand-in for SAM ViT-B"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The rehearsal's folder with the smallest stand-ins, and its environment."""
    small = {"IMAGES": {"train": 1, "val": 1, "test": 2}, "SIDE": 128, "NUCLEI": 8, "DEPTHS": {"vit_b": 1}}
    for name, value in small.items():
        monkeypatch.setattr(standins, name, value)
    monkeypatch.setattr(standins, "bert", lambda cache: None)
    standins.make(tmp_path / "mirror", tmp_path, ["vit_b"])
    with rehearsal.served(tmp_path / "mirror") as address:
        for name, value in rehearsal.environment(tmp_path, address).items():
            monkeypatch.setenv(name, value)
        yield tmp_path


def short() -> grid.Profile:
    """Profile `rehearsal` with one block of ViT-B for ViT-H, one step, and the methods that differ most."""
    own = {
        "axes": {"label": {"weak": {"annotator": VIT_B}}},
        "common": {"train": {"steps": 1}},
        "methods": {
            "allinsam": {"model": VIT_B, "axes": {"label": ["weak"], "fraction": [1.0]}},
            "unet": {"axes": {"label": ["complete"], "fraction": [1.0]}},
            "zeroshot": {"model": VIT_B},
        },
    }
    content = grid.merged(grid.profile("rehearsal").model_dump(), own)
    content["methods"] = {name: content["methods"][name] for name in ("allinsam", "unet", "zeroshot", "otsu")}
    return grid.Profile.model_validate(content)


def test_from_the_mirror_to_the_tables(home: Path, run_page: RunPage) -> None:
    for line in ("fetch sam-vit-b", "fetch monuseg --accept-licence", "check monuseg"):
        done = CliRunner().invoke(app, ["data", *line.split()])
        assert done.exit_code == 0, done.output
    checkpoint = manifest.load().artefacts["sam-vit-b"].path()
    assert checkpoint == home / "cache" / "checkpoints" / "sam_vit_b_01ec64.pth"
    lacking = {lack.command for lack in doctor.lacks("rehearsal")}
    assert {f"allinsam data fetch sam-vit-{size}" for size in "lh"} <= lacking  # the mirror does not hold them
    assert not {"allinsam data fetch sam-vit-b", doctor.MONUSEG} & lacking

    results = home / "results"
    folders = run.execute_grid(short(), results, home / "work", device="cpu")
    assert len(folders) == 4
    troubles = rehearsal.trouble(home)
    assert f"4 finished runs of profile rehearsal, expected {len(grid.profile('rehearsal').points())}" in troubles[0]
    assert len(troubles) == 2 + len(rehearsal.TABLES)  # Table 1's runs and every table are missing as well

    for name in ("table2", "table3"):
        page = run_page(name, profile="rehearsal", results=str(results))
        assert page.text("profile") == "rehearsal"
        complete, weak = page.rows("complete")[1:], page.rows("weak")[1:]
        called = {row[0] for row in complete + weak}
        assert {f"All-in-SAM ({CALLED})", f"{CALLED}, no MoNuSeg training", "U-Net", "nnU-Net v2"} <= called
        assert not any("mini-SAM" in each or "Meta" in each for each in called)
        (absent, there) = (
            next(row for row in rows if row[:2] == [f"All-in-SAM ({CALLED})", "100 %"]) for rows in (complete, weak)
        )
        assert [row[2].startswith("not run") for row in (absent, there)] == [True, False]
        assert report.REHEARSAL in page["complete"].markup
        assert page.text("otsu_dice").startswith("0.")
        assert name == "table3" or page.text("annotator") == CALLED
