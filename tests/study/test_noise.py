"""The experiment on label noise: its grid, what a run learns from, and that it goes on where it stopped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from allinsam_core.data import monuseg, simulate
from allinsam_core.data.corrupt import corrupt
from allinsam_core.study import noise, records, run
from allinsam_core.study.config import DataSettings, RunConfig

TINY = {
    "data": {"simulated": {"train": 2, "val": 1, "test": 2, "size": 48}},
    "window": {"field": 16, "size": 16},
    "train": {"steps": 2, "batch_size": 1, "warmup": 0},
}


@pytest.fixture
def tiny() -> noise.NoiseProfile:
    smoke = noise.profile("smoke")
    common = {**smoke.common, **{k: TINY[k] for k in ("window", "train")}}
    data = {"simulated": {"data": TINY["data"]}}
    return smoke.model_copy(update={"common": common, "data": data, "rates": (1.0,), "variants": ("none", "ours")})


@pytest.mark.parametrize("name", ["smoke", "mini"])
def test_the_grid_differs_in_nothing_but_what_is_compared(name: str) -> None:
    profile = noise.profile(name)
    grid = profile.grid()
    assert len(grid) == len(profile.data) * len(profile.rates) * len(profile.variants) * len(profile.seeds)
    assert [place for place, n in Counter(c.place for c in grid).items() if n > 1] == []
    for source in profile.data:
        own = [c for c in grid if c.data.source == source]
        alike = {"method", "seed", "corrective", "noise"}
        shared = [c.model_dump(exclude=alike, mode="json") for c in own]
        assert all(s == shared[0] for s in shared)
        assert {c.corrective.variant for c in own} == set(profile.variants)  # type: ignore[union-attr]
        assert all(c.corrective.variant == c.method for c in own)  # type: ignore[union-attr]
        assert {c.noise.rate for c in own} == set(profile.rates)  # type: ignore[union-attr]
    assert {"none", "ours", "molecular_el"} <= set(profile.variants)
    assert 0 in profile.rates
    assert all(c.scored == "test" and c.train.validate_every == 0 for c in grid)  # nothing selected on noisy labels
    assert len(profile.seeds) >= (3 if name == "mini" else 1)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one of smoke, mini"):
        noise.profile("paper")
    with pytest.raises(ValueError, match="no data 'dsb2018'; it has simulated, glomerulus"):
        noise.profile("smoke").run("dsb2018", 0.2, "none", 0)
    with pytest.raises(ValidationError):
        noise.profile("smoke").run("simulated", 1.2, "none", 0)


def test_a_noisy_run_lies_apart_from_table_3(tiny: noise.NoiseProfile) -> None:
    config = tiny.run("simulated", 0.5, "ours", 1)
    assert config.place.parts[:2] == ("smoke", "noise")
    assert config.run_id == f"simulated-ours-0.5-s1-{config.hash}"
    assert config.simulated
    plain = RunConfig.model_validate({**config.model_dump(), "noise": None})
    assert plain.place == Path("smoke", plain.run_id)


def test_learning_sees_errors_and_scoring_the_truth(tiny: noise.NoiseProfile, tmp_path: Path) -> None:
    config = tiny.run("simulated", 0.9, "ours", 3, data={"simulated": {"size": 64}})
    data = run.cases(config.data, None)
    drawn = run.annotated(config, data["train"], tmp_path)
    for case, noisy in zip(data["train"], drawn, strict=True):
        assert np.array_equal(noisy.instances, corrupt(case, 0.9, 3).instances)
    assert any(not np.array_equal(a.instances, b.instances) for a, b in zip(data["train"], drawn, strict=True))
    other = run.annotated(tiny.run("simulated", 0.9, "none", 3), data["train"], tmp_path)
    assert all(np.array_equal(a.instances, b.instances) for a, b in zip(drawn, other, strict=True))

    seen: list[np.ndarray] = []

    class Truthful:
        def predict(self, image: np.ndarray) -> np.ndarray:
            case = next(c for c in data["test"] if c.image is image)
            seen.append(case.instances)
            return case.mask.astype(np.float32)

    rows = run.score(config, Truthful(), data["test"])  # type: ignore[arg-type]
    assert rows["dice"].tolist() == [1.0] * len(data["test"]) == [1.0] * len(seen)


def test_the_grid_goes_on_where_it_stopped(
    tiny: noise.NoiseProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "profile", lambda name: tiny)
    executed, read = [], []
    execute, cases = run.execute, run.cases
    monkeypatch.setattr(run, "execute", lambda c, *a, **k: executed.append(c.method) or execute(c, *a, **k))
    monkeypatch.setattr(run, "cases", lambda *a: read.append(a) or cases(*a))
    folders = noise.execute("smoke", tmp_path / "results", tmp_path / "work", device="cpu")
    assert executed == ["none", "ours"]
    assert len(read) == 1
    record = records.read(folders[1] / "run.json")
    assert record["config"]["corrective"]["variant"] == "ours"
    assert record["simulated"] is True
    assert record["label_dice"] < 0.99
    assert record["parameters"]["trained"] > 1_000_000
    (folders[1] / "run.json").unlink()
    assert noise.execute("smoke", tmp_path / "results", tmp_path / "work", device="cpu") == folders
    assert executed == ["none", "ours", "ours"]
    first, second = (pd.read_csv(folder / "rows.csv") for folder in folders)
    assert first["image"].tolist() == second["image"].tolist()
    assert not first["auc"].equals(second["auc"])  # after the warm-up the losses part


def test_the_cohorts_podocytes() -> None:
    counts = {"podocyte": 6, "mesangial": 0, "slides": 6, "injured": 2, "size": 128}
    data = run.cases(DataSettings(source="glomerulus", simulated=counts), None)
    assert sum(map(len, data.values())) == 6
    patients = [{c.patient for c in part} for part in data.values()]
    assert all(patients)
    assert not patients[0] & patients[2]
    assert all(c.instances.shape == (128, 128) and c.spacing == 0.5 for part in data.values() for c in part)


def test_monuseg_at_half_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = {split: [simulate.tile(i, size=64)] for i, split in enumerate(("train", "val", "test"))}
    monkeypatch.setattr(monuseg, "load", lambda folder, split: tiles[split])
    monkeypatch.setattr(run.splits, "refuse_overlap", lambda **found: None)
    found = run.cases(DataSettings(source="monuseg_20x"), Path())
    whole, half = tiles["val"][0], found["val"][0]
    assert half.instances.shape == (32, 32)
    assert half.spacing == 2 * whole.spacing
    assert run.cases(DataSettings(), Path())["val"] == [whole]


def test_every_data_set_is_read_once_and_given_to_its_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    given: list[tuple[str, object]] = []
    monkeypatch.setattr(run, "cases", lambda data, root: read.append(data.source) or data.source)
    monkeypatch.setattr(run, "execute", lambda config, *a, data: given.append((config.data.source, data)) or tmp_path)
    noise.execute("smoke", tmp_path / "results", tmp_path / "work")
    assert read == list(noise.profile("smoke").data)
    assert len(read) > 1
    assert all(source == images for source, images in given)
    assert len(given) == len(noise.profile("smoke").grid())
