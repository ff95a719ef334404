"""One configuration, one hash; profiles; what is unknown is refused."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.losses import MapSettings
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from allinsam_core.refinement.corrective import CorrectiveSettings
from allinsam_core.settings import SettingsError
from study import records
from study.allinsam import MoclUNetSettings, SamSettings
from study.config import AnnotatorSettings, NoiseSettings, Run, RunConfig
from study.data import DataSettings
from study.molecular.config import MolecularConfig
from study.multiclass import ClassSettings
from study.rivals.beds import BedsSettings
from study.rivals.boxes import BoxesSettings, EllipseSettings
from study.rivals.lvit import LViTSettings
from study.rivals.nnunet import NnUNetSettings
from study.rivals.otsu import OtsuSettings
from study.rivals.unet import UNetSettings
from study.rivals.xie import PretextSettings, XieSettings

ROOT = Path(__file__).parents[2]
BASE = RunConfig(profile="smoke", method="unet", model=UNetSettings(channels=(4, 8)))
ANNOTATOR = AnnotatorSettings()
CHANGES: dict[str, dict[str, Any]] = {
    "profile": {"profile": "mini"},
    "method": {"method": "other"},
    "label": {"label": "weak", "annotator": ANNOTATOR},
    "annotator": {"label": "weak", "annotator": AnnotatorSettings(sha256="f00")},
    "fraction": {"fraction": 0.04},
    "seed": {"seed": 1},
    "base_weights": {"base_weights": "f00"},
    "data": {"data": DataSettings(crop=100)},
    "model": {"model": OtsuSettings()},
    "window": {"window": WindowSettings(field=128)},
    "train": {"train": TrainSettings(steps=7)},
    "augment": {"augment": AugmentSettings(zoom=0)},
    "loss": {"loss": "bce"},
    "validation_loss": {"validation_loss": "double_sigmoid"},
    "instances": {"instances": InstanceSettings(depth=2)},
    "scored": {"scored": "val"},
    "eight_bit": {"eight_bit": False},
    "corrective": {"corrective": CorrectiveSettings()},
    "noise": {"noise": NoiseSettings(rate=0.0)},
    "threshold_chosen_on": {"threshold_chosen_on": "val"},
    "instance_maps": {"instance_maps": MapSettings()},
    "classes": {"classes": ClassSettings(names=("a", "b")), "model": UNetSettings(channels=(4, 16))},
    "own": {"own": {"loss": "bce"}},
    "validation_share": {"validation_share": "fraction"},
    "tuning": {"tuning": "val"},
}


def changed(**fields: Any) -> RunConfig:
    return RunConfig.model_validate({**{k: getattr(BASE, k) for k in RunConfig.model_fields}, **fields})


def test_the_hash_is_of_the_canonical_json_and_survives_a_round_trip() -> None:
    dumped = BASE.model_dump(mode="json")
    assert not {"corrective", "noise", "threshold", "own"} & dumped.keys()  # the first records did not have them
    canonical = json.dumps(dumped, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(canonical.encode()).hexdigest()[:10] == BASE.hash
    backwards = json.loads(json.dumps(dict(reversed(dumped.items()))))
    assert RunConfig.model_validate(backwards).hash == BASE.hash
    assert changed().hash == BASE.hash
    assert BASE.run_id == f"unet-complete-1-s0-{BASE.hash}"
    assert changed(fraction=0.005, seed=2).run_id.startswith("unet-complete-0.005-s2-")


def test_every_committed_run_still_bears_the_hash_of_its_configuration() -> None:
    """All grids and all that was replaced: a change of a settings class that moves a hash orphans records."""
    results = ROOT / "results"
    found = {path: json.loads(path.read_text()) for path in sorted(results.rglob("run.json"))}
    runs = {path: record for path, record in found.items() if "profile" in record.get("config", {})}
    assert len(runs) >= 510
    others = found.keys() - runs.keys()  # measurements of mini-SAM, known by its weights, and of speed
    assert all({"mini_sam", "deepliif", "benchmarks"} & set(path.parts) for path in others)
    for path, record in runs.items():
        kind = MolecularConfig if "cell_type" in record["config"] else RunConfig
        config: Run = kind.model_validate(record["config"])
        assert path.parent.name == record["run_id"], path
        assert record["run_id"].endswith(f"-{record['config_hash']}"), path
        if "lvit_encoder_unnamed" in path.parts:  # superseded for lack of this very setting
            settings = config.model_dump(mode="json")
            assert settings["model"].pop("encoder") == "words"
            assert records.hash_of(settings) == record["config_hash"], path
            continue
        assert (config.hash, config.run_id) == (record["config_hash"], record["run_id"]), path
        if "superseded" not in path.parts:
            assert results / config.place == path.parent


def test_every_field_changes_the_hash() -> None:
    assert CHANGES.keys() == RunConfig.model_fields.keys()
    hashes = [BASE.hash, *(changed(**fields).hash for fields in CHANGES.values())]
    assert [h for h, n in Counter(hashes).items() if n > 1] == []


def other(value: Any, annotation: Any) -> Any:
    """A value of the same kind that differs."""
    given = [inner for each in get_args(annotation) for inner in (each, *get_args(each))]
    options = [o for o in given if isinstance(o, str) and o != value]
    if options:
        return options[0]
    if value is None and "tuple" in str(annotation):
        return (200,)
    if value is None:
        return True if "bool" in str(annotation) else "x" if "str" in str(annotation) else 200
    if isinstance(value, PretextSettings):
        return None
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 2  # an odd number of votes stays odd
    if isinstance(value, float):
        return value / 2 or 1.0
    if value == "monuseg":
        return "simulated"
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, BaseModel):
        first = next(iter(type(value).model_fields))
        return value.model_copy(update={first: getattr(value, first) + 1})
    return (*value, 3) if isinstance(value, tuple) else {**value, "size": 77}


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        ("data", DataSettings()),
        ("model", SamSettings()),
        ("model", UNetSettings()),
        ("model", OtsuSettings()),
        ("model", LViTSettings()),
        ("model", XieSettings()),
        ("model", BoxesSettings()),
        ("model", NnUNetSettings()),
        ("model", BedsSettings()),
        ("model", MoclUNetSettings()),
        ("corrective", CorrectiveSettings()),
        ("noise", NoiseSettings(rate=0.2)),
        ("window", WindowSettings()),
        ("train", TrainSettings()),
        ("augment", AugmentSettings()),
        ("instances", InstanceSettings()),
        ("instance_maps", MapSettings()),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, BaseModel) else v,
)
def test_every_setting_inside_changes_the_hash(where: str, settings: BaseModel) -> None:
    base = changed(**{where: settings}).hash
    for name, field in type(settings).model_fields.items():
        if name != "kind":
            value = other(getattr(settings, name), field.annotation)
            assert changed(**{where: settings.model_copy(update={name: value})}).hash != base, name


def test_a_copy_refuses_what_there_is_not() -> None:
    with pytest.raises(
        SettingsError, match=r"TrainSettings: unknown name 'learning_rat'; did you mean 'learning_rate'"
    ):
        BASE.train.model_copy(update={"learning_rat": 0.5})
    with pytest.raises(SettingsError, match=r"WindowSettings: overlap is 2, expected less than 1"):
        BASE.window.model_copy(update={"overlap": 2})
    assert BASE.train.model_copy(update={"steps": 7}).steps == 7
    assert BASE.model_copy() == BASE


def test_a_configuration_is_frozen_and_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError):
        BASE.seed = 3  # type: ignore[misc]
    for fields in ({"sede": 3}, {"train": {"setps": 3}}, {"model": {"kind": "unet", "depth": 3}}, {"loss": 3}):
        with pytest.raises(ValidationError):
            changed(**fields)
    with pytest.raises(ValidationError, match="resnet"):
        changed(model={"kind": "resnet"})


def test_weak_labels_and_only_they_have_an_annotator() -> None:
    with pytest.raises(ValidationError, match="weak labels, and only they"):
        changed(label="weak")
    with pytest.raises(ValidationError, match="weak labels, and only they"):
        changed(annotator=ANNOTATOR)


def test_a_threshold_is_for_methods_with_probabilities() -> None:
    with pytest.raises(ValidationError, match="'ellipse' marks masks, no probabilities; leave threshold unset"):
        changed(model=EllipseSettings(), threshold_chosen_on="val")
