"""One frozen configuration per run; its hash names the run."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from allinsam_core.annotation import sam
from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.losses import LOSSES, MapSettings
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from allinsam_core.refinement.corrective import CorrectiveSettings
from allinsam_core.settings import Settings, SettingsError, later, nearest
from study import checkpoints, records
from study.allinsam import SamName
from study.data import DataSettings
from study.methods import Model
from study.multiclass import ClassSettings
from study.simulation.corrupt import NoiseLaw
from study.weak import WeakSettings

Label = Literal["complete", "weak"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]*$", max_length=80)]
"""Part of the name of a run and so of a folder: letters, digits, points, dashes and blanks."""


class AnnotatorSettings(Settings):
    """The SAM that turns boxes into the masks of label "weak", and how the boxes are drawn.

    name "ellipse": no SAM, the ellipse inscribed in each box.
    """

    name: SamName | Literal["ellipse"] = "mini"
    weights: str = "shipped"
    sha256: str = ""  # of the weights' file, so that other weights are another run; see `filled`
    boxes: WeakSettings = WeakSettings()
    depth: int | None = later(gt=0)  # as of `SamSettings`

    def build(self) -> sam.Sam | None:
        """The SAM, with its weights; None for the ellipse. Raises FileNotFoundError where they are not here."""
        return (
            None
            if self.name == "ellipse"
            else sam.build(self.name, checkpoints.file(self.weights, self.name), self.depth)
        )

    def filled(self) -> AnnotatorSettings:
        """With the checksum of the weights as they are on this machine."""
        return self.model_copy(
            update={"sha256": "" if self.name == "ellipse" else checkpoints.sha256(self.weights, self.name)}
        )


class NoiseSettings(Settings):
    """Errors put into the labels of training and validation: errors per nucleus, and their law."""

    rate: float = Field(ge=0, le=1)
    law: NoiseLaw = NoiseLaw()


class Run(Settings):
    """What decides the numbers of any run, whatever is learnt and scored.

    own: what differs from the profile, field by field, where someone asked for other settings.
    """

    NAMED: ClassVar = frozenset({"profile", "method", "seed", "base_weights", "own"})
    """Fields that are no settings: a run's parameters, and what is found out."""

    profile: Name
    method: Name
    seed: int = Field(default=0, ge=0, le=2**32 - 1)  # what numpy and torch both take
    model: Model
    base_weights: str = ""  # sha256 of the weights the model stands on; "" where there are none
    window: WindowSettings = WindowSettings()
    train: TrainSettings = TrainSettings()
    augment: AugmentSettings = AugmentSettings()
    instances: InstanceSettings = InstanceSettings()
    corrective: CorrectiveSettings | None = later()  # stage 3; None: plain training
    own: dict[str, Any] | None = later()

    @property
    def hash(self) -> str:
        """Names the run: `records.hash_of` all fields, later ones only where they are set."""
        return records.hash_of(self.model_dump(mode="json"))

    @property
    def run_id(self) -> str:
        return records.run_id(self.model_dump(mode="json"))

    @property
    def place(self) -> Path:
        """The run's folder, relative to that of all results."""
        return Path(self.profile, self.arm, "own" if self.own else "", self.run_id)

    @property
    def arm(self) -> str:
        """The folder of a grid's runs within its profile's; "" for the profile's own."""
        return ""

    @property
    def simulated(self) -> bool:
        """Whether the images are simulated."""
        return False

    def filled(self) -> Self:
        """With what only files can tell: the checksums of the weights as they are on this machine."""
        return self.model_copy(update={"base_weights": self.model.base_weights()})


class RunConfig(Run):
    """A run of nucleus segmentation: the paper's Tables 2 and 3 and what belongs to them."""

    NAMED: ClassVar = Run.NAMED | {"label", "fraction"}

    label: Label = "complete"
    fraction: float = Field(default=1.0, ge=0, le=1)  # of the training images
    data: DataSettings = DataSettings()
    annotator: AnnotatorSettings | None = None  # who made the labels; None: label "complete", the truth
    loss: str = "bce_iou"
    validation_loss: Literal["same", "double_sigmoid"] = "same"
    scored: Literal["test", "val"] = "test"  # choices are made on "val", before any score on "test"
    eight_bit: bool = True  # score probabilities as the 8-bit images the paper's evaluator read
    noise: NoiseSettings | None = later()  # None: labels without added errors
    # of the probability from which a pixel is nucleus: "val", the validation images; None: 0.5, as in the paper
    threshold_chosen_on: Literal["val"] | None = later(alias="threshold")
    instance_maps: MapSettings | None = later()  # None: the paper's one map
    validation_share: Literal["fraction"] | None = later()  # "fraction": as much of the validation images; None: all
    tuning: Literal["val"] | None = later()  # "val": `instances` is only where `study.tuning` starts from
    classes: ClassSettings | None = later()  # nuclei of several classes, judged as points; None: all of one kind

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, loss: str) -> str:
        if loss not in LOSSES:
            raise SettingsError(f"loss is {loss!r}; {nearest(loss, LOSSES)}")
        return loss

    @model_validator(mode="after")
    def _only_probabilities_have_a_threshold(self) -> RunConfig:
        if self.threshold_chosen_on is not None and self.model.kind in ("boxes", "ellipse"):
            raise ValueError(f"model {self.model.kind!r} marks masks, no probabilities; leave threshold unset")
        return self

    @model_validator(mode="after")
    def _only_trained_networks_have_instance_maps(self) -> RunConfig:
        if self.instance_maps is not None and self.model.kind in ("boxes", "ellipse", "otsu"):
            raise ValueError(f"model {self.model.kind!r} cannot learn instance maps; leave instance_maps unset")
        return self

    @model_validator(mode="after")
    def _classes_are_for_those_who_give_maps_of_them(self) -> RunConfig:
        if self.classes is None:
            return self
        if self.model.kind not in ("sam", "unet", "nnunet", "hue"):
            raise ValueError(f"model {self.model.kind!r} knows no classes; leave classes unset, or use sam or unet")
        if self.instance_maps is not None or self.noise is not None:
            raise ValueError("classes are neither learnt beside instance maps nor from labels with added errors")
        return self

    @model_validator(mode="after")
    def _weak_labels_have_an_annotator(self) -> RunConfig:
        if (self.label == "weak") != (self.annotator is not None):
            found = "no annotator" if self.annotator is None else f"annotator {self.annotator.name}"
            raise ValueError(f"label is {self.label!r} with {found}; weak labels, and only they, have an annotator")
        return self

    @property
    def arm(self) -> str:
        return "noise" if self.noise is not None else ""

    @property
    def simulated(self) -> bool:
        return self.data.source in ("simulated", "glomerulus")

    def filled(self) -> Self:
        annotator = self.annotator and self.annotator.filled()
        return super().filled().model_copy(update={"annotator": annotator})


def __getattr__(name: str) -> Any:
    """`Profile` and `profile` under their former address; they live in `study.grid`."""
    if name not in ("Profile", "profile"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("study.grid"), name)
