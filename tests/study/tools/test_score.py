"""`score` on files and folders, through the command as a user calls it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from PIL import Image
from typer.testing import CliRunner

from allinsam_core.metrics import instance, pixel
from study.tools.score import command, score

FIELDS = [f.name for scores in (pixel.PixelScores, instance.InstanceScores) for f in fields(scores)]
TRUTH = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]], dtype=np.uint16)  # two squares apart
PRED = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 3]], dtype=np.uint16)

app = typer.Typer()
app.command("score")(command)


@app.callback()
def main() -> None:
    """Makes `score` a subcommand, as it is in the program."""


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["score", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def as_json(*arguments: object) -> dict:
    code, out, err = call(*arguments, "--json")
    assert code == 0, err
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".png":
        Image.fromarray(values).save(path)
    else:
        tifffile.imwrite(path, values)
    return path


def test_two_label_files_by_hand(tmp_path: Path) -> None:
    pred, truth = save(tmp_path / "p" / "a.png", PRED), save(tmp_path / "t" / "b.tif", TRUTH)
    result = as_json(pred, truth)
    assert list(result["images"]) == ["a"]
    row = result["images"]["a"]
    assert list(row) == list(result["mean"]) == FIELDS
    assert row["aji_kumar"] == 4 / 15
    assert row["dice"] == 2 * 5 / (6 + 8)
    assert row["jaccard"] == 5 / 9
    assert row["iou_column"] == pytest.approx((1 / 2 + 1 / 2 + 0 + 1 / 2 + 1) / 5)
    assert row["auc"] == pytest.approx((5 / 8 + 1 / 2) / 2)  # of the binary map
    assert (row["n_truth"], row["n_pred"]) == (2, 2)
    assert result["mean"] == row
    assert result["prediction"].startswith("labels")


def test_folders_are_matched_by_stem_and_averaged(tmp_path: Path) -> None:
    for stem, values in {"x": TRUTH, "y": PRED}.items():
        save(tmp_path / "truth" / f"{stem}.tif", TRUTH.astype(np.uint32) * 2_000_000_000)
        save(tmp_path / "pred" / f"{stem}.npy", values)
    (tmp_path / "pred" / "notes.txt").write_text("not a map")
    result = as_json(tmp_path / "pred", tmp_path / "truth")
    assert list(result["images"]) == ["x", "y"]
    assert result["images"]["x"]["dice"] == 1.0
    assert result["mean"]["aji_kumar"] == pytest.approx((1 + 4 / 15) / 2)
    assert result["mean"]["n_pred"] == 2


def test_probability_threshold_and_components(tmp_path: Path) -> None:
    prob = np.array([[0.9, 0.9, 0.3, 0.6, 0.6], [0.9, 0.9, 0.3, 0.6, 0.6]])
    truth = save(tmp_path / "truth.png", TRUTH)
    for file, values in {"a.npy": prob, "b.tif": prob.astype(np.float32)}.items():
        row = score(save(tmp_path / file, values), truth)["images"][file[0]]
        assert (row["dice"], row["auc"], row["n_pred"], row["aji_kumar"]) == (1.0, 1.0, 2, 1.0)
    result = as_json(tmp_path / "a.npy", truth, "--threshold", 0.7)
    assert (result["mean"]["n_pred"], result["mean"]["recall"], result["mean"]["best_f1"]) == (1, 0.5, 1.0)
    assert result["prediction"] == "probability: nuclei are the 4-connected components of probability ≥ 0.7"
    assert as_json(tmp_path / "a.npy", truth, "--threshold", 0.3)["mean"]["n_pred"] == 1  # joined


def test_eight_bit_probability_png(tmp_path: Path) -> None:
    truth = save(tmp_path / "truth.png", TRUTH)
    levels = np.array([[128, 200, 127, 130, 255], [140, 250, 90, 180, 220]], dtype=np.uint8)
    result = as_json(save(tmp_path / "a.png", levels), truth)
    assert result["prediction"].startswith("probability")
    assert (result["mean"]["dice"], result["mean"]["n_pred"]) == (1.0, 2)
    # 0.499 rounds to 127, 0.5 to 128: rounding first changes nothing at one half, but it does at 0.501
    half = save(tmp_path / "half.npy", np.where(TRUTH > 0, 0.5, 0.499))
    assert as_json(half, truth)["mean"]["dice"] == 1.0
    assert as_json(half, truth, "--threshold", 0.501)["mean"]["dice"] == 0.0
    rounded = as_json(half, truth, "--threshold", 0.501, "--eight-bit")["mean"]
    assert (rounded["dice"], rounded["aji_kumar"]) == (1.0, 1.0)


def test_kind_overrides_the_rule(tmp_path: Path) -> None:
    truth = save(tmp_path / "truth.png", TRUTH)
    pred = save(tmp_path / "a.png", np.where(TRUTH == 1, 60, TRUTH * 100).astype(np.uint8))  # 60 and 200
    assert as_json(pred, truth)["mean"]["n_pred"] == 1
    assert as_json(pred, truth, "--kind", "probability")["mean"]["recall"] == 0.5
    assert as_json(pred, truth, "--kind", "labels")["mean"]["pq"] == pytest.approx(1, abs=1e-6)
    assert as_json(pred, truth, "--kind", "binary")["mean"]["dice"] == 1.0


def test_own_instances_function(tmp_path: Path) -> None:
    def two_halves(prob: np.ndarray, threshold: float) -> np.ndarray:
        return np.where(prob >= threshold, [1, 1, 1, 2, 2], 0)

    prob, truth = save(tmp_path / "a.npy", np.full((2, 5), 0.8)), save(tmp_path / "t.png", TRUTH)
    result = score(prob, truth, instances=two_halves)
    assert result["mean"]["n_pred"] == 2
    assert "two_halves" in result["prediction"]


def test_binary_truth_is_said(tmp_path: Path) -> None:
    mask = save(tmp_path / "mask.png", (TRUTH > 0).astype(np.uint8) * np.uint8(255))
    result = as_json(save(tmp_path / "a.png", TRUTH), mask)
    assert result["truth"] == "binary: nuclei are its 4-connected components"
    assert (result["mean"]["n_truth"], result["mean"]["aji_kumar"]) == (2, 1.0)
    code, out, _ = call(tmp_path / "a.png", mask)
    assert code == 0
    assert "4-connected components" in out
    assert "dice" in out
    assert "1.0000" in out


def test_undefined_is_null_and_left_out_of_the_mean(tmp_path: Path) -> None:
    for stem, truth in {"x": TRUTH, "y": np.zeros_like(TRUTH)}.items():
        save(tmp_path / "truth" / f"{stem}.png", truth)
        save(tmp_path / "pred" / f"{stem}.png", TRUTH)
    result = as_json(tmp_path / "pred", tmp_path / "truth")
    assert result["images"]["y"]["auc"] is None
    assert result["mean"]["auc"] == 1.0
    assert result["mean"]["dice"] == 0.5
    assert "–" in call(tmp_path / "pred", tmp_path / "truth")[1]
    empty = tmp_path / "truth" / "y.png"
    assert as_json(empty, empty)["mean"]["auc"] is None
    assert as_json(empty, empty)["mean"]["pq"] == 1.0


def test_errors_name_the_files(tmp_path: Path) -> None:
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    for folder, stems in {pred: "abc", truth: "bcd"}.items():
        for stem in stems:
            save(folder / f"{stem}.png", TRUTH)
    code, out, err = call(pred, truth)
    assert (code, out) == (1, "")
    assert str(pred / "a.png") in err
    assert str(truth / "d.png") in err
    assert "b.png" not in err

    code, _, err = call(save(tmp_path / "small.png", TRUTH[:, :4]), truth / "b.png")
    assert code == 1
    assert "small.png is 2 × 4" in err
    assert "b.png is 2 × 5" in err

    save(pred / "a.tif", TRUTH)
    assert "have one stem" in call(pred, truth)[2]
    assert "expected two files or two folders" in call(pred, truth / "b.png")[2]
    assert "no such file or folder" in call(tmp_path / "absent", truth)[2]
    (tmp_path / "empty").mkdir()
    assert "file in this folder" in call(tmp_path / "empty", truth)[2]
    soft = save(tmp_path / "soft.npy", TRUTH / 3)
    assert "soft.npy: float64 with fractions" in call(truth / "b.png", soft)[2]
    assert call(pred, truth, "--kind", "guess")[0] == 2


def test_real_labels_and_their_components(data_root: Path, tmp_path: Path) -> None:
    files = sorted((data_root / "monuseg" / "train" / "instances").glob("*.png"))
    if not files:
        pytest.skip(f"real data: no MoNuSeg instances under {data_root}")
    labels = np.asarray(Image.open(files[0]))
    same = score(files[0], files[0])["mean"]
    assert same["n_truth"] == len(np.unique(labels)) - 1
    assert (same["aji_kumar"], same["dq"], same["dice"], same["auc"]) == (1.0,) * 4
    merged = score(save(tmp_path / "mask.png", labels > 0), files[0])["mean"]
    assert merged["dice"] == 1.0
    assert merged["aji_kumar"] < 1.0  # touching nuclei have merged
    assert merged["n_pred"] < same["n_truth"]
