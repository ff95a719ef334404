"""From a configuration to a method ready to fit. A method's settings know how to build it.

A new method is a file in `study/rivals` with a `MethodSettings` (for a network, `NetworkSettings`) of its own `kind`,
and a line in `KINDS`. A profile then names it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import torch
from lightning_fabric.accelerators import ACCELERATOR_REGISTRY
from pydantic import BaseModel, BeforeValidator, SerializeAsAny
from torch import nn

from allinsam_core.learning.instances import MAPS
from allinsam_core.learning.method import Method, NetworkMethod
from allinsam_core.settings import Settings, SettingsError, nearest, validated
from study.multiclass import MulticlassMethod

if TYPE_CHECKING:
    from study.config import Run

# a kind of model → the module that holds its settings; imported when a run asks for it
KINDS = {
    "sam": "study.allinsam",
    "mocl_unet": "study.allinsam",
    "unet": "study.rivals.unet",
    "imagenet_unet": "study.rivals.imagenet_unet",
    "nnunet": "study.rivals.nnunet",
    "beds": "study.rivals.beds",
    "lvit": "study.rivals.lvit",
    "xie": "study.rivals.xie",
    "otsu": "study.rivals.otsu",
    "hue": "study.rivals.hue",
    "boxes": "study.rivals.boxes",
    "ellipse": "study.rivals.boxes",
}
# what a network method takes from a run
SHARED = ("window", "train", "augment", "loss", "validation_loss", "instance_maps", "seed")


class MethodSettings(Settings):
    """The settings of one kind of method, and how it is built."""

    kind: str

    def build(self, run: Run, device: str) -> Method:
        """The method of a run, untrained. device: as for `build` below."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its method is built")

    def base_weights(self) -> str:
        """sha256 of the file of weights that the method stands on; "" where there is none."""
        return ""


class NetworkSettings(MethodSettings):
    """The settings of a network (B, 3, S, S) in [0, 1] → logits (B, 1, S, S), trained by the common loop."""

    def initial(self, outputs: int = 1) -> nn.Module:
        """The network, its random weights taken from torch's present state. outputs: maps that it gives."""
        raise NotImplementedError(f"{type(self).__name__} does not say which network it means")

    def form(self) -> type[NetworkMethod]:
        """How it is trained and asked: the class of its method."""
        return NetworkMethod

    def network(self, seed: int, outputs: int = 1) -> nn.Module:
        """The network with the initial weights that `seed` gives. outputs: 1, or 1 + MAPS with instance maps."""
        torch.manual_seed(seed)
        return self.initial(outputs)

    def build(self, run: Run, device: str) -> NetworkMethod:
        if run.corrective is not None:
            raise ValueError(f"model {self.kind!r} gives no embedding to correct by; expected sam or mocl_unet")
        network, classes = self.network(run.seed, outputs_of(run)), getattr(run, "classes", None)
        if classes is not None:
            return MulticlassMethod(network, **shared(run, device), classes=classes)
        return self.form()(network, **shared(run, device))


def outputs_of(run: Run) -> int:
    """How many maps the run's network gives: the probability's, and with instance maps those too; or the classes'."""
    if (classes := getattr(run, "classes", None)) is not None:
        return int(classes.outputs)
    return 1 if getattr(run, "instance_maps", None) is None else 1 + MAPS


def shared(run: Run, device: str) -> dict[str, Any]:
    """What every network method takes from its run."""
    return {name: getattr(run, name) for name in SHARED if hasattr(run, name)} | {"device": device}


def build(run: Run, device: str = "auto") -> Method:
    """The method of a run, untrained. device: "auto", "cpu", "cuda" or "mps" (Lightning's accelerator names)."""
    return run.model.build(run, device)


def settings_of(kind: str) -> type[MethodSettings]:
    """The settings of a kind of method. Raises SettingsError for an unknown one."""
    if kind not in KINDS:
        raise SettingsError(f"model is of kind {kind!r}; {nearest(kind, KINDS)}")
    for each in vars(import_module(KINDS[kind])).values():
        if isinstance(each, type) and issubclass(each, MethodSettings) and each.model_fields["kind"].default == kind:
            return each
    raise TypeError(f"{KINDS[kind]} has no MethodSettings whose kind is {kind!r}")


def _of_its_kind(value: object) -> object:
    """Settings given as a dictionary, as those of the kind that it names."""
    if isinstance(value, BaseModel):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise SettingsError(f"model is {value!r}, expected settings with a kind: {', '.join(KINDS)}")
    return validated(settings_of(value["kind"]), value, "model")


Model = Annotated[SerializeAsAny[MethodSettings], BeforeValidator(_of_its_kind)]
"""A field of a configuration that holds the settings of any kind of method."""


def check_device(device: str) -> None:
    """Raises SettingsError where no such device is on this machine, before anything else is done."""
    known = ("auto", *(name for name in ("cpu", "cuda", "mps") if ACCELERATOR_REGISTRY.get(name).is_available()))
    if device not in known:
        raise SettingsError(f"device {device!r} is not on this machine, expected {' or '.join(known)}")
