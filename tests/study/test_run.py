"""A run from data to record, small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from allinsam_core.annotation import sam
from allinsam_core.data.errors import DataError, MissingData
from allinsam_core.learning import instances, threshold
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.losses import MapSettings
from allinsam_core.learning.method import Method
from allinsam_core.metrics import pixel
from allinsam_core.metrics.instance import InstanceScores
from allinsam_core.metrics.pixel import PixelScores
from allinsam_core.settings import SettingsError
from study import finished, grid, methods, records, root, run
from study.code import code_hash
from study.config import AnnotatorSettings, RunConfig
from study.data import DataSettings
from study.datasets import monuseg, splits
from study.grid import Profile
from study.records import RecordError
from study.results import collect
from study.rivals.boxes import BoxPrompted, EllipseSettings
from study.rivals.otsu import Otsu, OtsuSettings
from study.simulation import simulate
from study.simulation.corrupt import corrupt


def but(config: RunConfig, **fields: object) -> RunConfig:
    return RunConfig.model_validate({**{k: getattr(config, k) for k in RunConfig.model_fields}, **fields})


def execute(config: RunConfig, folder: Path, **more: object) -> Path:
    return run.execute(config, folder / "results", folder / "work", device="cpu", **more)  # type: ignore[arg-type]


def test_a_run_leaves_rows_record_weights_and_maps(tiny_config: RunConfig, tmp_path: Path) -> None:
    folder = execute(tiny_config, tmp_path, maps=True)
    assert folder == tmp_path / "results" / "smoke" / tiny_config.run_id
    assert {p.name for p in folder.iterdir()} == {"rows.csv", "run.json"}

    rows = pd.read_csv(folder / "rows.csv")
    assert rows["image"].tolist() == ["simulated-3", "simulated-4"]  # after two for training and one for validation
    fields = [*PixelScores.__dataclass_fields__, *InstanceScores.__dataclass_fields__]
    assert rows.columns.tolist() == ["image", "patient", "organ", *fields]
    assert rows[["dice", "jaccard", "n_truth"]].notna().all().all()

    record = json.loads((folder / "run.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert record["run_id"] == tiny_config.run_id
    assert record["config_hash"] == tiny_config.hash
    assert RunConfig.model_validate(record["config"]) == tiny_config
    assert record["config"]["seed"] == 0
    assert record["simulated"] is True
    assert record["commit"]
    assert record["started"].endswith("Z")
    assert record["environment"]["device"] == "cpu"
    assert record["environment"]["libraries"]["torch"]
    made = simulate.cohort(**tiny_config.data.simulated)
    for split, images in (("train", 2), ("val", 1), ("test", 2)):
        part = [c for c in made if c.split == split]
        assert record["data"][split] == {"images": images, "sha256": records.data_checksum(part)}
    assert record["training_part"] == {"images": 2, "pixels": 2 * 64 * 64}
    assert record["parameters"]["total"] == record["parameters"]["trained"] > 0
    for part in ("fit", "predict"):
        assert record[f"{part}_seconds"] > 0
        assert record[f"{part}_processor_seconds"] > 0
    assert record["files"] == {"rows.csv": records.file_checksum(folder / "rows.csv")}
    assert record["sha256"] == records.content_checksum(record)
    assert record["code"] == code_hash(run.modules(tiny_config))
    assert finished.read(folder).record == record
    assert record["peak_memory_bytes"] > 50 * 2**20
    assert [look["step"] for look in record["training"]["validations"]] == [2, 3]
    assert record["training"]["losses"][0][0] == 0

    scratch = tmp_path / "work" / "smoke" / tiny_config.run_id
    with safe_open(scratch / "trained.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["note"]) == {"run": tiny_config.run_id}
    for name in rows["image"]:
        assert np.load(scratch / "maps" / f"{name}.npy").dtype == np.uint8


def test_a_finished_run_is_skipped_and_a_broken_one_redone(
    tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = but(tiny_config, method="otsu", model=OtsuSettings(), fraction=0)
    folder = tmp_path / "results" / "smoke" / config.run_id
    assert not records.is_finished(folder / "run.json", config.hash)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            execute(config, tmp_path)
    assert (folder / "rows.csv").is_file()  # the record comes last
    assert not records.is_finished(folder / "run.json", config.hash)

    (folder / "rows.csv").write_text("half a li")
    execute(config, tmp_path)
    assert records.is_finished(folder / "run.json", config.hash)
    assert len(pd.read_csv(folder / "rows.csv")) == 2

    with monkeypatch.context() as patch:
        patch.setattr(methods, "build", lambda *arguments: pytest.fail("done again"))
        assert execute(config, tmp_path) == folder

    rows = (folder / "rows.csv").read_text()
    (folder / "rows.csv").unlink()  # a run without its rows is not finished
    assert not records.is_finished(folder / "run.json", config.hash)
    execute(config, tmp_path)
    assert (folder / "rows.csv").read_text() == rows
    (folder / "rows.csv").write_text(rows.replace("0.", "1.", 1))
    with pytest.raises(RecordError, match=r"rows\.csv: is not what the run wrote"):
        execute(config, tmp_path)


def test_a_record_hides_no_wrong_folder_and_no_absent_device(
    tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = but(tiny_config, data=DataSettings(), method="otsu", model=OtsuSettings(), fraction=0)
    monkeypatch.setattr(records, "is_finished", lambda *arguments: True)
    monkeypatch.delenv("ALLINSAM_DATA", raising=False)
    assert execute(config, tmp_path).name == config.run_id  # nothing was asked for that is not there
    with pytest.raises(MissingData, match="nowhere"):
        execute(config, tmp_path, root=tmp_path / "nowhere")
    with monkeypatch.context() as patch:
        patch.setenv("ALLINSAM_DATA", str(tmp_path / "elsewhere"))
        with pytest.raises(MissingData, match="elsewhere"):
            execute(config, tmp_path)
    (tmp_path / "monuseg").mkdir()
    with pytest.raises(MissingData, match="24 of 24 train images are missing"):
        execute(config, tmp_path, root=tmp_path)
    absent = next(name for name in ("cuda", "mps") if not torch.cuda.is_available() or name == "mps")
    for device in (absent, "gpux"):
        with pytest.raises(SettingsError, match=f"device '{device}' is not on this machine, expected auto or cpu"):
            run.execute(config, tmp_path, tmp_path, device=device)


def test_relative_folders_lead_from_the_repositorys_root(
    tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = but(tiny_config, method="otsu", model=OtsuSettings(), fraction=0)
    monkeypatch.setattr(root, "CHECKOUT", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    folder = run.execute(config, "results", "work", device="cpu")
    assert folder == tmp_path / "results" / config.place
    assert len(collect("results", "smoke")) == 2
    assert list((tmp_path / "notebooks").iterdir()) == []


def test_equal_configurations_give_equal_rows_and_other_seeds_others(tiny_config: RunConfig, tmp_path: Path) -> None:
    rows = [
        (execute(config, tmp_path / place) / "rows.csv").read_text()
        for place, config in (("a", tiny_config), ("b", tiny_config), ("c", but(tiny_config, seed=1)))
    ]
    assert rows[0] == rows[1] != rows[2]


def test_settings_are_chosen_on_the_validation_images(tiny_config: RunConfig, tmp_path: Path) -> None:
    config = but(tiny_config, method="otsu", model=OtsuSettings(), fraction=0, scored="val")
    rows = pd.read_csv(execute(config, tmp_path) / "rows.csv")
    assert rows["image"].tolist() == ["simulated-2"]


def test_a_threshold_is_chosen_on_the_validation_images_and_recorded(tiny_config: RunConfig, tmp_path: Path) -> None:
    made = run.cases(tiny_config.data, None)
    plain, chosen = (
        but(tiny_config, method="otsu", model=OtsuSettings(), fraction=0, threshold_chosen_on=t) for t in (None, "val")
    )
    assert "threshold" not in records.read(execute(plain, tmp_path) / "run.json")
    folder = execute(chosen, tmp_path)
    cut = records.read(folder / "run.json")["threshold"]
    otsu = Otsu(OtsuSettings())
    assert cut == threshold.choose((otsu.predict(case.image), case.mask) for case in made["val"]) != 0.5
    for row, case in zip(pd.read_csv(folder / "rows.csv").to_dict("records"), made["test"], strict=True):
        prob = np.floor(otsu.predict(case.image) * 255 + 0.5) / 255
        assert row["dice"] == pytest.approx(pixel.evaluate(prob, case.mask, cut).dice, abs=1e-6)


def test_a_record_of_another_configuration_is_an_error(tiny_config: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "smoke" / tiny_config.run_id / "run.json"
    records.write({"config_hash": "another"}, path)
    with pytest.raises(ValueError, match=rf"run\.json: record of configuration another, expected {tiny_config.hash}"):
        run.execute(tiny_config, tmp_path, tmp_path / "work")


def test_without_training_nothing_counts_as_trained(tiny_config: RunConfig, tmp_path: Path) -> None:
    record = records.read(execute(but(tiny_config, fraction=0), tmp_path) / "run.json")
    assert record["training_part"] == {"images": 0, "pixels": 0}
    assert record["parameters"]["trained"] == 0
    assert record["parameters"]["total"] > 0
    assert record["training"] == {}


class Spy(Method):
    """A method that notes what it is shown."""

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []

    def fit(self, *nothing: object) -> dict:
        return {}

    def predict(self, *shown: np.ndarray) -> np.ndarray:
        self.shown += shown
        return np.zeros(shown[0].shape[:2], np.float32)


def test_a_method_sees_pixels_and_nothing_of_the_truth(tiny_config: RunConfig) -> None:
    case, spy = simulate.tile(1, size=64), Spy()
    spy.segment(case, tiny_config.instances)
    (image,) = spy.shown
    assert image is case.image


def test_a_box_prompted_reference_sees_boxes_and_its_instances_are_kept(tiny_config: RunConfig, tmp_path: Path) -> None:
    given: list[np.ndarray] = []

    class Reference(BoxPrompted):
        def predict_boxes(self, image: np.ndarray, boxes: np.ndarray, spacing: float) -> np.ndarray:
            given.extend((image, boxes))
            assert spacing == case.spacing
            labels = np.zeros(image.shape[:2], np.uint16)
            labels[:2, :2] = 7  # under the watershed's smallest size: kept all the same
            return labels

    case = simulate.tile(1, size=64)
    prob, found = Reference().segment(case, tiny_config.instances)
    assert given[0] is case.image
    assert given[1].shape == (len(np.unique(case.instances)) - 1, 4)
    assert set(np.unique(found)) == {0, 7}
    assert np.array_equal(prob == 1, found == 7)
    ellipse = but(tiny_config, method="ellipse", model=EllipseSettings(), fraction=0.0)
    record = json.loads((execute(ellipse, tmp_path) / "run.json").read_text())
    assert record["parameters"] == {"total": 0, "trained": 0}
    assert record["config"]["model"] == {"kind": "ellipse"}


def test_the_declared_part_is_cut_by_the_rule(tiny_config: RunConfig) -> None:
    cases = simulate.cohort(**tiny_config.data.simulated)[:2]
    half = run.declared_part(but(tiny_config, fraction=0.5), cases)
    assert [c.instances.shape for c in half] == [(32, 32)] * 4  # half of 2 · 64² is four crops of 32²
    assert run.declared_part(tiny_config, cases) == cases
    whole = but(tiny_config, fraction=0.5, data=DataSettings(source="simulated", rule="whole_image"))
    assert [c.instances.shape for c in run.declared_part(whole, cases)] == [(64, 64)]


def test_weak_labels_come_from_the_annotator_and_complete_ones_are_the_truth(
    tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    cases = simulate.cohort(**tiny_config.data.simulated)
    assert run.annotated(tiny_config, cases, tmp_path) is cases
    asked: list[object] = []

    def weak_cases(images: list, annotator: object, boxes: object, cache: Path) -> list:
        asked.extend((annotator, boxes, cache))
        return [SimpleNamespace(case=f"weak {image.name}") for image in images]

    monkeypatch.setattr(run, "weak_cases", weak_cases)
    monkeypatch.setattr(sam, "weights_file", lambda weights, name="mini": f"file of {weights}")
    monkeypatch.setattr(sam, "build", lambda name, file, depth: (name, file))
    config = but(tiny_config, label="weak", annotator=AnnotatorSettings())
    assert run.annotated(config, cases[:2], tmp_path) == ["weak simulated-0", "weak simulated-1"]
    assert asked == [("mini", "file of shipped"), AnnotatorSettings().boxes, tmp_path]


def test_a_patient_in_two_splits_stops_the_run(tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    tile = simulate.tile(0, size=64)
    monkeypatch.setattr(monuseg, "load", lambda folder, split: [tile])
    with pytest.raises(DataError, match="patient simulated-0"):
        run.cases(DataSettings(source="monuseg"), Path("anywhere"))


def test_a_run_with_instance_maps_parts_nuclei_by_them(
    tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = but(tiny_config, instance_maps=MapSettings())
    given: list[np.ndarray] = []
    parted = instances.parted
    monkeypatch.setattr(instances, "parted", lambda maps, settings: given.append(maps) or parted(maps, settings))
    rows = pd.read_csv(execute(config, tmp_path) / "rows.csv")
    assert [maps.shape[0] for maps in given] == [3] * len(rows)
    case = run.cases(config.data, None)["test"][0]
    method = methods.build(config, "cpu")
    maps = given[0]
    monkeypatch.setattr(method, "predict_maps", lambda image: maps)
    prob, labels = method.segment(case, config.instances, 0.4)
    assert np.array_equal(prob, threshold.rescaled(maps[0], 0.4))
    by_maps = instances.nuclei(np.stack([prob, *maps[1:]]), config.instances, case.spacing)
    assert np.array_equal(labels, by_maps)


# ---- label errors, and grids that go on


@pytest.fixture
def noisy(tiny_config: RunConfig) -> Profile:
    """One rate of label errors and two losses, on simulated tiles."""
    return Profile(
        name="smoke",
        about="for tests",
        axes={"data.source": {"simulated": {}}, "noise.rate": [1.0], "seed": [0]},
        common={
            "model": {"kind": "mocl_unet", "width": 16},
            "data": {"simulated": {"train": 2, "val": 1, "test": 2, "size": 48}},
            "window": {"field": 16, "size": 16},
            "train": {"steps": 2, "batch_size": 1},
        },
        methods={name: {"corrective": {"variant": name}} for name in ("none", "ours")},
    )


def test_learning_sees_errors_and_scoring_the_truth(noisy: Profile, tmp_path: Path) -> None:
    config = noisy.run("ours", "simulated", 0.9, 3, settings={"data": {"simulated": {"size": 64}}})
    images = run.cases(config.data, None)  # type: ignore[attr-defined]
    given = run.task(config, images, tmp_path)  # type: ignore[arg-type]
    for split, labelled in (("train", given.train), ("val", given.val)):
        for case, wrong in zip(images[split], labelled, strict=True):  # type: ignore[index]
            assert np.array_equal(wrong.instances, corrupt(case, 0.9, 3).instances)
    assert any(not np.array_equal(a.instances, b.instances) for a, b in zip(images["train"], given.train, strict=True))
    assert given.about["label_dice"] < 0.99
    other = run.task(noisy.run("none", "simulated", 0.9, 3, settings={"size": 64}), images, tmp_path)  # type: ignore[arg-type]
    assert all(np.array_equal(a.instances, b.instances) for a, b in zip(given.train, other.train, strict=True))

    class Truthful(Spy):
        def predict(self, image: np.ndarray) -> np.ndarray:
            return next(c for c in images["test"] if c.image is image).mask.astype(np.float32)

    assert run.score(config, Truthful(), given)["rows"]["dice"].tolist() == [1.0] * len(images["test"])


def test_a_grid_goes_on_where_it_stopped(noisy: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    performed, read = [], []
    perform, cases = run.perform, run.cases
    monkeypatch.setattr(run, "perform", lambda c, *more: performed.append(c.method) or perform(c, *more))
    monkeypatch.setattr(run, "cases", lambda *a: read.append(a) or cases(*a))
    folders = run.execute_grid(noisy, tmp_path / "results", tmp_path / "work", device="cpu")
    assert performed == ["none", "ours"]
    assert len(read) == 1
    record = finished.read(folders[1]).record
    assert record["config"]["corrective"]["variant"] == "ours"
    assert record["simulated"] is True
    assert record["label_dice"] < 0.99
    assert record["parameters"]["trained"] > 1_000_000
    (folders[1] / "run.json").unlink()
    assert run.execute_grid(noisy, tmp_path / "results", tmp_path / "work", device="cpu") == folders
    assert performed == ["none", "ours", "ours"]
    rows = collect(tmp_path / "results", "smoke", "noise")
    assert rows.groupby("method")["image"].apply(tuple).nunique() == 1
    first, second = (rows[rows["method"] == method]["auc"].tolist() for method in ("none", "ours"))
    assert first != second  # after the warm-up the losses part


def test_every_data_set_is_read_once_and_given_to_its_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    given: list[tuple[str, object]] = []
    profile = grid.profile("noise/smoke")
    monkeypatch.setattr(run, "cases", lambda data, root: read.append(data.source) or data.source)
    monkeypatch.setattr(run, "execute", lambda config, *a, data: given.append((config.data.source, data)) or tmp_path)
    run.execute_grid(profile, tmp_path / "results", tmp_path / "work")
    assert read == list(profile.axes["data.source"])
    assert len(read) > 1
    assert all(source == images for source, images in given)
    assert len(given) == len(profile.grid())


def test_the_cohorts_podocytes() -> None:
    counts = {"podocyte": 6, "mesangial": 0, "slides": 6, "injured": 2, "size": 128}
    data = run.cases(DataSettings(source="glomerulus", simulated=counts), None)
    assert sum(map(len, data.values())) == 6
    patients = [{c.patient for c in part} for part in data.values()]
    assert all(patients)
    assert not patients[0] & patients[2]
    assert all(c.instances.shape == (128, 128) and c.spacing == 0.5 for part in data.values() for c in part)
    wrong = DataSettings(source="glomerulus", simulated={**counts, "podocite": 1})
    with pytest.raises(SettingsError, match=r"unknown name 'podocite' in data\.simulated; did you mean 'podocyte'"):
        run.cases(wrong, None)


def test_monuseg_at_half_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = {split: [simulate.tile(i, size=64)] for i, split in enumerate(("train", "val", "test"))}
    monkeypatch.setattr(monuseg, "load", lambda folder, split: tiles[split])
    monkeypatch.setattr(splits, "refuse_overlap", lambda **found: None)
    found = run.cases(DataSettings(source="monuseg_20x"), Path())
    whole, half = tiles["val"][0], found["val"][0]
    assert half.instances.shape == (32, 32)
    assert half.spacing == 2 * whole.spacing
    assert run.cases(DataSettings(), Path())["val"] == [whole]


def test_instance_settings_are_chosen_and_recorded_where_asked(
    tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = but(tiny_config, tuning="val")
    asked: list[list[run.Example]] = []
    chosen = InstanceSettings(smallest=10**6)

    def tuned(val: list[run.Example], train: list[run.Example], settings: InstanceSettings) -> InstanceSettings:
        assert settings == config.instances
        asked.extend((val, train))
        return chosen

    monkeypatch.setattr(run, "tuned", tuned)
    folder = execute(config, tmp_path)
    assert json.loads((folder / "run.json").read_text())["instances_chosen"] == chosen.model_dump()
    assert pd.read_csv(folder / "rows.csv").n_pred.tolist() == [0, 0]
    made = run.cases(config.data, None)
    for examples, split in zip(asked, ("val", "train"), strict=True):
        assert len(examples) == 1  # one validation image, and as many for training
        assert np.array_equal(examples[0].truth, made[split][0].instances)
        assert examples[0].maps.shape == (1, 64, 64)
