"""The page of the published setting, and its rehearsal: the same commands; what a rehearsal writes says what it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from allinsam_core.annotation import sam
from study import grid, report
from study.datasets import manifest, monuseg
from study.rehearsal import __main__ as rehearsal
from study.rehearsal import memory, standins

ROOT = Path(__file__).parents[2]


def test_every_command_of_the_page_is_rehearsed() -> None:
    """All fenced lines of the page that a shell would take are what the rehearsal runs, in order."""
    text = rehearsal.PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert {kind for kind, _ in blocks} == {"bash"}  # nothing to type that is not run
    typed = [line for _, block in blocks for line in block.splitlines()]
    assert rehearsal.commands() == typed
    assert typed[0] == "make environment PROFILE=paper"
    assert typed[-1] == "make tables PROFILE=paper"
    steps = re.findall(r"^\*\*(\d+)\. ", text, flags=re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]


def test_a_rehearsed_command_differs_by_the_profile_alone() -> None:
    assert rehearsal.rehearsed("make study PROFILE=paper") == "make study PROFILE=rehearsal"
    assert rehearsal.rehearsed("allinsam data fetch sam-vit-h") == "allinsam data fetch sam-vit-h"
    named = [name for line in rehearsal.commands() for name in re.findall(r"(?:make|allinsam|hf) ([\w-]+)", line)]
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    from study.tools.cli import ELSEWHERE

    assert all(name in (*targets, *ELSEWHERE, "download") for name in named)


def test_the_rehearsal_has_every_method_of_paper() -> None:
    for place in ("", "molecular/"):
        paper, own = grid.profile(f"{place}paper"), grid.profile(f"{place}rehearsal")
        assert paper.methods.keys() <= own.methods.keys()
        assert "NUMBERS MEAN NOTHING" in own.about
    labels = {run.label for run in grid.profile("rehearsal").grid()}
    assert labels == {"complete", "weak"}


def test_the_table_has_a_line_for_each_command_and_each_memory(tmp_path: Path) -> None:
    took = {"seconds": 12.4, "processor_seconds": 20.6, "peak_gib": 1.234, "log": "/somewhere/01.log"}
    steps = [{"command": "allinsam doctor", "status": 0, **took}, {"command": "make tables", "status": 2, **took}]
    checks = [memory.Checked("allinsam-b", planned=2**30, measured=2**31)]
    rehearsal.write(steps, checks, tmp_path / "new" / "rehearsal.csv")
    assert (tmp_path / "new" / "rehearsal.csv").read_text().splitlines() == [
        "command,status,seconds,processor_seconds,peak_gib,planned_gib",
        "allinsam doctor,0,12.0,21.0,1.23,",
        "make tables,2,12.0,21.0,1.23,",
        "a training step of allinsam-b,1,,,2.0,1.0",  # planned half of what it took: beyond what is allowed
    ]


def test_no_rehearsed_record_is_committed() -> None:
    assert not (ROOT / "results" / "rehearsal").exists()


def test_commands_run_in_order_until_one_fails(tmp_path: Path) -> None:
    lines = ["echo $WORK > here", "exit 3", "echo never"]
    environ = rehearsal.environment(tmp_path, "http://nowhere")
    environ["PWD"] = str(tmp_path)
    steps = list(rehearsal.perform([f"cd {tmp_path} && {line}" for line in lines], environ, tmp_path / "logs"))
    assert [step["status"] for step in steps] == [0, 3]
    assert (tmp_path / "here").read_text().strip() == str(tmp_path / "work")
    assert Path(environ["RESULTS"]).is_relative_to(tmp_path)  # never under results/


def test_stand_ins_have_the_form_of_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standins, "IMAGES", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr(standins, "SIDE", 128)
    monkeypatch.setattr(standins, "DEPTHS", {"vit_b": 1})
    monkeypatch.setattr(standins, "bert", lambda cache: None)
    path = standins.make(tmp_path / "mirror", tmp_path, ["vit_b"])
    monkeypatch.setenv(manifest.VARIABLE, str(path))
    checkpoint = tmp_path / "mirror" / "sam_vit_b_01ec64.pth"
    assert checkpoint.read_bytes()[:2] == b"\x80\x02"  # a pickle, not torch.save's archive of today
    assert torch.load(checkpoint, weights_only=True).keys() == sam.build("vit_b", depth=1).state_dict().keys()
    with pytest.raises(ValueError, match="these are not the weights"):
        sam.build("vit_b", checkpoint)  # cut: a declared depth must come with it
    for name in ("MoNuSeg 2018 Training Data", "MoNuSegTestData"):
        inside = tmp_path / "data" / "monuseg" / name
        inside.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["python3", "-m", "zipfile", "-e", tmp_path / "mirror" / f"{name}.zip", inside.parent], check=True
        )
    for split in ("train", "val", "test"):
        (case,) = monuseg.load(tmp_path / "data", split, "strict")
        assert case.image.shape == (128, 128, 3)
        assert case.instances.max() > 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its own peak")
def test_planned_memory_is_what_a_step_of_training_takes() -> None:
    """The rehearsal's own check, on mini-SAM."""
    (checked,) = memory.check("smoke", ["allinsam"])
    assert checked.fits, str(checked)
    assert checked.measured > 2**26


def test_a_plan_that_is_far_from_the_memory_taken_does_not_fit() -> None:
    assert memory.Checked("unet", 2**30, 2**30).fits
    assert not memory.Checked("unet", 2**29, 2**30).fits
    assert str(memory.Checked("unet", 2**29, 2**30)).endswith("planned 0.50 GiB, measured 1.00 GiB, ratio 0.50")


def test_a_method_that_trains_no_network_takes_no_step() -> None:
    with pytest.raises(ValueError, match="'otsu' trains no network"):
        memory.of("smoke", "otsu")


def test_memory_of_a_command_is_that_of_all_it_starts() -> None:
    own = rehearsal.held(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "import time; kept = b'x' * 2**26; time.sleep(30)"])
    try:
        for _ in range(300):
            if (found := rehearsal.held(os.getpid())) > own + 2**26:
                break
            time.sleep(0.1)
        assert found > own + 2**26
    finally:
        child.kill()
        child.wait()


def test_tables_of_a_rehearsal_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(report, "glue", lambda key, what, **_: shown.append(what.markup))
    environment = {"device_name": "cpu", "threads": 1}
    for profile in ("rehearsal", "paper"):
        record = {"config": {"profile": profile}, "fit_seconds": 1, "predict_seconds": 1, "environment": environment}
        report.table("t", pd.DataFrame({"a": [1]}), again=report.reproduce("make study", [record]))
    assert [report.REHEARSAL in each for each in shown] == [True, False]
