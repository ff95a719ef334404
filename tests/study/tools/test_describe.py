"""`allinsam describe`: parameter counts, and what a model file says."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from torch import nn
from typer.testing import CliRunner

from allinsam_core.annotation import sam as sams
from allinsam_core.model import Description, Model, network, save
from study.tools.describe import describe

app = typer.Typer()
app.command()(describe)


def test_parameters_are_exact_integers() -> None:
    counts = json.loads(CliRunner().invoke(app, ["vit_b", "--json"]).output)
    assert counts["total"] > counts["trainable"] > counts["decoder"] > counts["adapter"] > 0
    assert json.loads(CliRunner().invoke(app, ["mini", "--json", "--placement", "none"]).output)["adapter"] == 0


def test_a_model_file_is_described(tiny_sam: sams.Sam, tmp_path: Path) -> None:
    record = {
        "data": {"train": ["a", "b"], "val": ["c"]},
        "training": {"tumour": {"best": 50, "seconds": 12.3}},
        "scores": [{"method": "trained", "split": "val", "dice": 0.8, "aji_kumar": 0.5}],
        "commit": "abc",
    }
    about = Description(
        base="mini", base_sha256="f" * 64, classes=("tumour",), thresholds=(0.4,), record=record, licence="CC0"
    )
    save(Model(about, nn.ModuleList([network(tiny_sam)])), tmp_path / "m.safetensors")
    told = CliRunner().invoke(app, [str(tmp_path / "m.safetensors")]).output
    for said in (
        "mini (ffffffffffff)",
        "tumour from probability 0.40",
        "0.25 µm/px",
        "2 images: a, b",
        "step 50, 12 s",
        "Dice 0.800, AJI 0.500 on 1 val images",
        "CC0",
    ):
        assert said in told
    full = json.loads(CliRunner().invoke(app, [str(tmp_path / "m.safetensors"), "--json"]).output)
    assert full == about.model_dump(mode="json")


def test_anything_else_is_refused() -> None:
    result = CliRunner().invoke(app, ["vit_x"])
    assert result.exit_code == 2
    assert "vit_x: no such model file; expected one of mini, mini2, vit_b" in result.output
