"""What the doctor finds, on machines that are made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from study.tools import cli, doctor


def test_cores_are_those_of_slurm_and_the_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert doctor.cores() == 16
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    assert doctor.cores() == 4
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert doctor.cores() == 16
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    assert doctor.cores() == 2


def test_memory_is_the_least_of_all_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    whole = doctor.memory()
    assert whole > 2**28
    (tmp_path / "memory.max").write_text(f"{2**27}\n")
    assert doctor.memory() == 2**27
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "64")
    assert doctor.memory() == 2**26


def test_what_a_profile_lacks_comes_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ALLINSAM_DATA", "ALLINSAM_CACHE", "HF_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    (tmp_path / "ALLINSAM_DATA").mkdir()
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    said = CliRunner().invoke(cli.app, ["doctor", "--profile", "paper-b"])
    assert said.exit_code == 1
    for command in (
        "allinsam data fetch sam-vit-b",
        "allinsam data fetch monuseg --accept-licence",
        "make environment PROFILE=paper-b",
    ):
        assert command in said.stdout
    assert "sam-vit-h:" not in said.stdout  # another profile's
    assert CliRunner().invoke(cli.app, ["doctor", "--profile", "smoke"]).exit_code == 0


def test_a_damaged_checkpoint_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLINSAM_CACHE", str(tmp_path))
    assert doctor.checkpoint("sam-vit-b") == "not here"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "sam_vit_b_01ec64.pth").write_bytes(b"half")
    assert doctor.checkpoint("sam-vit-b").startswith("DAMAGED: ")


def test_a_damaged_profile_is_no_missing_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("a:\n\t- b")
    done = CliRunner().invoke(cli.app, ["doctor", "--profile", str(tmp_path / "own.yaml")])
    assert done.exit_code == 2
    assert "own.yaml, line 2: not valid YAML" in done.output
    assert "checkpoint: " not in done.output
