"""One frozen configuration per run; its hash names the run. Profiles say what a study consists of."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from allinsam_core.annotation.weak import WeakSettings
from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.losses import MapSettings
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from allinsam_core.refinement.corrective import CorrectiveSettings
from allinsam_core.refinement.method import MoclUNetSettings
from study.records import hash_of
from study.rivals.beds import BedsSettings
from study.rivals.boxes import BoxesSettings, EllipseSettings
from study.rivals.lvit import LViTSettings
from study.rivals.nnunet import NnUNetSettings
from study.rivals.otsu import OtsuSettings
from study.rivals.unet import UNetSettings
from study.rivals.xie import XieSettings
from study.simulation.corrupt import NoiseLaw

ProfileName = Literal["smoke", "choice", "mini", "labels", "ablation", "draws", "longer", "threshold", "paper"]
PROFILES = get_args(ProfileName)
Label = Literal["complete", "weak"]
# not in the first records: unset, they leave a run's hash as it was
LATER_FIELDS = ("corrective", "noise", "threshold", "instance_maps", "tuning")


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SamSettings(Frozen):
    """All-in-SAM and its relatives. weights: "shipped" is our mini-SAM, "random" none, else a checkpoint's path."""

    kind: Literal["sam"] = "sam"
    name: Literal["mini", "vit_b", "vit_l", "vit_h"] = "mini"
    weights: str = "shipped"
    placement: Literal["all", "late", "none"] = "all"
    reduction: int = 32
    zero_init: bool = False
    as_released: bool = False
    trainable: Literal["adapter", "everything"] = "adapter"


class AnnotatorSettings(Frozen):
    """The SAM that turns boxes into the masks of label "weak", and how the boxes are drawn.

    name "ellipse": no SAM, the ellipse inscribed in each box.
    """

    name: Literal["mini", "vit_b", "vit_l", "vit_h", "ellipse"] = "mini"
    weights: str = "shipped"
    sha256: str = ""  # of the weights' file, so that other weights are another run; filled in by Profile.run
    boxes: WeakSettings = WeakSettings()


class DataSettings(Frozen):
    """Which images. The fraction's rule and crop side are our reading of the paper's 4 % and 0.5 %.

    source: "monuseg_20x" is MoNuSeg at half its resolution; "glomerulus" the simulated cohort's podocytes, with
    `simulated` as the arguments of `glomerulus.cohort`.
    """

    source: Literal["monuseg", "monuseg_20x", "simulated", "glomerulus"] = "monuseg"
    rule: Literal["crops", "whole_image"] = "crops"
    crop: int = 200  # px
    simulated: dict[str, int] = Field(default_factory=lambda: {"train": 6, "val": 2, "test": 4, "size": 256})


class NoiseSettings(Frozen):
    """Errors put into the labels of training and validation: share of nuclei that give rise to one, and their law."""

    rate: float = Field(ge=0, le=1)
    law: NoiseLaw = NoiseLaw()


AnyModel = (
    SamSettings
    | UNetSettings
    | OtsuSettings
    | MoclUNetSettings
    | BoxesSettings
    | EllipseSettings
    | LViTSettings
    | XieSettings
    | NnUNetSettings
    | BedsSettings
)
Model = Annotated[AnyModel, Field(discriminator="kind")]


class RunConfig(Frozen):
    """Everything that decides a run's numbers."""

    profile: ProfileName
    method: str
    label: Label = "complete"
    fraction: float = 1.0
    seed: int = 0
    base_weights: str = ""  # sha256 of the weights the model stands on; "" where there are none
    data: DataSettings = DataSettings()
    annotator: AnnotatorSettings | None = None  # who made the labels; None: label "complete", the truth
    model: Model
    window: WindowSettings = WindowSettings()
    train: TrainSettings = TrainSettings()
    augment: AugmentSettings = AugmentSettings()
    loss: str = "bce_iou"
    validation_loss: Literal["same", "double_sigmoid"] = "same"
    instances: InstanceSettings = InstanceSettings()
    scored: Literal["test", "val"] = "test"  # choices are made on "val", before any score on "test"
    eight_bit: bool = True  # score probabilities as the 8-bit images the paper's evaluator read
    corrective: CorrectiveSettings | None = None  # stage 3; None: plain training
    noise: NoiseSettings | None = None  # None: labels without added errors
    threshold: Literal["val"] | None = None  # "val": chosen on the validation images; None: 0.5, as in the paper
    instance_maps: MapSettings | None = None  # None: the paper's one map
    tuning: Literal["val"] | None = None  # "val": `instances` is only where `study.tuning` starts from

    @model_validator(mode="after")
    def _only_probabilities_have_a_threshold(self) -> RunConfig:
        if self.threshold is not None and self.model.kind in ("boxes", "ellipse"):
            raise ValueError(f"model {self.model.kind!r} marks masks, no probabilities; leave threshold unset")
        return self

    @model_validator(mode="after")
    def _only_trained_networks_have_instance_maps(self) -> RunConfig:
        if self.instance_maps is not None and self.model.kind in ("boxes", "ellipse", "otsu", "nnunet"):
            raise ValueError(f"model {self.model.kind!r} cannot learn instance maps; leave instance_maps unset")
        return self

    @model_validator(mode="after")
    def _weak_labels_have_an_annotator(self) -> RunConfig:
        if (self.label == "weak") != (self.annotator is not None):
            raise ValueError(
                f"label {self.label!r} with annotator {self.annotator}: weak labels, and only they, have one"
            )
        return self

    @property
    def hash(self) -> str:
        """Names the run; `records.hash_of` all fields, later ones only where they are set."""
        settings = self.model_dump(mode="json")
        unset = {name for name in LATER_FIELDS if settings[name] is None}
        return hash_of({name: value for name, value in settings.items() if name not in unset})

    @property
    def run_id(self) -> str:
        if self.noise is not None:
            return f"{self.data.source}-{self.method}-{self.noise.rate:g}-s{self.seed}-{self.hash}"
        return f"{self.method}-{self.label}-{self.fraction:g}-s{self.seed}-{self.hash}"

    @property
    def place(self) -> Path:
        """The run's folder, relative to that of all results."""
        return Path(self.profile, *(["noise"] if self.noise is not None else []), self.run_id)

    @property
    def simulated(self) -> bool:
        return self.data.source in ("simulated", "glomerulus")


class Profile(Frozen):
    """A grid of runs. common: fields of RunConfig; methods: per method, what differs from `common`."""

    name: ProfileName
    about: str
    labels: tuple[Label, ...]
    fractions: tuple[float, ...]
    seeds: tuple[int, ...]
    common: dict[str, Any]
    methods: dict[str, dict[str, Any]]

    def run(self, method: str, label: str, fraction: float, seed: int) -> RunConfig:
        """The configuration of one run. A method's settings override the common ones, field by field."""
        if method not in self.methods:
            raise ValueError(f"profile {self.name} has no method {method!r}; it has {', '.join(self.methods)}")
        settings = merged(self.common, self.methods[method])
        for narrowed in ("labels", "fractions", "seeds"):
            settings.pop(narrowed, None)
        annotator = settings.pop("annotator", None)
        if label == "weak" and annotator is not None:
            kind = "none" if annotator["name"] == "ellipse" else "sam"
            settings["annotator"] = {**annotator, "sha256": base_weights({"kind": kind, **annotator})}
        named = {"profile": self.name, "method": method, "label": label, "fraction": fraction, "seed": seed}
        return RunConfig.model_validate({**settings, **named, "base_weights": base_weights(settings["model"])})

    def grid(self) -> list[RunConfig]:
        """Every run of the profile. A method may narrow labels, fractions or seeds that mean nothing to it."""
        runs = []
        for method, own in self.methods.items():
            axes = (own.get(name, getattr(self, name)) for name in ("labels", "fractions", "seeds"))
            runs += [self.run(method, *point) for point in product(*axes)]
        return runs


def profile(name: str) -> Profile:
    """Read `profiles/<name>.yaml`. Raises ValueError for an unknown name or field."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; expected one of {', '.join(PROFILES)}")
    source = files("study") / "profiles" / f"{name}.yaml"
    try:
        return Profile.model_validate(yaml.safe_load(source.read_text()))
    except ValidationError as error:
        raise ValueError(f"{source}: {error}") from error


def merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`base` with `own` laid over it, level by level. A `model` is replaced whole."""
    result = dict(base)
    for key, value in own.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict) and key != "model"
        result[key] = merged(result[key], value) if nested else value
    return result


def base_weights(model: dict[str, Any]) -> str:
    """sha256 of the file a model's weights come from; "" for random weights and models without any."""
    if model.get("kind") not in ("sam", "boxes") or model.get("weights", "shipped") == "random":
        return ""
    from allinsam_core.annotation.sam import weights_file

    with open(weights_file(model.get("weights", "shipped")), "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
