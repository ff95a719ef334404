"""From a configuration to a method ready to fit: the one place that knows every method by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from allinsam_core.annotation import sam
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.method import BoxPrompted, Method, NetworkMethod
from allinsam_core.refinement.corrective import CorrectiveSettings, EmbeddingSam
from allinsam_core.refinement.method import CorrectiveMethod, MoclUNetSettings, mocl_unet
from study.config import RunConfig, SamSettings
from study.rivals.beds import Beds, BedsSettings
from study.rivals.boxes import Boxes, BoxesSettings, Ellipse, EllipseSettings
from study.rivals.lvit import LViT, LViTSettings, OracleText
from study.rivals.nnunet import NnUNet, NnUNetSettings
from study.rivals.otsu import Otsu, OtsuSettings
from study.rivals.unet import CentredUNet, UNetSettings
from study.rivals.xie import ResUNet, SelfSupervised, XieSettings

NetworkSettings = SamSettings | UNetSettings | LViTSettings | XieSettings | MoclUNetSettings
SHARED = ("window", "train", "augment", "loss", "validation_loss")  # what a network method takes from a run


def network(model: NetworkSettings, seed: int) -> nn.Module:
    """The network of a configuration, with the initial weights that `seed` gives."""
    torch.manual_seed(seed)
    if isinstance(model, UNetSettings):
        return CentredUNet(model)
    if isinstance(model, LViTSettings):
        return LViT(model)
    if isinstance(model, XieSettings):
        return ResUNet(model)
    if isinstance(model, MoclUNetSettings):
        return mocl_unet(model, seed)
    base = (
        sam.build(model.name) if model.weights == "random" else sam.build(model.name, sam.weights_file(model.weights))
    )
    if model.weights == "random":
        base = sam.initialised(base)
    return AdaptedSam(
        base,
        placement=model.placement,
        reduction=model.reduction,
        zero_init=model.zero_init,
        as_released=model.as_released,
        trainable=model.trainable,
        scrambled=model.scrambled,
    )


def build(config: RunConfig, device: str = "auto") -> Method | BoxPrompted:
    """The method of a run, untrained. device: "auto", "cpu", "cuda" or "mps" (Lightning's accelerator names)."""
    match config.model:
        case OtsuSettings() as model:
            return Otsu(model)
        case BoxesSettings() as model:
            return Boxes(model)
        case EllipseSettings() as model:
            return Ellipse(model)
        case NnUNetSettings() as model:
            return NnUNet(model, config.seed, device)
        case BedsSettings() as model:
            return _beds(config, model, device)
        case model:
            return _network_method(config, model, config.seed, device)


def _network_method(config: RunConfig, model: NetworkSettings, seed: int, device: str) -> NetworkMethod:
    shared: dict[str, Any] = {name: getattr(config, name) for name in SHARED} | {"seed": seed, "device": device}
    net = network(model, seed)
    if isinstance(model, MoclUNetSettings):
        return CorrectiveMethod(net, **shared, corrective=config.corrective or CorrectiveSettings(variant="none"))
    if config.corrective is not None:
        if not isinstance(net, AdaptedSam):
            raise ValueError(f"model {model.kind!r} gives no embedding to correct by; expected sam or mocl_unet")
        return CorrectiveMethod(EmbeddingSam(net), **shared, corrective=config.corrective)
    form = NetworkMethod
    if isinstance(model, LViTSettings) and model.text == "oracle":
        form = OracleText
    if isinstance(model, XieSettings) and model.pretext is not None:
        form = SelfSupervised
    return form(net, **shared)


def _beds(config: RunConfig, model: BedsSettings, device: str) -> Beds:
    """Members are runs of a U-Net. All that decides them, and nothing else, names the folder that rows share."""
    lone = model.model_copy(update={"members": 1, "templates": 0})
    key = config.model_copy(update={"method": "beds", "model": lone}).hash

    def member(index: int) -> NetworkMethod:
        return _network_method(config, UNetSettings(channels=model.channels), config.seed * 1000 + index, device)

    return Beds(model, member, config.seed, shared=f"beds-members-{key}")
