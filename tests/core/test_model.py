"""The package's top: train, load, segment, annotate and score on arrays, and the model file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import allinsam_core
from allinsam_core.annotation import sam as sams
from allinsam_core.data.case import Case
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from allinsam_core.model import Description, Model, describe, network, save
from allinsam_core.nuclei import separate
from allinsam_core.training import Recipe

WINDOW = WindowSettings(field=48, size=64, batch=4)


@pytest.fixture(autouse=True)
def base(tiny_sam: sams.Sam, monkeypatch: pytest.MonkeyPatch) -> sams.Sam:
    monkeypatch.setattr(sams, "load_mini", lambda name="mini": tiny_sam)
    return tiny_sam


def about_of(*classes: str, **more: Any) -> Description:
    return Description(base="mini", base_sha256="", classes=classes, **more)


def cases(classes: tuple[str, ...] = ()) -> list[Case]:
    """Two images of dark squares on light ground; with classes, squares take turns."""
    made = []
    for split, seed in (("train", 0), ("val", 1)):
        rng = np.random.default_rng(seed)
        labels = np.zeros((64, 64), np.uint16)
        for number, (y, x) in enumerate(rng.permutation([(4, 4), (4, 40), (36, 8), (40, 40)]), start=1):
            labels[y : y + 16, x : x + 16] = number
        image = np.where(labels[..., None] > 0, 60, 220).repeat(3, axis=2) + rng.integers(0, 20, (64, 64, 3))
        kinds = {n: classes[n % len(classes)] for n in range(1, 5)} if classes else {}
        made.append(Case(split, image.astype(np.uint8), labels, 0.25, "test", split=split, classes=kinds))  # type: ignore[arg-type]
    return made


def recipe(**given: object) -> Recipe:
    settings = TrainSettings(steps=3, batch_size=2, learning_rate=1e-2, validate_every=2)
    return Recipe.model_validate({"window": WINDOW, "train": settings, **given})


@pytest.mark.parametrize("maps", [None, {}])
@pytest.mark.parametrize("mocl", [None, {"warmup": 0.5, "k": 1}])
def test_a_model_file_segments_as_the_model_in_memory_did(tmp_path: Path, mocl: dict | None, maps: dict | None) -> None:
    both = cases(("a", "b"))
    model = allinsam_core.train(both, tmp_path / "m.safetensors", recipe(mocl=mocl, instance_maps=maps), licence="CC0")
    again = allinsam_core.load(tmp_path / "m.safetensors")
    assert again.about.model_dump_json() == model.about.model_dump_json()
    assert (again.about.classes, again.about.licence, again.about.spacing) == (("a", "b"), "CC0", 0.25)
    first, second = (allinsam_core.segment(both[1].image, m, spacing=0.25) for m in (model, again))
    assert first.probability.shape == (2, 64, 64)
    assert np.array_equal(first.probability, second.probability)
    assert np.array_equal(first.instances, second.instances)
    assert again.maps(both[1].image, 0.25).shape == (2, 1 if maps is None else 3, 64, 64)
    untrained = allinsam_core.load("mini").probability(both[1].image, 0.25)
    assert not np.allclose(untrained[0], first.probability[0], atol=0.01)
    assert [h["losses"][0][0] for h in again.about.record["training"].values()] == [0, 0]


def test_the_frozen_encoder_is_neither_trained_nor_stored(tmp_path: Path, base: sams.Sam) -> None:
    before = {k: v.clone() for k, v in base.state_dict().items()}
    allinsam_core.train(cases(), tmp_path / "m.safetensors", recipe())
    assert all(torch.equal(v, before[k]) for k, v in base.state_dict().items())
    assert not [k for k in load_file(tmp_path / "m.safetensors") if "image_encoder" in k]


def test_a_killed_training_goes_on_to_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = recipe(train=TrainSettings(steps=4, batch_size=2, learning_rate=1e-2, checkpoint_every=2))
    whole = allinsam_core.train(cases(), tmp_path / "a.safetensors", given)
    from allinsam_core.learning import train as loop

    def kill_at_three(*given: object) -> float:
        if given[-1] == 3:
            raise KeyboardInterrupt
        return step(*given)  # type: ignore[arg-type]

    step = loop._step
    monkeypatch.setattr(loop, "_step", kill_at_three)
    with pytest.raises(KeyboardInterrupt):
        allinsam_core.train(cases(), tmp_path / "b.safetensors", given, work=tmp_path / "work")
    assert not (tmp_path / "b.safetensors").exists()
    monkeypatch.setattr(loop, "_step", step)
    allinsam_core.train(cases(), tmp_path / "b.safetensors", given, work=tmp_path / "work")
    one, two = (load_file(tmp_path / f"{n}.safetensors") for n in "ab")
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert describe(tmp_path / "b.safetensors").thresholds == whole.about.thresholds


def test_a_model_of_another_base_is_refused_by_name(tmp_path: Path, base: sams.Sam) -> None:
    file = tmp_path / "m.safetensors"
    model = allinsam_core.train(cases(), file, recipe())
    with torch.no_grad():
        next(base.image_encoder.parameters()).add_(1)
    with pytest.raises(ValueError, match=rf"m\.safetensors: .*{model.about.base_sha256[:8]}.*mini here"):
        allinsam_core.load(file)

    save(Model(model.about.model_copy(update={"base": "vit_b"}), model.networks), file)
    with pytest.raises(ValueError, match=r"m\.safetensors: was trained on vit_b; .*add --checkpoint"):
        allinsam_core.load(file)


def test_other_files_are_no_models(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: no model file"):
        allinsam_core.load(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")
    with pytest.raises(ValueError, match=r"cut\.safetensors: not a readable model"):
        allinsam_core.load(tmp_path / "cut.safetensors")
    with pytest.raises(FileNotFoundError, match="no such model file"):
        allinsam_core.load(tmp_path / "none.safetensors")


def test_a_pixel_of_two_classes_goes_to_the_higher_probability() -> None:
    prob = np.zeros((2, 1, 20, 40), np.float32)
    prob[0, 0, 4:16, 4:24] = 0.6
    prob[1, 0, 4:16, 16:36] = 0.9
    nuclei = separate(prob, about_of("a", "b"), 0.25)
    assert nuclei.classes == ("a", "b")
    assert (nuclei.instances[4:16, 16:36] == 2).all()
    assert (nuclei.instances[4:16, 4:16] == 1).all()
    assert nuclei.confidence == pytest.approx([0.6, 0.9])


def test_the_two_distances_part_nuclei_that_touch() -> None:
    maps = np.ones((1, 3, 20, 40), np.float32)
    maps[0, 0] = 0
    maps[0, 0, 4:16, 4:36] = 0.9  # one bar, of which the distances say that it is two nuclei
    maps[0, 1:, 6:14, 7:17] = maps[0, 1:, 6:14, 23:33] = 0
    assert separate(maps[:, :1], about_of("nucleus"), 0.25).instances.max() == 1
    found = separate(maps, about_of("nucleus"), 0.25)
    assert found.instances.max() == 2
    assert found.probability.shape == (1, 20, 40)


def test_a_mini_that_learnt_the_distances_is_loaded_with_them(base: sams.Sam) -> None:
    one, other = (allinsam_core.load(name).about for name in ("mini", "mini2"))
    assert (one.instance_maps, one.window.field) == (False, 150)
    assert (other.instance_maps, other.window.field) == (True, 256)
    assert Recipe.of("mini2", 0.5).window.field == 128
    assert Recipe.of("mini2", 0.5).instance_maps is not None
    assert Recipe.of("mini", 0.5).instance_maps is None


def test_boxes_become_nuclei_and_are_scored(base: sams.Sam) -> None:
    case = cases()[0]
    nuclei = allinsam_core.annotate(case.image, np.array([[4, 4, 20, 20], [40, 40, 56, 56]]), spacing=0.25)
    assert set(nuclei.labels) == set(np.unique(nuclei.instances)) - {0}
    assert len(nuclei.labels) == len(nuclei.classes) == len(nuclei.confidence)
    assert allinsam_core.score(case.instances, case.instances).instance.n_truth == 4
    assert allinsam_core.score(case.instances * 0, case.instances).pixel.dice == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [({"split": "train"}, "0 val images"), ({"spacing": 0.5}, r"images at \[0\.25, 0\.5\] µm per pixel")],
)
def test_training_asks_for_both_splits_and_one_resolution(tmp_path: Path, change: dict, said: str) -> None:
    from dataclasses import replace

    first, second = cases()
    with pytest.raises(ValueError, match=said):
        allinsam_core.train([first, replace(second, **change)], tmp_path / "m.safetensors", recipe())


def test_the_window_keeps_its_physical_size() -> None:
    model = allinsam_core.load("mini")
    assert [model.field(s) for s in (0.25, 0.5, 0.125)] == [150, 76, 300]
    with pytest.raises(ValueError, match="µm per pixel > 0"):
        model.field(0)


def test_the_package_is_imported_quickly() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import allinsam_core; s = time.perf_counter() - t;"
        "assert s < 0.3, s; assert not {'torch', 'numpy'} & set(sys.modules); allinsam_core.Case;"
        "assert 'load' in dir(allinsam_core) and not hasattr(allinsam_core, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_classes_of_one_network_part_nuclei_together(tmp_path: Path, base: sams.Sam) -> None:
    prob = np.zeros((2, 1, 20, 40), np.float32)
    prob[0, 0, 4:16, 4:16], prob[1, 0, 4:16, 4:16] = 0.4, 0.3  # neither class alone is half, both together are
    prob[0, 0, 4:16, 24:36], prob[1, 0, 4:16, 24:28] = 0.5, 0.9  # a rim of another class splits no nucleus
    prob[0, 0, 4:16, 24:28] = 0.1
    found = separate(prob, about_of("a", "b", joint=True), 0.25)
    assert found.classes == ("a", "a")
    assert found.instances.max() == 2
    assert found.confidence == pytest.approx([0.4, (0.1 * 4 + 0.5 * 8) / 12])
    about = Description(
        base="mini", base_sha256=sams.weights_checksum(base), classes=("a", "b", "c"), joint=True, thresholds=(0.5,) * 3
    )
    model = Model(about, nn.ModuleList([network(base, outputs=about.outputs)]).eval())
    save(model, tmp_path / "joint.safetensors")
    again = allinsam_core.load(tmp_path / "joint.safetensors")
    image = np.random.default_rng(0).integers(0, 255, (60, 70, 3), dtype=np.uint8)
    assert again.maps(image, 0.25).shape == (3, 1, 60, 70)
    assert np.allclose(again.maps(image, 0.25), model.maps(image, 0.25))
    assert set(allinsam_core.segment(image, again, spacing=0.25).classes) <= {"a", "b", "c"}


def test_the_shipped_model_of_breast_tissue_names_three_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the weights that it stands on are the shipped ones
    model = allinsam_core.load("breast")
    assert model.about.classes == ("lymphocyte", "epithelial", "stromal")
    assert (model.about.joint, model.about.spacing, model.about.licence) == (True, 0.5, "BSD-3-Clause")
    white = np.full((80, 80, 3), 245, np.uint8)
    assert not allinsam_core.segment(white, model, spacing=0.5).instances.any()
