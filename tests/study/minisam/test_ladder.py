"""The ladder's records: a line per rung."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from allinsam_core.annotation import sam as sams
from study.minisam import ladder
from study.simulation import simulate


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch, tiny_sam: sams.Sam) -> None:
    """Simulated images in MoNuSeg's place, a tiny SAM in mini-SAM's."""
    monkeypatch.setattr(ladder.monuseg, "load", lambda root, split: [simulate.tile(len(split), size=96)])
    monkeypatch.setattr(ladder, "data_root", lambda: Path())
    monkeypatch.setattr(ladder, "SIDE", 64)
    monkeypatch.setattr(ladder.sams, "build", lambda name, path=None: tiny_sam)
    monkeypatch.setattr(ladder, "PromptableSam", lambda sam: pytest.fail("mini has no maps without a prompt"))


@pytest.mark.usefixtures("images")
def test_every_rung_leaves_its_record_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "annotate_case", lambda case, sam, settings: _whole(case))
    torch.manual_seed(0)
    ladder.climb(ladder.Rung(name="a", geometry="mini", steps=2, batch_size=1), tmp_path, tmp_path / "runs")
    record = ladder.climb(ladder.Rung(name="b", geometry="mini", steps=0), tmp_path, tmp_path / "runs")
    assert [b["threshold"] for b in record["boxes"]] == list(ladder.THRESHOLDS)
    table = pd.read_csv(tmp_path / "mini_sam" / "ladder" / "rows.csv").set_index("name")
    assert list(table.index) == ["a", "b"]
    assert 0 <= table.loc["a", "adapted_dice"] <= 1
    assert table.loc["b", "boxes_mean_instance_iou"] == pytest.approx(1)
    assert pd.isna(table.loc["b", "adapted_dice"])


def _whole(case: object) -> object:
    """What perfect masks would be."""
    return type("Weak", (), {"case": case})()
