"""Several classes from points to record: what is written of them, and that the judge counts what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from skimage.io import imread

from allinsam_core.data.case import Case
from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.losses import MapSettings
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from study import data as sources
from study import detection, finished, run
from study.config import AnnotatorSettings, RunConfig
from study.data import DataSettings
from study.judge import ByPoints, judge
from study.multiclass import ClassSettings
from study.points import PointSettings
from study.results import collect
from study.rivals import nnunet_data
from study.rivals.hue import Hue, HueSettings, hue
from study.rivals.otsu import OtsuSettings
from study.rivals.unet import UNetSettings
from study.weak import WeakSettings

CLASSES = ClassSettings(names=("red", "blue"))
POINTS = AnnotatorSettings(name="ellipse", boxes=WeakSettings(points=PointSettings(prompt="box", radius=3.0)))


def tile(name: str, *nuclei: tuple[int, int, str], split: str = "train") -> Case:
    """64 × 64 px at 0.5 µm; a disc of radius 5 px of the class's colour about each (row, column, class)."""
    image, labels = np.full((64, 64, 3), 235, np.uint8), np.zeros((64, 64), np.uint16)
    rows, columns = np.indices((64, 64))
    for label, (row, column, kind) in enumerate(nuclei, start=1):
        image[np.hypot(rows - row, columns - column) <= 5] = (80, 30, 110) if kind == "red" else (60, 60, 150)
        labels[row, column] = label
    kinds = {label: kind for label, (_, _, kind) in enumerate(nuclei, start=1)}
    return Case(name, image, labels, 0.5, "test", patient=f"p-{name}", split=split, classes=kinds)  # type: ignore[arg-type]


@pytest.fixture
def images() -> run.Images:
    first = ((12, 12, "red"), (12, 45, "blue"), (45, 12, "blue"), (45, 45, "red"))
    second = ((20, 20, "blue"), (40, 44, "red"))
    return {
        "train": [tile("a", *first), tile("b", *second)],
        "val": [tile("c", *second, split="val")],
        "test": [tile("d", *first, split="test"), tile("e", *second, split="test")],
    }


def config(**more: object) -> RunConfig:
    settings = {
        "profile": "smoke", "method": "unet", "label": "weak", "annotator": POINTS, "classes": CLASSES,
        "model": UNetSettings(channels=(4, 8)), "data": DataSettings(source="brca_m2c", rule="patients"),
        "window": WindowSettings(field=32, size=32), "train": TrainSettings(steps=2, batch_size=2, validate_every=2),
        "augment": AugmentSettings(zoom=0), "instances": InstanceSettings(smooth=0.5, depth=0.5, smallest=10),
    }  # fmt: skip
    return RunConfig.model_validate({**settings, **more})


def test_a_run_of_classes_leaves_counts_confusion_and_reliability(
    images: run.Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "check_root", lambda *_: None)
    given = config(model=HueSettings(), method="hue")
    folder = run.execute(given, tmp_path / "results", tmp_path / "work", device="cpu", data=images)
    tables = {f"{name}.csv" for name in ("rows", "confusion", "reliability", "examples")}
    assert {p.name for p in folder.iterdir()} == {*tables, "run.json"}
    found = finished.read(folder)
    assert set(found.record["files"]) == tables
    rows = collect(tmp_path / "results", "smoke").set_index("image")
    assert rows.loc["d", ["truth_red", "truth_blue", "truth_any"]].tolist() == [2, 2, 4]
    assert rows["f1_point_mean"].tolist() == [1, 1]  # colours tell the classes, discs the nuclei
    assert rows.loc["e", ["hits_red_3.05um", "hits_any_1um", "hits_any_3.05um_greedy"]].tolist() == [1, 2, 2]
    confusion = pd.read_csv(folder / "confusion.csv").set_index("truth")
    assert confusion.loc["red", ["red", "blue", "none"]].tolist() == [3, 0, 0]
    reliability = pd.read_csv(folder / "reliability.csv")
    assert reliability.groupby("class")["nuclei"].sum().to_dict() == {"blue": 3, "red": 3}
    assert reliability["hits"].sum() == 6


def test_a_network_learns_classes_from_discs_about_points(
    images: run.Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "check_root", lambda *_: None)
    folder = run.execute(config(fraction=0.5), tmp_path / "results", tmp_path / "work", device="cpu", data=images)
    record = finished.read(folder).record
    assert record["training_part"] == {"images": 1, "pixels": 64 * 64}
    assert [look["step"] for look in record["training"]["validations"]] == [2]
    assert record["config"]["classes"] == {"names": ["red", "blue"], "head": "binary", "claim": "nucleus"}


def test_the_judge_counts_what_was_found_where(images: run.Images) -> None:
    """Of tile d one red nucleus is found 4 px beside its point (2 µm), one blue is called red, two are missed."""
    case, prob, found = images["test"][0], np.zeros((2, 64, 64)), np.zeros((64, 64), int)
    for label, (row, column) in ((2, (12, 16)), (1, (12, 45))):
        found[row - 1 : row + 2, column - 1 : column + 2] = label
    prob[0] = 0.8
    one = judge(config())
    assert isinstance(one, ByPoints)
    one.add(case, prob, found, {"patient": "p"})
    (row,) = one.tables()["rows"].to_dict("records")
    assert (row["truth_red"], row["pred_red"], row["hits_red_3.05um"], row["hits_red_1um"]) == (2, 2, 1, 0)
    assert (row["truth_blue"], row["pred_blue"], row["hits_blue_6um"]) == (2, 0, 0)
    assert (row["f1_point_red"], row["f1_point_blue"], row["f1_point_mean"]) == (0.5, 0, 0.25)
    assert row["f1_point_any"] == pytest.approx(2 * 2 / 6)
    assert row["hits_any_2um"] == 1  # closer than, not as close as
    confusion = one.tables()["confusion"].set_index("truth")
    assert confusion.loc["blue"].tolist() == [1, 0, 1]
    assert confusion.loc["red"].tolist() == [1, 0, 1]
    nuclei = [tuple(line.values())[1:] for line in one.tables()["examples"].to_dict("records")]
    assert nuclei == [
        (45, 12, "blue", "red"), (16, 12, "red", "red"), (12, 45, "blue", "none"), (45, 45, "red", "none")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": OtsuSettings()}, "model 'otsu' knows no classes; leave classes unset"),
        ({"instance_maps": MapSettings()}, "classes are neither learnt beside instance maps nor"),
    ],
)
def test_classes_are_for_those_who_know_them(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**fields)


def test_the_floor_knows_classes_by_hue_alone(images: run.Images) -> None:
    red, blue = (hue(np.full((3, 3, 3), c, np.uint8), 1.0)[1, 1] for c in ((80, 30, 110), (60, 60, 150)))
    assert abs(red - blue) > 0.2
    # twice the density, the same hue
    square = np.rint(255 * (np.array([80, 30, 110]) / 255) ** 2).astype(np.uint8)
    assert hue(np.full((3, 3, 3), square, np.uint8), 1.0)[1, 1] == pytest.approx(red, abs=0.05)
    one = Hue(HueSettings(), CLASSES)
    weak = run.annotated(config(), images["train"], Path("unused"))
    one.fit([replace(c, classes=dict.fromkeys(c.classes, "blue")) for c in weak], [], Path("unused"))
    assert one.predict_maps(images["test"][0].image)[0].max() == 0  # red was never shown
    with pytest.raises(ValueError, match="the run has none; expected classes, or model otsu"):
        HueSettings().build(config(classes=None, annotator=POINTS), "cpu")


def test_nnunet_is_given_the_numbers_of_classes(images: run.Images, tmp_path: Path) -> None:
    weak = run.annotated(config(), images["train"], Path("unused"))
    nnunet_data.export(weak, [], tmp_path, kinds=CLASSES.names)
    written = imread(tmp_path / "raw" / nnunet_data.NAME / "labelsTr" / "a.png")
    assert written[12, 12] == 1
    assert written[12, 45] == 2
    assert np.array_equal(written > 0, weak[0].mask)
    labels = nnunet_data.read_json(tmp_path / "raw" / nnunet_data.NAME / "dataset.json")["labels"]
    assert labels == {"background": 0, "red": 1, "blue": 2}


def test_a_perfect_prediction_is_perfect(images: run.Images) -> None:
    case = run.annotated(config(), images["test"], Path("unused"))[0]
    kinds = np.array([0] + [CLASSES.names.index(case.classes[n]) for n in range(1, 5)])[case.instances]
    prob = np.stack([(kinds == n) & case.mask for n in (0, 1)]).astype(float)
    one = ByPoints(CLASSES)
    one.add(images["test"][0], prob, case.instances, {})
    assert one.rows[0]["f1_point_mean"] == 1
    assert [detection.calibration_error(each) for each in one.reliability] == [0, 0]


def test_examples_name_the_partner_of_each_nucleus(images: run.Images) -> None:
    """Tile e has blue at (20, 20) and red at (40, 44). Predictions, all red: one where nothing is, then one at each."""
    found = np.zeros((64, 64), int)
    for label, (row, column) in enumerate(((5, 5), (40, 44), (20, 20)), start=1):
        found[row, column] = label
    one = ByPoints(CLASSES)
    one.add(images["test"][1], np.stack([np.ones((64, 64)), np.zeros((64, 64))]), found, {})
    lines = one.tables()["examples"][["x", "y", "truth", "predicted"]].to_numpy().tolist()
    assert lines == [[5, 5, "none", "red"], [44, 40, "red", "red"], [20, 20, "blue", "red"]]
