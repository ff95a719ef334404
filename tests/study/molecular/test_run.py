"""The molecular arm: configurations, the cohort as a folder, labels, one grid from patches to records."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from allinsam_core.annotation import sam
from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError
from allinsam_core.learning.method import Method
from allinsam_core.metrics import pixel
from allinsam_core.settings import SettingsError
from study import finished, grid, methods, records
from study import run as study_run
from study.config import AnnotatorSettings
from study.grid import Profile
from study.molecular import inhouse
from study.molecular.cohort import DRAWN_BY, MolecularCohort, checksum, labelled, prepare
from study.molecular.run import decode, encode, execute_grid, on_folder, task
from study.weak import WeakSettings, weak_cases


@pytest.fixture
def cohort(tiny_grid: Profile, cohort_work: Path) -> MolecularCohort:
    return MolecularCohort(prepare(tiny_grid.grid()[0].cohort, cohort_work))


# ---- configurations


@pytest.fixture
def any_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"weights")
    monkeypatch.setattr(sam, "weights_file", lambda given, name="mini": weights)


@pytest.mark.usefixtures("any_weights")
def test_profiles_hold_the_papers_rows_and_more() -> None:
    for name in ("smoke", "mini", "paper"):
        profile = grid.profile(f"molecular/{name}")
        runs = profile.grid()
        rows = Counter((run.method, run.annotator) for run in runs)
        for method in ("mocl", "sam_l_tight", "sam_l_random", "allinsam"):
            for annotator in ("Expert", "Students"):
                assert rows[method, annotator] == 2 * len(profile.seeds)
        assert len({run.run_id for run in runs}) == len(runs)
        assert all((run.masks is None) == (run.method == "mocl") for run in runs)
    assert len(grid.profile("molecular/mini").seeds) >= 3
    assert ("mocl", "Lay without IF") in {(r.method, r.annotator) for r in grid.profile("molecular/mini").grid()}


@pytest.mark.usefixtures("any_weights")
def test_a_run_is_named_by_everything_that_decides_it() -> None:
    run = grid.profile("molecular/mini").run("sam_l_tight", "Students", "podocyte", 0)
    boxes = run.masks
    assert boxes is not None
    others = [
        run.model_copy(update={"drawn_by": ("student1",)}),
        run.model_copy(update={"masks": boxes.model_copy(update={"sha256": "f00"})}),
        run.model_copy(update={"cohort": run.cohort.model_copy(update={"seed": 1})}),
        run.model_copy(update={"reference": "expert"}),
    ]
    assert len({each.hash for each in (run, *others)}) == 5
    with pytest.raises(SettingsError, match=r"annotator is 'Nobody'; expected one of Expert"):
        grid.profile("molecular/mini").run("mocl", "Nobody", "podocyte", 0)


# ---- cohort and labels


def test_the_cohort_is_a_folder_that_a_laboratory_could_have_made(cohort: MolecularCohort) -> None:
    assert inhouse.check(cohort.folder) == []
    assert {path.name for path in (cohort.folder / "masks").iterdir()} == {"truth", *DRAWN_BY}
    said = records.read(cohort.folder / "cohort.json")
    assert said["patches"] + len(said["registration_failed"]) == 12
    assert np.median(said["registration_error_px"]) < 1


def test_a_cohort_that_is_there_is_not_made_again(tiny_grid: Profile, cohort_work: Path) -> None:
    settings = tiny_grid.grid()[0].cohort
    before = (prepare(settings, cohort_work) / "slides.csv").stat().st_mtime_ns
    assert (prepare(settings, cohort_work) / "slides.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", [b"", b"not an archive", b"PK\x03\x04 cut"])
def test_a_cohort_with_damaged_truths_is_set_aside_and_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_grid: Profile, damage: bytes
) -> None:
    settings = tiny_grid.grid()[0].cohort
    monkeypatch.setattr("study.molecular.cohort.simulated", lambda _: [])
    folder = prepare(settings, tmp_path)
    (folder / "instances.npz").write_bytes(damage)
    with pytest.warns(UserWarning, match=r"instances\.npz: damaged .*set aside as .*\.damaged, made anew"):
        assert prepare(settings, tmp_path) == folder
    assert (folder.with_name(f"{folder.name}.damaged") / "instances.npz").read_bytes() == damage
    assert MolecularCohort(folder).exact == {}


def test_test_patches_are_of_slides_that_no_training_saw_and_have_exact_instances(cohort: MolecularCohort) -> None:
    parts = {split: cohort.part(split, "podocyte") for split in ("train", "val", "test")}  # type: ignore[arg-type]
    slides = {split: {patch.slide for patch in part} for split, part in parts.items()}
    assert all(slides.values())
    assert not slides["train"] & slides["test"]
    assert {patch.injured for patch in parts["test"]} == {True, False}
    for patch, case in zip(parts["test"], cohort.scored(parts["test"], "truth"), strict=True):
        assert np.array_equal(case.mask, patch.masks["truth"]["podocyte"])
        assert np.array_equal(case.instances, cohort.exact[patch.name])


def test_annotators_take_patches_in_turn_and_stand_in_for_each_other(cohort: MolecularCohort) -> None:
    patches = [cohort.patches[index] for index in range(3)]
    cases = labelled(patches, ["student1", "student2"])
    turns = ("student1", "student2", "student1")
    for patch, case, who in zip(patches, cases, turns, strict=True):
        assert np.array_equal(case.mask, patch.masks[who][patch.cell_type])
    only_first = [replace(patch, masks={"student1": patch.masks["student1"]}) for patch in patches]
    assert len(labelled(only_first, ["student1", "student2"])) == 3
    with pytest.raises(DataError, match="no podocyte masks by nobody"):
        labelled(patches, ["nobody"])


def test_a_checksum_goes_by_content_and_not_by_place(cohort: MolecularCohort, tmp_path: Path) -> None:
    patches = [cohort.patches[index] for index in range(2)]
    for name in ("one", "two"):
        inhouse.write(tmp_path / name, patches)
    assert checksum(tmp_path / "one") == checksum(tmp_path / "two")
    with (tmp_path / "two" / "slides.csv").open("a") as file:
        file.write("\n")
    assert checksum(tmp_path / "one") != checksum(tmp_path / "two")


# ---- runs


def test_every_run_leaves_rows_and_a_record(tiny_grid: Profile, tiny_results: Path) -> None:
    for run in tiny_grid.grid():
        record = finished.read(tiny_results / run.place).record
        assert record["config_hash"] == run.hash
        assert record["simulated"]
        assert record["data"]["train"]["images"] == 2  # two of six slides, one patch of the type each
        assert 0.5 < record["label_quality"]["f1_pixel_macro"] <= 1
        assert record["examples"].keys() == {"normal", "injured"}
        text = (tiny_results / run.place / "rows.csv").read_text()
        assert text.startswith("image,slide,injured,")
        assert "f1_pixel_macro" in text
        assert "f1_instance_50" in text


def test_a_finished_run_is_not_repeated(
    tiny_grid: Profile, tiny_results: Path, cohort_work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_run, "perform", lambda *_: pytest.fail("ran again"))
    assert len(execute_grid(tiny_grid, tiny_results, cohort_work)) == 4


def test_a_record_of_another_configuration_stops_the_grid(
    tiny_grid: Profile, cohort_work: Path, tmp_path: Path
) -> None:
    run = tiny_grid.grid()[0]
    records.write({"config_hash": "other"}, tmp_path / run.place / "run.json")
    with pytest.raises(ValueError, match=f"record of configuration other, expected {run.hash}"):
        execute_grid(tiny_grid, tmp_path, cohort_work)


def test_a_laboratorys_folder_keeps_methods_and_has_its_own_annotators() -> None:
    own = on_folder(grid.profile("molecular/smoke"), "f00d" * 16, "anna", {"Expert": ("anna",), "Ben": ("ben",)})
    runs = own.grid()
    assert {(run.annotator, run.drawn_by) for run in runs} == {("Expert", ("anna",)), ("Ben", ("ben",))}  # type: ignore[attr-defined]
    assert {run.method for run in runs} == {"mocl", "sam_l_tight", "sam_l_random", "allinsam"}
    assert {(run.reference, run.arm, run.simulated) for run in runs} == {("anna", "table1-f00df00d", False)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("reference", ["truth", "expert"])
@pytest.mark.parametrize("boxed", [False, True])
def test_fit_sees_drawn_training_patches_alone_and_scores_are_against_the_reference(
    reference: str,
    boxed: bool,
    tiny_grid: Profile,
    cohort: MolecularCohort,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Boxed: SAM's masks of the boxes around what was drawn; here their ellipses."""
    fits: list[tuple[list[Case], list[Case]]] = []

    class Spy(Method):
        def fit(self, train: list[Case], val: list[Case], folder: Path) -> dict[str, Any]:
            fits.append((train, val))
            return {}

        def predict(self, image: np.ndarray) -> np.ndarray:
            return 1 - image[..., 0].astype(np.float32) / 255

    boxes = WeakSettings(box_law="random", spread=5)
    monkeypatch.setattr(methods, "build", lambda config, device: Spy())
    monkeypatch.setattr(sam, "weights_file", lambda weights, name="mini": None)
    monkeypatch.setattr(sam, "build", lambda *arguments: None)
    masks = AnnotatorSettings(boxes=boxes) if boxed else None
    drawers = ("student1", "student2", "student3")
    run = tiny_grid.run("mocl", "Students", "podocyte", 0).model_copy(update={"reference": reference, "masks": masks})
    given = task(run, cohort, tmp_path / "work")  # type: ignore[arg-type]
    place = study_run.perform(run, given, tmp_path / "results", tmp_path / "work")
    patches = {split: cohort.part(split, "podocyte") for split in ("train", "test")}  # type: ignore[arg-type]
    ((train, val),) = fits
    assert val == []
    expected = [patch.case(who) for patch, who in zip(patches["train"], drawers, strict=False)]
    if boxed:
        expected = [weak.case for weak in weak_cases(expected, None, boxes)]
    assert [case.name for case in train] == [case.name for case in expected]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(train, expected, strict=True))
    for row, patch in zip(pd.read_csv(place / "rows.csv").to_dict("records"), patches["test"], strict=True):
        case = patch.case(reference)
        scores = pixel.evaluate(Spy().predict(case.image), case.mask)
        assert (row["image"], row["dice"]) == (patch.name, pytest.approx(scores.dice, abs=1e-6))


def test_the_seed_decides_initial_weights_crops_and_dropout(tiny_grid: Profile) -> None:
    run = tiny_grid.grid()[0]
    first, again, other = (methods.build(run.model_copy(update={"seed": s}), "cpu") for s in (0, 0, 1))
    assert (first.seed, other.seed) == (0, 1)
    one, same, changed = (method.model.state_dict() for method in (first, again, other))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not all(torch.equal(value, changed[name]) for name, value in one.items())


def test_run_lengths_give_the_mask_back() -> None:
    mask = np.array([[True, True, False], [False, True, False]])
    assert encode(mask) == [0, 2, 2, 1, 1]
    for each in (mask, ~mask, np.zeros((2, 3), bool), np.ones((2, 3), bool)):
        assert np.array_equal(decode(encode(each), (2, 3)), each)
    with pytest.raises(ValueError, match="runs cover 5 pixels, expected 2 × 3"):
        decode([5], (2, 3))
