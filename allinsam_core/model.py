"""A trained model in one file, and its probability maps of an image at any resolution.

The file is a safetensors of what was trained; its metadata say on which weights, for which classes, at which
resolution, with which thresholds, and how (`Description`). A class is a binary network; all share one frozen encoder.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.attention import fold, has_bfloat16
from allinsam_core.annotation.predict import MINI_SPACING, field_at
from allinsam_core.learning import checkpoint, threshold
from allinsam_core.learning.adapter import AdaptedSam, Placement
from allinsam_core.learning.infer import maps
from allinsam_core.learning.instances import MAPS, InstanceSettings
from allinsam_core.learning.method import WindowSettings
from allinsam_core.settings import sentence_of

Base = Literal["mini", "mini2", "vit_b", "vit_l", "vit_h"]
DEFAULT: Base = "mini2"  # what segments and is trained where no SAM is named
KEPT = {"mini": InstanceSettings(smooth=2, smallest_area=3, lowest_peak=0.9)}  # how a SAM as it ships parts nuclei,
KEPT["mini2"] = InstanceSettings(map_smooth=3, map_depth=0.035, lowest_peak=0.9)  # chosen by `study.minisam.parting`
TRAINED = {"breast": Path(__file__).with_name("breast.safetensors")}  # model files that ship with the package


class Description(BaseModel):
    """What a model file says about itself.

    base, base_sha256: the SAM it stands on and `sam.weights_checksum` of its weights. classes: one network each, or if
    joint, one map each of a single network. spacing: µm per pixel of the images it learnt from; window: in their
    pixels. instance_maps: whether each network gives the two distances that part nuclei. thresholds: one a class,
    chosen on validation images. parting: how nuclei are parted, lengths in pixels of 0.25 µm. record: how it was
    trained. licence: of the data, where given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Base
    base_sha256: str
    classes: tuple[str, ...] = ("nucleus",)
    joint: bool = False
    spacing: float = MINI_SPACING
    window: WindowSettings = WindowSettings(field=sams.MINIS["mini"].field)
    placement: Placement = "all"
    instance_maps: bool = False
    thresholds: tuple[float, ...] = (0.5,)
    parting: InstanceSettings = InstanceSettings()
    record: dict[str, Any] = {}
    licence: str = ""

    @property
    def outputs(self) -> int:
        """Maps that each network gives."""
        return len(self.classes) if self.joint else 1 + MAPS * self.instance_maps


@dataclass(frozen=True, eq=False)
class Model:
    """networks: one a class, (B, 3, S, S) in [0, 1] → logits (B, 1 or 3, S, S); if joint a single one, (B, C, S, S).
    Their attention is folded. bfloat16: of the networks' products; None: where the device has it.
    """

    about: Description
    networks: nn.ModuleList
    device: str = "cpu"
    bfloat16: bool | None = None

    def __post_init__(self) -> None:
        fold(self.networks)

    def probability(self, image: np.ndarray, spacing: float) -> np.ndarray:
        """(C, H, W) float32: of `maps` each class's probability."""
        return self.maps(image, spacing)[:, 0]

    def maps(self, image: np.ndarray, spacing: float) -> np.ndarray:
        """(C, 1, H, W) float32, one map a class, odds divided by those of its threshold: a nucleus is 0.5 or more.

        With instance maps (C, 3, H, W): the two distances of `learning.instances` beside it. image: (H, W, 3) uint8
        RGB at `spacing` µm per pixel; the network sees the physical scale it was trained at.
        """
        field, window = self.field(spacing), self.about.window
        short = has_bfloat16(self.device) if self.bfloat16 is None else self.bfloat16
        each = [
            maps(net.to(self.device), image, field, window.size, window.overlap, device=self.device, bfloat16=short)
            for net in self.networks
        ]
        found = each[0][:, None] if self.about.joint else np.stack(each)
        for own, cut in zip(found, self.about.thresholds, strict=True):
            own[0] = threshold.rescaled(own[0], cut)
        return found

    def field(self, spacing: float) -> int:
        """Side of the network's window in pixels of an image at `spacing` µm per pixel: even, at least 16."""
        if not (np.isfinite(spacing) and spacing > 0):
            raise ValueError(f"spacing is {spacing}, expected µm per pixel > 0, for instance 0.25 for a 40× scan")
        return field_at(spacing, self.about.window.field, self.about.spacing)


def check_device(device: torch.device | str) -> None:
    """Raises ValueError where torch cannot compute on a device."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError(
            f"device {str(device)!r} is not on this machine, or torch was not built for it; expected cpu, cuda or mps, "
            "and `allinsam doctor` says which are here"
        ) from None


def base_sam(base: str, weights: Path | str | None = None) -> sams.Sam:
    """The SAM of that name. weights: its checkpoint; mini-SAM has its own. Raises ValueError where one is missing."""
    if weights is not None:
        return sams.build(base, weights)
    if base in sams.SHIPPED:
        return sams.load_mini(base)
    if base in sams.MODELS:
        raise ValueError(f"{base} has no weights here; add --checkpoint FILE (`allinsam data fetch` downloads them)")
    raise ValueError(f"unknown SAM {base!r}; expected one of {', '.join(sams.MODELS)}")


def network(sam: sams.Sam, placement: Placement = "all", outputs: int = 1) -> AdaptedSam:
    """An adapted SAM of its own, with so many maps, on the shared, frozen encoder of `sam`."""
    own = copy.deepcopy(sam, {id(sam.image_encoder): sam.image_encoder})
    return AdaptedSam(own, placement=placement, outputs=outputs)


def zero_shot(sam: sams.Sam, base: Base, about: Description | None = None, device: str = "cpu") -> Model:
    """The SAM as it is, promptless; with `about`, in that model's window and resolution."""
    plain = Description(base=base, base_sha256=sams.weights_checksum(sam), placement="none")
    if base in sams.MINIS:
        own = sams.MINIS[base]
        given = {"window": WindowSettings(field=own.field), "instance_maps": own.instance_maps, "parting": KEPT[base]}
        plain = plain.model_copy(update=given)
    if about is not None:
        plain = plain.model_copy(update={"spacing": about.spacing, "window": about.window})
    return Model(plain, nn.ModuleList([network(sam, "none", plain.outputs)]), device)


def save(model: Model, path: Path) -> None:
    """Write the model file, whole or not at all."""
    checkpoint.save(model.networks, path, model.about.base_sha256, model.about.model_dump(mode="json"))


def describe(path: Path) -> Description:
    """What a model file says about itself; no tensor is read. Raises ValueError where it is no model file."""
    try:
        return Description.model_validate(checkpoint.note(path))
    except ValidationError as error:
        raise ValueError(f"{path}: no model file of `allinsam train`: {sentence_of(error)}") from error


def load(source: Path | str = DEFAULT, weights: Path | str | None = None, device: str = "cpu") -> Model:
    """A model ready for `segment`. source: a model file; "mini" or "mini2", a shipped SAM, promptless, not adapted; or
    "breast", a shipped model of lymphocytes, epithelial and stromal nuclei (MODEL_CARD.md).

    weights: checkpoint of the SAM that the model stands on, unless that is mini-SAM. Raises ValueError where the file
    is damaged, where those are not the weights that it was trained on, or where there is no such device.
    """
    check_device(device)
    if str(source) in sams.SHIPPED:
        return zero_shot(base_sam(str(source), weights), cast(Base, str(source)), device=device)
    path = TRAINED.get(str(source), Path(source))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file; expected mini, mini2, breast or one of `allinsam train`")
    about = describe(path)
    try:
        sam = base_sam(about.base, weights)
    except ValueError as error:
        raise ValueError(f"{path}: was trained on {about.base}; {error}") from error
    count = 1 if about.joint else len(about.classes)
    nets = nn.ModuleList([network(sam, about.placement, about.outputs) for _ in range(count)])
    checkpoint.load(nets, path, sams.weights_checksum(sam), about.base)
    return Model(about, nets.eval(), device)
