"""Profiles: grids of runs, this study's and anyone's; settings of one's own; sentences for what cannot be."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from allinsam_core.annotation import sam
from allinsam_core.data.errors import DataError
from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.settings import SettingsError
from study import grid as study
from study.config import RunConfig
from study.grid import Profile
from study.tools.cli import app

ROOT = Path(__file__).parents[2]
TABLES = [name for name in study.names() if "/" not in name]
OWN: dict[str, Any] = {
    "name": "mine",
    "about": "for tests",
    "axes": {"label": ["complete"], "fraction": [1.0, 0.04], "seed": [0]},
    "common": {"data": {"source": "simulated"}, "train": {"steps": 3}},
    "methods": {"unet": {"model": {"kind": "unet", "channels": [4, 8]}}, "otsu": {"model": {"kind": "otsu"}}},
}


def test_merging_by_hand() -> None:
    base = {"train": {"steps": 3, "clip": 1}, "model": {"kind": "unet", "channels": [1]}, "loss": "bce"}
    own = {"train": {"steps": 5}, "model": {"kind": "otsu"}, "augment": {"zoom": 0}}
    assert study.merged(base, own) == {
        "train": {"steps": 5, "clip": 1},  # level by level
        "model": {"kind": "otsu"},  # replaced whole: a U-Net's channels mean nothing to Otsu
        "loss": "bce",
        "augment": {"zoom": 0},
    }
    assert base["train"] == {"steps": 3, "clip": 1}


# ---- profiles


@pytest.fixture
def any_weights(mini_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for checkpoints that are not here."""
    monkeypatch.setattr(sam, "weights_file", lambda weights, name="mini": mini_weights)
    return mini_weights


@pytest.mark.parametrize("name", TABLES)
def test_profiles_give_their_grid(name: str, any_weights: Path) -> None:
    profile = study.profile(name)
    grid = profile.grid()
    expected = 0
    for method in profile.methods:
        narrowed = profile.settings(method).get("axes", {})
        label, fraction, seed = (len(narrowed.get(axis, profile.axes[axis])) for axis in ("label", "fraction", "seed"))
        expected += label * fraction * seed
    assert len({run.run_id for run in grid}) == len(grid) == expected
    assert {run.method for run in grid} == set(profile.methods)
    assert {run.profile for run in grid} == {profile.name} == {name}
    if name in ("smoke", "mini", "paper"):  # the tables; the others are side studies
        assert {1.0, 0.04, 0.005} <= {run.fraction for run in grid}
    assert {run.scored for run in grid} == {"val" if name.endswith("choice") else "test"}
    assert all((run.annotator is not None) == (run.label == "weak") for run in grid)


def test_the_base_weights_are_part_of_a_run(mini_weights: Path) -> None:
    sha256 = hashlib.sha256(mini_weights.read_bytes()).hexdigest()
    profile = study.profile("smoke")
    assert profile.run("allinsam", "complete", 1.0, 0).base_weights == sha256
    assert profile.run("unet", "complete", 1.0, 0).base_weights == ""
    weak = profile.run("unet", "weak", 1.0, 0)
    assert weak.annotator is not None
    assert weak.annotator.sha256 == sha256  # else new weights would give new labels under the old hash
    assert profile.run("otsu", "complete", 0, 0).base_weights == ""
    assert study.profile("mini").run("scratch", "complete", 1.0, 0).base_weights == ""  # random weights
    assert profile.run("boxes", "complete", 0, 0).base_weights == sha256


def test_side_studies_change_one_thing(any_weights: Path) -> None:
    mini, off, draws = (study.profile(name) for name in ("mini", "ablation", "draws"))
    for run in off.grid():
        twin = mini.run(run.method.removesuffix("_scrambled"), run.label, run.fraction, run.seed)
        if run.method == "allinsam_scrambled":
            model = twin.model.model_copy(update={"scrambled": True})
            twin = twin.model_copy(update={"method": run.method, "model": model})
        assert run == twin.model_copy(update={"profile": "ablation", "augment": run.augment})
        assert run.augment == AugmentSettings(turns=False, zoom=0, stain=0, shift=0, blur=0, noise=0)
    runs = draws.grid()
    assert {(run.label, run.fraction) for run in runs} == {("complete", 0.005)}
    for method in ("allinsam", "unet"):
        assert len({run.seed for run in runs if run.method == method}) >= 20
        short, full = (p.run(method, "complete", 0.005, 0) for p in (draws, mini))
        assert short.train.steps * 5 == full.train.steps
        assert (short.model, short.augment, short.train.learning_rate) == (
            full.model,
            full.augment,
            full.train.learning_rate,
        )


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLINSAM_CACHE", str(tmp_path))
    run = study.profile("paper").run("allinsam", "complete", 1.0, 2023)  # planned by the manifest's checksum
    with pytest.raises(FileNotFoundError, match=r"sam_vit_h_4b8939\.pth.*allinsam data fetch"):
        run.model.build(run, "cpu")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A profile of one's own, somewhere."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(OWN, sort_keys=False))
    return path


def test_any_file_is_a_profile(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = study.profile(own)
    assert [(run.method, run.fraction) for run in profile.grid()] == [
        ("unet", 1.0), ("unet", 0.04), ("otsu", 1.0), ("otsu", 0.04)
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert study.profile("mine.yaml") == profile  # beside the notebook that runs there
    assert profile.grid()[0].place == Path("mine", profile.grid()[0].run_id)
    own.write_text(yaml.safe_dump({**OWN, "axes": {"seed": [0], "fraction": [1.0, 0.04], "label": ["complete"]}}))
    assert {*study.profile(own).points()} == {*profile.points()}  # whatever the order in the file
    assert profile.run("unet", seed=0, label="complete", fraction=1.0) == profile.grid()[0]


def test_a_value_of_an_axis_brings_settings_and_a_method_its_own_above_them() -> None:
    early = {"train": {"learning_rate": 0.5, "steps": 2}}
    own = {"model": {"kind": "unet", "channels": [4, 8]}, "train": {"learning_rate": 0.1}}
    methods = {"unet": {**own, "axes": {"fraction": {1.0: {}, 0.04: {"train": {"learning_rate": 0.2}}}}}}
    axes = {**OWN["axes"], "fraction": {1.0: {}, 0.04: early}}
    found = Profile.model_validate({**OWN, "axes": axes, "methods": {**methods, "otsu": OWN["methods"]["otsu"]}})
    assert [(run.fraction, run.train.learning_rate, run.train.steps) for run in found.grid()] == [
        (1.0, 0.1, 3),
        (0.04, 0.2, 2),  # the method's own for this share, above the axis's and above its own for all
        (1.0, 2e-4, 3),
        (0.04, 0.5, 2),
    ]
    assert found.run("unet", "complete", 0.25, 0).train.steps == 3  # a number that the axis does not list has none


def test_a_method_is_like_another_and_narrows_the_axes() -> None:
    methods = {**OWN["methods"], "wide": {"like": "unet", "train": {"steps": 9}, "axes": {"fraction": [1.0]}}}
    profile = Profile.model_validate({**OWN, "methods": methods})
    unet, wide = (profile.run(method, "complete", 1.0, 0) for method in ("unet", "wide"))
    assert (wide.model, wide.train.steps) == (unet.model, 9)
    assert [point for point in profile.points() if point[0] == "wide"] == [("wide", "complete", 1.0, 0)]


def test_settings_of_ones_own_are_laid_over_and_kept_apart(own: Path) -> None:
    profile = study.profile(own)
    plain = profile.run("unet", "complete", 1.0, 0)
    asked = {"train": {"learning_rate": 0.5}, "steps": 9, "loss": "bce", "model": {"channels": [4, 8, 16]}}
    run = profile.run("unet", "complete", 1.0, 0, settings=asked)
    assert (run.train.learning_rate, run.train.steps, run.loss) == (0.5, 9, "bce")  # type: ignore[attr-defined]
    assert run.own == {
        "train": {"learning_rate": 0.5, "steps": 9}, "loss": "bce", "model": {"channels": [4, 8, 16]}
    }  # fmt: skip
    assert run.hash != plain.hash
    assert run.place == Path("mine", "own", run.run_id)  # beside the profile's own runs, not among them
    assert profile.run("unet", "complete", 1.0, 0, settings={"lr": plain.train.learning_rate}) == plain
    assert profile.run("unet", "complete", 1.0, 0, settings={}) == plain
    text = "{train: {learning_rate: 0.5}, steps: 9, loss: bce, model: {channels: [4, 8, 16]}}"
    assert profile.run("unet", "complete", 1.0, 0, settings=text) == run


def test_a_threshold_says_of_what_and_keeps_its_name_in_records(own: Path) -> None:
    profile = study.profile(own)
    names = [
        {"instances": {"foreground_threshold": 0.4}},
        {"foreground_threshold": 0.4},
        {"instances": {"threshold": 0.4}},
    ]
    runs = [profile.run("unet", "complete", 1.0, 0, settings=each) for each in names]
    assert {run.hash for run in runs} == {runs[0].hash}
    assert runs[0].instances.foreground_threshold == 0.4
    assert runs[0].own == {"instances": {"threshold": 0.4}}
    chosen = [
        profile.run("otsu", "complete", 1.0, 0, settings={n: "val"}) for n in ("threshold", "threshold_chosen_on")
    ]
    assert chosen[0] == chosen[1]
    assert chosen[0].model_dump(mode="json")["threshold"] == "val"


# ruff: noqa: E501
SENTENCES = [
    (("unet", "complete", 1.0, 0), {"learning_rat": 0.5}, "settings: unknown name 'learning_rat'; did you mean 'train.learning_rate'?"),
    (("unet", "complete", 1.0, 0), {"train": {"learning_rat": 0.5}}, "settings: unknown name 'learning_rat' in train; did you mean 'learning_rate'?"),
    (("unet", "complete", 1.0, 0), {"model": {"chanels": [4]}}, "settings: model: unknown name 'chanels'; did you mean 'channels'?"),
    (("unet", "complete", 1.0, 0), {"seed": 3}, "settings: seed is no setting but a parameter of the run; give it there"),
    (("unet", "complete", 1.0, 0), {"train": {"steps": -5}}, "settings: train.steps is -5, expected greater than 0"),
    (("unet", "complete", 1.0, 0), {"loss": "bse"}, "settings: loss is 'bse'; did you mean 'bce'?"),
    (("unet", "complete", 1.0, 0), {"data": {"source": "monusag"}}, "settings: data.source is 'monusag'; did you mean 'monuseg'?"),
    (("unet", "foo", 1.0, 0), None, "profile mine, method unet: label is 'foo', expected 'complete' or 'weak'"),
    (("unet", "weak", 1.0, 0), None, "profile mine, method unet: label is 'weak' with no annotator; weak labels, and only they, have an annotator"),
    (("unet", "complete", 2, 0), None, "profile mine, method unet: fraction is 2, expected less than or equal to 1"),
    (("unet", "complete", 1.0, -1), None, "profile mine, method unet: seed is -1, expected greater than or equal to 0"),
    (("unet", "complete", 1.0, "abc"), None, "profile mine, method unet: seed is 'abc', expected a valid integer"),
    (("unnet", "complete", 1.0, 0), None, "profile mine has no method 'unnet'; did you mean 'unet'?"),
    (("unet", "complete", 1.0), None, "profile mine: expected one value for each of label, fraction, seed, found label, fraction"),
]  # fmt: skip


@pytest.mark.parametrize(("point", "settings", "sentence"), SENTENCES, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_said_in_one_sentence(point: tuple, settings: dict | None, sentence: str) -> None:
    profile = Profile.model_validate(OWN)
    with pytest.raises(SettingsError) as error:
        profile.run(*point, settings=settings)
    assert str(error.value) == sentence


def test_a_notebook_shows_the_sentence_alone() -> None:
    with pytest.raises(SettingsError) as error:
        study.profile("smoke").run("unet", "foo", 1.0, 0)
    assert error.value._render_traceback_() == ["SettingsError: label is 'foo'; expected one of complete, weak"]


def changed(**fields: Any) -> str:
    return yaml.safe_dump({**OWN, **fields}, sort_keys=False)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (changed(sedes=[1]), "mine.yaml: unknown name 'sedes'; expected one of name, about"),
        (changed(name="../../escaped"), "mine.yaml: name is '../../escaped', expected"),
        (changed(name="mini"), "mine.yaml: name is 'mini', a folder of this study's results; give yours another"),
        (changed(methods={"a/b": {}}), "mine.yaml: methods.a/b.[key] is 'a/b', expected"),
        (changed(methods={"x": {"like": "y"}}), "mine.yaml: methods.x is like 'y', expected a method that stands before"),
        (changed(methods={"x": {"axes": {"labl": []}}}), "mine.yaml: methods.x has the axis 'labl'; did you mean 'label'?"),
        ("a: &a [x, x]\nb: [*a, *a]", "mine.yaml, line 2: not valid YAML, the alias *a; write out what it stands for"),
        ("a: 1\na: 2", "mine.yaml, line 1: not valid YAML, given twice: a"),
        ("a: [", "mine.yaml, line 1: not valid YAML"),
        ("just text", "mine.yaml: holds str, expected name, about, axes, common and methods"),
        ("", "mine.yaml: holds NoneType, expected name"),
        ("a: !!python/object/apply:os.system [ls]", "mine.yaml, line 1: not valid YAML, could not determine a constructor"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_profile_is_named_with_what_is_wrong(text: str, sentence: str, own: Path) -> None:
    own.write_text(text)
    with pytest.raises((SettingsError, DataError)) as error:
        study.profile(own)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_aliases_that_stand_for_gigabytes_are_refused_at_once(own: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    own.write_text("\n".join(lines))
    with pytest.raises(DataError, match="line 2: not valid YAML, the alias"):
        study.profile(own)


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_named(own: Path, any_weights: Path) -> None:
    own.write_bytes(b"name: \xff")
    with pytest.raises(DataError, match=r"mine\.yaml: not UTF-8 at byte 6"):
        study.profile(own)
    with pytest.raises(SettingsError, match=r"^yours\.yaml: no such file in "):
        study.profile("yours.yaml")
    with pytest.raises(
        SettingsError, match=r"there is no profile 'mni'; did you mean 'mini'\?, or the path of a YAML file"
    ):
        study.profile("mni")


def test_what_the_package_reads_travels_with_it() -> None:
    import tomllib

    root = Path(study.__file__).parents[1]
    data = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for name in ("allinsam_core", "study"):
        shipped = {path for pattern in data[name] for path in (root / name).glob(pattern)}
        files = {p for p in (root / name).rglob("*.*") if p.is_file() and p.suffix not in (".py", ".pyc", ".md")}
        files = {p for p in files if "source" not in p.parts}  # of the annotator, whose bundle travels
        assert files - shipped == set()


def test_the_threshold_profile_repeats_the_runs_of_mini(any_weights: Path) -> None:
    mini, apart = study.profile("mini"), {"profile", "threshold_chosen_on"}
    for again in study.profile("threshold").grid():
        first = mini.run(again.method, again.label, again.fraction, again.seed)
        assert again.model_dump(exclude=apart) == first.model_dump(exclude=apart)
        assert (first.threshold_chosen_on, again.threshold_chosen_on) == (None, "val")


def test_an_ellipse_as_annotator_has_no_weights() -> None:
    grid = study.profile("mini")
    run, usual = (grid.run("unet", "weak", 1.0, 0, settings=own) for own in ({"annotator": {"name": "ellipse"}}, None))
    assert run.annotator.sha256 == ""  # type: ignore[attr-defined]
    assert run.hash != usual.hash


@pytest.mark.parametrize(("arm", "axis"), [("noise", "noise.rate"), ("molecular", "annotator")])
def test_an_arm_takes_any_file_with_its_axis(tmp_path: Path, any_weights: Path, arm: str, axis: str) -> None:
    assert study.of_arm(arm, "smoke", axis) == study.profile(f"{arm}/smoke")
    own = tmp_path / "own.yaml"
    own.write_text(f"like: {arm}/smoke\nname: mine\n", encoding="utf-8")
    assert study.of_arm(arm, own, axis) == study.profile(own)
    with pytest.raises(SettingsError, match=rf"choice: no axis {axis}; expected .*smoke, or the path of a YAML file"):
        study.of_arm(arm, "choice", axis)
    with pytest.raises(SettingsError, match="there is no profile 'smokee'; did you mean 'smoke'"):
        study.of_arm(arm, "smokee", axis)


def test_noise_runs_a_file_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Profile] = []
    monkeypatch.setattr("study.run.execute_grid", lambda profile, *_, **__: asked.append(profile) or [tmp_path / "a"])
    (tmp_path / "own.yaml").write_text("like: noise/smoke\nname: mine\n", encoding="utf-8")
    for name in (str(tmp_path / "own.yaml"), "smoke"):
        done = CliRunner().invoke(app, ["noise", "--profile", name])
        assert done.exit_code == 0, done.output
    assert [profile.name for profile in asked] == ["mine", "smoke"]


@pytest.mark.parametrize("name", ["noise/smoke", "noise/mini"])
def test_the_grid_of_label_errors_differs_in_nothing_but_what_is_compared(name: str) -> None:
    profile = study.profile(name)
    grid = [run for run in profile.grid() if isinstance(run, RunConfig)]
    sources, rates = profile.axes["data.source"], profile.axes["noise.rate"]
    assert len(grid) == len(profile.grid()) == len(sources) * len(rates) * len(profile.methods) * len(profile.seeds)
    assert len({run.place for run in grid}) == len(grid)
    for source in sources:
        own = [run for run in grid if run.data.source == source]
        alike = {"method", "seed", "corrective", "noise"}
        shared = [run.model_dump(exclude=alike, mode="json") for run in own]
        assert all(each == shared[0] for each in shared)
        assert {run.noise.rate for run in own if run.noise} == set(rates)
        assert all(run.corrective is not None and run.corrective.variant == run.method for run in own)
    assert {"none", "ours", "molecular_el"} <= profile.methods.keys()
    assert 0 in rates
    assert all(run.scored == "test" and run.train.validate_every == 0 for run in grid)  # nothing chosen on noisy labels
    assert len(profile.seeds) >= (3 if name == "noise/mini" else 1)
    first = grid[0]
    assert first.place.parts[:2] == (profile.name, "noise")
    assert first.run_id == f"{first.data.source}-{first.method}-0-s0-{first.hash}"


def test_a_dotted_axis_says_its_values() -> None:
    profile = study.profile("noise/smoke")
    with pytest.raises(SettingsError, match=r"data\.source is 'dsb2018'; expected one of simulated, glomerulus"):
        profile.run("none", "dsb2018", 0.2, 0)
    with pytest.raises(SettingsError, match=r"noise\.rate is 1\.2, expected less than or equal to 1"):
        profile.run("none", "simulated", 1.2, 0)


def test_a_profile_is_laid_over_the_one_that_it_is_like() -> None:
    paper, small = study.profile("paper"), study.profile("paper-b")
    assert small.points() == paper.points()
    ours, theirs = (each.run("allinsam", "weak", 1.0, 2023).model_dump() for each in (small, paper))
    assert (ours["model"]["name"], ours["train"]["activations"], ours["train"]["precision"]) == (
        "vit_b",
        "recomputed",
        "bf16",
    )
    assert theirs["train"].get("activations") is None
    assert ours["annotator"]["weights"] == ours["model"]["weights"] == "sam-vit-b"
    assert ours["window"] == theirs["window"]
    assert ours["train"]["steps"] == theirs["train"]["steps"]


def test_a_profile_like_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nabout: x\nlike: papr\n")
    with pytest.raises(SettingsError, match=r"mine\.yaml: is like 'papr'; did you mean 'paper"):
        study.profile(tmp_path / "mine.yaml")
