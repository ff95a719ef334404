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
from scipy.ndimage import gaussian_filter
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
    assert as_json(pred, truth)["mean"]["n_pred"] == 2
    assert as_json(pred, truth, "--kind", "probability")["mean"]["recall"] == 0.5
    assert as_json(pred, truth, "--kind", "labels")["mean"]["pq"] == pytest.approx(1, abs=1e-6)
    assert as_json(pred, truth, "--kind", "binary")["mean"]["dice"] == 1.0
    assert as_json(truth, pred, "--truth-kind", "binary")["mean"]["n_truth"] == 2


def discs() -> np.ndarray:
    """(90, 90) uint16: nine discs, numbered."""
    rows, columns = np.mgrid[:90, :90]
    inside = (rows % 30 - 15) ** 2 + (columns % 30 - 15) ** 2 < 100
    return np.where(inside, 1 + rows // 30 * 3 + columns // 30, 0).astype(np.uint16)


SAME_TRUTH = {
    "mask of 128": (discs() > 0) * np.uint8(128),
    "mask of 255 in 16 bits": (discs() > 0) * np.uint16(255),
    "mask of 255 as float": (discs() > 0) * np.float32(255),
    "classes": (discs() % 3 + (discs() > 0)).astype(np.uint8),
    "8-bit labels with gaps": (discs() * 28).astype(np.uint8),
}


@pytest.mark.parametrize("what", SAME_TRUTH)
def test_a_truth_gives_the_same_nuclei_in_every_form(tmp_path: Path, what: str) -> None:
    pred, truth = save(tmp_path / "labels.tif", discs()), save(tmp_path / "truth.tif", SAME_TRUTH[what])
    row = as_json(pred, truth)["mean"]
    assert (row["n_truth"], row["dice"], row["aji_kumar"]) == (9, 1.0, 1.0)
    row = as_json(truth, pred)["mean"]
    assert (row["n_pred"], row["dice"], row["aji_kumar"]) == (9, 1.0, 1.0)


@pytest.mark.parametrize("top", [255, 65535])
def test_grey_levels_are_probabilities_as_prediction_and_refused_as_truth(tmp_path: Path, top: int) -> None:
    smooth = gaussian_filter((discs() > 0).astype(float), 2)
    pred = save(tmp_path / "prob.tif", np.rint(smooth * top).astype(np.uint16))
    labels = save(tmp_path / "labels.tif", discs())
    row = as_json(pred, labels)["mean"]
    assert row["n_pred"] == 9
    assert row["dice"] > 0.95
    code, _, err = call(labels, pred)
    assert code != 0
    assert "prob.tif" in err
    assert "--truth-kind binary" in err
    assert as_json(labels, pred, "--truth-kind", "binary")["mean"]["n_truth"] == 9


def test_masks_and_label_maps_in_one_folder_are_refused(tmp_path: Path) -> None:
    for stem in "ab":
        save(tmp_path / "pred" / f"{stem}.tif", discs())
    save(tmp_path / "truth" / "a.png", (discs() > 0) * np.uint8(255))
    save(tmp_path / "truth" / "b.tif", discs())
    code, _, err = call(tmp_path / "pred", tmp_path / "truth")
    assert code != 0
    assert "a.png looks like a mask" in err
    assert "b.tif like a label map" in err


def test_one_scale_for_the_probabilities_of_a_folder(tmp_path: Path) -> None:
    smooth = gaussian_filter((discs() > 0).astype(float), 2)
    for stem, top in (("strong", 65535), ("weak", 200)):  # alone, 200 would be taken for a scale of 255
        save(tmp_path / "pred" / f"{stem}.tif", np.rint(smooth * top).astype(np.uint16))
        save(tmp_path / "truth" / f"{stem}.tif", discs())
    result = as_json(tmp_path / "pred", tmp_path / "truth")
    assert (result["images"]["strong"]["n_pred"], result["images"]["weak"]["n_pred"]) == (9, 0)


def written_by_segment(folder: Path, name: str) -> None:
    """Files as `allinsam segment` names them; the probability's components are other nuclei than the instances."""
    save(folder / f"{name}_instances.tif", discs().astype(np.int32))
    save(folder / f"{name}_probability.png", (discs() > 4) * np.uint8(255))
    save(folder / f"{name}_overlay.png", np.zeros((90, 90, 3), np.uint8))
    for end in (".geojson", ".csv", ".parquet", "_rois.zip", "_provenance.csv"):
        (folder / f"{name}{end}").write_text("{}")
    save(folder / f"{name}_probability_tumour.png", np.zeros((90, 90), np.uint8))


def test_what_segment_writes_is_scored_with_its_own_nuclei(tmp_path: Path) -> None:
    for name in ("x", "y.z"):
        written_by_segment(tmp_path / "out", name)
        save(tmp_path / "truth" / f"{name}.png", discs().astype(np.uint8))
    result = as_json(tmp_path / "out", tmp_path / "truth")
    assert list(result["images"]) == ["x", "y.z"]
    assert result["left_out"] == []
    assert (result["mean"]["n_pred"], result["mean"]["aji_kumar"]) == (9, 1.0)
    asked = as_json(tmp_path / "out", tmp_path / "truth", "--kind", "probability")
    assert asked["mean"]["n_pred"] == 5
    assert as_json(tmp_path / "out", tmp_path / "out")["mean"]["aji_kumar"] == 1.0
    (tmp_path / "out" / "x_instances.tif").rename(tmp_path / "out" / "x_labels.ome.tif")  # of a slide
    assert as_json(tmp_path / "out", tmp_path / "truth")["mean"]["aji_kumar"] == 1.0


def test_a_probability_beside_its_nuclei_is_rescored_only_if_asked(tmp_path: Path) -> None:
    written_by_segment(tmp_path / "out", "x")
    truth = save(tmp_path / "x.png", discs().astype(np.uint8))
    code, _, err = call(tmp_path / "out" / "x_probability.png", truth)
    assert code != 0
    assert "x_instances.tif beside it holds the nuclei" in err
    assert as_json(tmp_path / "out" / "x_probability.png", truth, "--kind", "probability")["mean"]["n_pred"] == 5


def test_files_left_out_are_named(tmp_path: Path) -> None:
    for folder in ("pred", "truth"):
        save(tmp_path / folder / "a.tif", discs())
        Image.fromarray(discs().astype(np.uint8)).save(tmp_path / folder / "b.jpg")
        (tmp_path / folder / ".hidden").write_text("")
        (tmp_path / folder / "Thumbs.db").write_text("")
    code, out, err = call(tmp_path / "pred", tmp_path / "truth", "--json")
    assert code == 0
    wanted = [str(tmp_path / folder / "b.jpg") for folder in ("pred", "truth")]
    assert json.loads(out)["left_out"] == wanted
    assert all(name in err for name in wanted)
    for folder in ("pred", "truth"):
        (tmp_path / folder / "a.tif").unlink()
    assert "only b.jpg" in call(tmp_path / "pred", tmp_path / "truth")[2]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_inverting_palette_changes_no_value(tmp_path: Path, suffix: str) -> None:
    mask = (discs() > 0) * np.uint8(255)
    truth = tmp_path / f"t{suffix}"
    if suffix == ".png":
        picture = Image.fromarray(mask)
        picture.putpalette([255 - v // 3 for v in range(768)])
        picture.save(truth)
    else:
        tifffile.imwrite(truth, mask, photometric="miniswhite")
    row = as_json(save(tmp_path / "labels.tif", discs()), truth)["mean"]
    assert (row["n_truth"], row["dice"]) == (9, 1.0)


PALETTES = {
    "greys in any order": ([0, 1], [255, 0]),
    "black is not 0": ([0, 1], [(200, 0, 0), (0, 0, 0)]),
}


@pytest.mark.parametrize("what", PALETTES)
def test_a_palette_that_hides_the_background_is_refused(tmp_path: Path, what: str) -> None:
    (low, high), colours = PALETTES[what]
    picture = Image.fromarray(np.where(discs() > 0, high, low).astype(np.uint8))
    picture.putpalette([part for c in colours for part in (c if isinstance(c, tuple) else (c,) * 3)])
    picture.save(tmp_path / "t.png")
    code, _, err = call(save(tmp_path / "labels.tif", discs()), tmp_path / "t.png")
    assert code != 0
    assert "t.png: the palette shows value" in err


@pytest.mark.parametrize("bands", ["RGBA", "LA"])
def test_a_mask_in_the_alpha_channel_is_refused(tmp_path: Path, bands: str) -> None:
    planes = np.zeros((90, 90, len(bands)), np.uint8)
    planes[..., -1] = (discs() > 0) * 255
    Image.fromarray(planes).save(tmp_path / "a.png")
    code, _, err = call(tmp_path / "a.png", save(tmp_path / "labels.tif", discs()))
    assert code != 0
    assert "alpha channel" in err
    planes[..., -1] = 255
    planes[..., :-1] = discs()[..., None]
    Image.fromarray(planes).save(tmp_path / "a.png")
    assert as_json(tmp_path / "a.png", tmp_path / "labels.tif")["mean"]["aji_kumar"] == 1.0


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
    assert "have one name" in call(pred, truth)[2]
    assert "expected two files or two folders" in call(pred, truth / "b.png")[2]
    assert "no such file or folder" in call(tmp_path / "absent", truth)[2]
    (tmp_path / "empty").mkdir()
    assert "file in this folder" in call(tmp_path / "empty", truth)[2]
    soft = save(tmp_path / "soft.npy", TRUTH / 3)
    assert "soft.npy: float64 with 2 values up to 0.666667" in call(truth / "b.png", soft)[2]
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
