"""What `allinsam quality` measures: SAM beside the ellipses of the same boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from allinsam_core.annotation import sam as sams
from allinsam_core.data.case import Case
from study import records
from study.minisam import quality as mini_sam


@pytest.fixture
def disc() -> Case:
    """A round nucleus of radius 15 in 60 × 60 px, and a rectangle."""
    rows, columns = np.ogrid[0.5:60, 0.5:60]
    instances = (2 * ((rows - 20) ** 2 + (columns - 20) ** 2 < 225)).astype(np.uint16)
    instances[45:55, 30:50] = 7
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    return Case("one", image, instances, 0.25, "monuseg", split="val", organ="liver")


def test_ellipses_are_measured_like_sam(disc: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sam = sams._build_mini(sams.MiniGeometry(embed_dim=48, depth=2, num_heads=2, global_attn_indexes=(1,)))
    probability = np.zeros((60, 60), np.float32), np.zeros((60, 60), np.int32)
    monkeypatch.setattr(mini_sam, "nuclei", lambda image, spacing, model: probability)
    found = mini_sam.measure(disc, sam, "x")
    assert [row["prompt"] for row in found.rows] == [
        "tight boxes",
        "ellipses of tight boxes",
        "random boxes",
        "ellipses of random boxes",
        "none",
    ]
    ellipses = found.nuclei[found.nuclei["prompt"] == "ellipses of tight boxes"].set_index("label")
    assert ellipses.loc[2, "instance_iou"] == pytest.approx(1)
    assert ellipses.loc[7, "instance_iou"] == pytest.approx(np.pi / 4, abs=0.03)
    assert ellipses.loc[7, "excess"] == 0
    assert found.rows[-1]["dice"] == 0


def test_lower_thresholds_make_larger_masks(disc: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sam = sams._build_mini(sams.MiniGeometry(embed_dim=48, depth=2, num_heads=2, global_attn_indexes=(1,)))
    monkeypatch.setattr(mini_sam.sams, "load_mini", lambda name="mini": sam)
    read: list[str] = []
    monkeypatch.setattr(mini_sam.monuseg, "load", lambda root, split: read.append(split) or [disc])
    monkeypatch.setenv("ALLINSAM_DATA", str(tmp_path))
    folder = mini_sam.mask_thresholds(tmp_path, side=50)
    assert read == ["val"]
    rows = pd.read_csv(folder / "rows.csv").set_index(["boxes", "threshold"])
    assert len(rows) == len(mini_sam.LAWS) * len(mini_sam.THRESHOLDS)
    ratios = rows.loc["tight", "median_area_ratio"].sort_index()
    assert ratios.is_monotonic_decreasing
    assert ratios.iloc[0] > ratios.iloc[-1]
    record = records.read(folder / "run.json")
    assert record["config"]["weights"] == sams.weights_checksum(sam)
    assert record["data"]["val"]["images"] == 1


def test_the_worst_come_first_and_specks_do_not_count() -> None:
    table = pd.DataFrame(
        {
            "prompt": ["tight boxes"] * 3 + ["random boxes"],
            "image": "a",
            "label": [1, 2, 3, 4],
            "truth_area": [50, 200, 300, 400],
            "instance_iou": [0.0, 0.9, 0.1, 0.0],
        }
    )
    assert mini_sam.worst(table, 1)["label"].tolist() == [3]
    assert mini_sam.worst(table)["label"].tolist() == [3, 2]


def test_test_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="test images are left to the grid"):
        mini_sam.execute(tmp_path, ("test",))  # type: ignore[arg-type]


def test_quality_is_measured_on_training_and_validation_images_alone(
    disc: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    sam = sams._build_mini(sams.MiniGeometry(embed_dim=48, depth=2, num_heads=2, global_attn_indexes=(1,)))
    read: list[str] = []
    monkeypatch.setattr(mini_sam.sams, "load_mini", lambda name="mini": sam)
    nothing = np.zeros((60, 60)), np.zeros((60, 60), np.int32)
    monkeypatch.setattr(mini_sam, "nuclei", lambda image, spacing, model: nothing)
    monkeypatch.setattr(
        mini_sam.monuseg, "load", lambda root, split: read.append(split) or [replace(disc, name=split, split=split)]
    )
    monkeypatch.setenv("ALLINSAM_DATA", str(tmp_path))
    rows = pd.read_csv(mini_sam.execute(tmp_path) / "rows.csv")
    assert read == ["train", "val"] == rows["image"].unique().tolist()
