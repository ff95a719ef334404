"""`allinsam export`: a run of the grid becomes a model file that finds the very same nuclei."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import allinsam_core
from allinsam_core.learning.losses import MapSettings
from allinsam_core.learning.method import WindowSettings
from study import methods, run
from study.allinsam import SamSettings
from study.config import RunConfig
from study.multiclass import ClassSettings
from study.simulation import simulate
from study.tools.cli import app
from study.tools.export_run import exported, unfit

SETTINGS: dict[str, Any] = {
    "method": "allinsam",
    "model": SamSettings(reduction=8),
    "window": WindowSettings(field=32, size=64),
}


def but(config: RunConfig, **fields: object) -> RunConfig:
    given = {name: getattr(config, name) for name in RunConfig.model_fields}
    return RunConfig.model_validate({**given, **SETTINGS, **fields}).filled()


def export(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["export", *map(str, arguments)])
    return done.exit_code, done.output


def test_the_file_finds_the_nuclei_of_the_run(tiny_config: RunConfig, tmp_path: Path) -> None:
    config = but(tiny_config, instance_maps=MapSettings(), tuning="val")
    work = tmp_path / "work"
    folder = run.execute(config, tmp_path / "results", work, device="cpu")
    code, said = export(folder, "--work", work, "--out", tmp_path / "mine.safetensors")
    assert code == 0, said
    model = allinsam_core.load(tmp_path / "mine.safetensors")
    assert model.about.record["run_id"] == config.run_id
    assert (model.about.spacing, model.about.instance_maps, model.about.joint) == (0.25, True, False)
    chosen = json.loads((folder / "run.json").read_text())["instances_chosen"]
    assert model.about.parting.model_dump(mode="json") == chosen
    described = CliRunner().invoke(app, ["describe", str(tmp_path / "mine.safetensors")])
    assert (described.exit_code, "trained all" in described.output) == (0, True)
    case = simulate.tile(9, 64)
    method = methods.build(config, "cpu")
    from allinsam_core.learning.checkpoint import load

    load(method.model, work / config.place / "trained.safetensors", config.base_weights)  # type: ignore[attr-defined]
    _, nuclei = method.segment(case, model.about.parting)
    assert nuclei.any()
    assert np.array_equal(allinsam_core.segment(case.image, model, spacing=0.25).instances, nuclei)


def test_several_classes_are_one_network(
    tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = but(tiny_config, classes=ClassSettings(names=("round", "long")))
    record = {"config": config.model_dump(mode="json"), "run_id": config.run_id, "config_hash": config.hash}
    record |= {"commit": "c", "sha256": "s", "training": {}, "fit_seconds": 1.0}
    method = methods.build(config, "cpu")
    method.save(tmp_path / "work" / config.place / "trained.safetensors", config.base_weights, {})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    monkeypatch.setattr("study.finished.read", lambda _: type("Run", (), {"record": record}))
    model = exported(tmp_path / "run", tmp_path / "work")
    assert (model.about.classes, model.about.joint, len(model.networks)) == (("round", "long"), True, 1)
    image = simulate.tile(9, 64).image
    model = replace(model, bfloat16=False)  # as the run was predicted
    ours = model.maps(image, 0.25)[:, 0]
    assert np.allclose(ours, method.predict_maps(image), atol=1e-5)  # type: ignore[attr-defined]


def test_runs_that_a_file_cannot_hold_are_refused(tiny_config: RunConfig, tmp_path: Path) -> None:
    plain = but(tiny_config)
    assert unfit(plain) == ""
    wrong = {
        "no SAM": tiny_config,
        "trained nothing": but(tiny_config, fraction=0.0),
        "reduction is 4": but(tiny_config, model=SamSettings(reduction=4)),
        "trainable is 'everything'": but(tiny_config, model=SamSettings(reduction=8, trainable="everything")),
        "share a softmax": but(tiny_config, classes=ClassSettings(names=("a", "b"), head="softmax")),
        "claim by pixel": but(tiny_config, classes=ClassSettings(names=("a", "b"), claim="pixel")),
    }
    for why, config in wrong.items():
        assert why in unfit(config)
    code, said = export(tmp_path, "--out", tmp_path / "m.safetensors")
    assert code == 2
    assert "no finished run (run.json), expected a folder results/PROFILE/RUN" in said.replace("\n", " ")
    folder = run.execute(tiny_config, tmp_path / "results", tmp_path / "work", device="cpu")
    code, said = export(folder, "--work", tmp_path / "work", "--out", tmp_path / "m.safetensors")
    assert (code, "stands on no SAM" in said) == (2, True)
    folder = run.execute(plain, tmp_path / "results", tmp_path / "work", device="cpu")
    code, said = export(folder, "--work", tmp_path / "elsewhere", "--out", tmp_path / "m.safetensors")
    assert (code, "name their folder by --work" in said) == (2, True)
    assert not (tmp_path / "m.safetensors").exists()
