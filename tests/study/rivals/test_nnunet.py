"""The real nnU-Net on a few tiny simulated tiles: what it reads, plans, resumes and refuses."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.io import imread, imsave

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError
from study.rivals import nnunet, nnunet_data
from study.rivals.nnunet import NnUNet, NnUNetSettings
from study.simulation import simulate

needed = pytest.mark.skipif(nnunet.find_spec("nnunetv2") is None, reason="optional extra nnunet is not installed")
TINY = NnUNetSettings(gpu_memory=0.1, epochs=2, iterations=1, validation_iterations=1, checkpoint_every=1, step=1)


@pytest.fixture(scope="module")
def parts() -> dict[str, list[Case]]:
    """Two 40 px crops of one training image, one validation image of 64 px."""
    made = simulate.cohort(train=1, val=1, test=0, size=64)
    return {"train": [made[0].crop(0, 0, 40), made[0].crop(20, 24, 40)], "val": [made[1]]}


def test_names_become_file_names_and_stay_apart(parts: dict[str, list[Case]], tmp_path: Path) -> None:
    assert nnunet_data.identifier(parts["train"][1]) == "simulated-0_20_24_40"
    twin = dataclasses.replace(parts["train"][0], name="simulated-0@0,0/40")  # another name, the same file
    with pytest.raises(DataError, match="simulated-0_0_0_40 would name two cases"):
        nnunet_data.export([parts["train"][0], twin], [], tmp_path)


def test_the_environment_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", "/elsewhere")
    monkeypatch.delenv("nnUNet_results", raising=False)
    before, inside = dict(os.environ), {}

    def failing() -> None:
        with nnunet_data.environment(tmp_path, 3):
            inside.update(os.environ)
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert inside["nnUNet_raw"] == str(tmp_path / "raw")
    assert inside["nnUNet_n_proc_DA"] == "3"
    assert dict(os.environ) == before


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nnunet, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"nnunetv2 is not installed.*\.\[nnunet\]"):
        NnUNet(TINY)


def test_cores_are_where_seeds_should_be_and_every_nucleus_has_one(
    parts: dict[str, list[Case]], tmp_path: Path
) -> None:
    for case in parts["train"] + parts["val"]:
        assert np.array_equal(nnunet_data.classes(case, cores=False), case.mask)
        made = nnunet_data.classes(case, cores=True)
        assert np.array_equal(made > 0, case.mask)
        assert set(np.unique(case.instances[made == 2])) == set(np.unique(case.instances)) - {0}
    square = np.zeros((16, 20), np.uint16)
    square[2:9, 2:9], square[2:9, 9:16] = 1, 2  # depths 0 1 2 3 2 1 0: the core is where they are more than 1.5
    drawn = Case("pair", np.zeros((16, 20, 3), np.uint8), square, 0.25, "drawn")
    assert nnunet_data.classes(drawn, cores=True)[5].tolist() == [0, 0, *[1, 1, 2, 2, 2, 1, 1] * 2, 0, 0, 0, 0]
    split = nnunet_data.export([drawn], [], tmp_path, cores=True)
    raw = tmp_path / "raw" / nnunet_data.NAME
    assert nnunet_data.read_json(raw / "dataset.json")["labels"] == {"background": 0, "rim": 1, "core": 2}
    assert np.array_equal(imread(raw / "labelsTr" / f"{split['train'][0]}.png"), nnunet_data.classes(drawn, cores=True))


@needed
def test_with_cores_it_gives_instance_maps(parts: dict[str, list[Case]], tmp_path: Path) -> None:
    method = NnUNet(TINY, device="cpu", cores=True)
    method.fit(parts["train"], parts["val"], tmp_path)
    image = parts["val"][0].image
    prob, centre, boundary = method.predict_maps(image)
    assert prob.shape == (64, 64)
    assert np.array_equal(prob, method.predict(image))
    assert np.array_equal(centre, boundary)
    assert (1 - boundary <= prob + 1e-6).all()  # a core is foreground


@needed
def test_nnunet_reads_back_the_pixels_that_were_exported(parts: dict[str, list[Case]], tmp_path: Path) -> None:
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    split = nnunet_data.export(parts["train"], parts["val"], tmp_path)
    raw = tmp_path / "raw" / nnunet_data.NAME
    named = get_filenames_of_train_images_and_targets(str(raw))
    assert list(named) == split["train"]  # the plan is made from these alone
    everything = nnunet_data.description(split["train"] + split["val"])
    named = get_filenames_of_train_images_and_targets(str(raw), everything)
    for case in parts["train"] + parts["val"]:
        files = named[nnunet_data.identifier(case)]
        image, _ = NaturalImage2DIO().read_images(files["images"])
        labels, _ = NaturalImage2DIO().read_seg(files["label"])
        assert image.shape == (3, 1, *case.instances.shape)
        np.testing.assert_array_equal(image[:, 0].transpose(1, 2, 0), case.image)
        np.testing.assert_array_equal(labels[0, 0], case.mask)


@needed
def test_a_dataset_that_nnunet_refuses_is_an_error_with_its_reason(
    parts: dict[str, list[Case]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = nnunet_data.export

    def spoilt(train: list[Case], val: list[Case], folder: Path, *more: Any) -> dict[str, list[str]]:
        split = export(train, val, folder, *more)
        labels = folder / "raw" / nnunet_data.NAME / "labelsTr" / f"{split['train'][0]}.png"
        imsave(labels, np.full((40, 40), 7, np.uint8), check_contrast=False)
        return split

    monkeypatch.setattr(nnunet_data, "export", spoilt)
    with pytest.raises(DataError, match=r"Dataset001_nuclei: nnU-Net refuses this dataset.*unexpected labels"):
        NnUNet(TINY, device="cpu").fit(parts["train"], parts["val"], tmp_path)
    assert "Found: [7" in (tmp_path / "nnunet.log").read_text()


@pytest.fixture(scope="module")
def prepared(parts: dict[str, list[Case]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nnunet")
    nnunet_data.prepare(parts["train"], parts["val"], folder, TINY.gpu_memory)
    return folder


@needed
def test_the_plan_is_of_the_crops_and_fold_0_is_our_split(parts: dict[str, list[Case]], prepared: Path) -> None:
    preprocessed = prepared / "preprocessed" / nnunet_data.NAME
    assert nnunet_data.read_json(preprocessed / "splits_final.json") == [
        {"train": ["simulated-0_0_0_40", "simulated-0_20_24_40"], "val": ["simulated-1"]}
    ]
    plan = nnunet_data.plan(prepared)
    assert plan["batch_size"] == 2
    assert plan["patch_size"] == [40, 40]  # of 40 px crops; with the validation image it would be larger
    assert {p.stem for p in (preprocessed / "nnUNetPlans_2d").glob("*.pkl")} == {
        "simulated-0_0_0_40",
        "simulated-0_20_24_40",
        "simulated-1",
    }
    clock = (prepared / "preprocessed" / "prepared.json").stat().st_mtime_ns
    nnunet_data.prepare([], [], prepared, TINY.gpu_memory)  # done: nothing is made again
    assert (prepared / "preprocessed" / "prepared.json").stat().st_mtime_ns == clock


@needed
def test_a_killed_training_continues_to_the_same_weights(
    parts: dict[str, list[Case]], prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.rivals.nnunet_trainer import BudgetTrainer

    def fitted(name: str) -> tuple[NnUNet, dict]:
        method = NnUNet(TINY, seed=3, device="cpu")
        return method, method.fit(parts["train"], parts["val"], tmp_path / name)

    for name in ("whole", "killed"):
        shutil.copytree(prepared, tmp_path / name)
    whole, record = fitted("whole")
    begin: Callable = BudgetTrainer.on_train_epoch_start

    def kill(self: BudgetTrainer) -> None:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        begin(self)

    monkeypatch.setattr(BudgetTrainer, "on_train_epoch_start", kill)
    with pytest.raises(KeyboardInterrupt):
        fitted("killed")
    monkeypatch.setattr(BudgetTrainer, "on_train_epoch_start", begin)
    continued, again = fitted("killed")
    assert [n for n, _ in again["losses"]] == [1, 2] == [look["step"] for look in again["validations"]]
    assert again["losses"] == record["losses"]
    assert whole.model is not None
    assert continued.model is not None
    for mine, other in zip(whole.model.parameters(), continued.model.parameters(), strict=True):
        assert torch.equal(mine, other)

    image = parts["val"][0].image
    prob = whole.predict(image)
    assert (prob.shape, prob.dtype) == ((64, 64), np.float32)
    assert 0 <= prob.min() < prob.max() <= 1
    copies = list((tmp_path / "whole").rglob("*.b2nd"))
    assert {path.stat().st_size for path in copies} == {0}  # nnU-Net's copies of the data are gone
    finished, _ = fitted("whole")  # and a finished training is only read
    np.testing.assert_array_equal(finished.predict(image), prob)


def test_an_untrained_nnunet_predicts_nothing() -> None:
    pytest.importorskip("nnunetv2")
    with pytest.raises(ValueError, match="expected fit before predict"):
        NnUNet(TINY, device="cpu").predict(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("cut", [0, 100, -30])
def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path, cut: int) -> None:
    from study.rivals.nnunet import _set_aside_if_damaged

    path = tmp_path / "checkpoint_latest.pth"
    torch.save({"weights": torch.arange(100)}, path)
    _set_aside_if_damaged(path)
    assert path.is_file()  # whole: it stays
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.warns(UserWarning, match=r"checkpoint_latest\.pth: damaged .* set aside as checkpoint_latest\.damaged"):
        _set_aside_if_damaged(path)
    assert not path.is_file()
    _set_aside_if_damaged(path)  # nothing there: nothing to do
