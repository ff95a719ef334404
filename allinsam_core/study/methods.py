"""From a configuration to a method ready to fit: the one place that knows every method by name."""

from __future__ import annotations

import torch
from torch import nn

from allinsam_core.annotation import sam
from allinsam_core.baselines.beds import Beds, BedsSettings
from allinsam_core.baselines.boxes import Boxes, BoxesSettings, Ellipse, EllipseSettings
from allinsam_core.baselines.lvit import LViT, LViTSettings, OracleText
from allinsam_core.baselines.nnunet import NnUNet, NnUNetSettings
from allinsam_core.baselines.otsu import Otsu, OtsuSettings
from allinsam_core.baselines.unet import CentredUNet, UNetSettings
from allinsam_core.baselines.xie import ResUNet, SelfSupervised, XieSettings
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.method import BoxPrompted, Method, NetworkMethod
from allinsam_core.study.config import RunConfig, SamSettings

NetworkSettings = SamSettings | UNetSettings | LViTSettings | XieSettings


def network(model: NetworkSettings, seed: int) -> nn.Module:
    """The network of a configuration, with the initial weights that `seed` gives."""
    torch.manual_seed(seed)
    if isinstance(model, UNetSettings):
        return CentredUNet(model)
    if isinstance(model, LViTSettings):
        return LViT(model)
    if isinstance(model, XieSettings):
        return ResUNet(model)
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
    )


def build(config: RunConfig, device: str = "auto") -> Method | BoxPrompted:
    """The method of a run, untrained. device: "auto", "cpu", "cuda" or "mps" (Lightning's accelerator names)."""
    if isinstance(config.model, OtsuSettings):
        return Otsu(config.model)
    if isinstance(config.model, BoxesSettings):
        return Boxes(config.model)
    if isinstance(config.model, EllipseSettings):
        return Ellipse(config.model)
    if isinstance(config.model, NnUNetSettings):
        return NnUNet(config.model, config.seed, device)
    if isinstance(config.model, BedsSettings):
        return _beds(config, config.model, device)
    return _network_method(config, config.model, config.seed, device)


def _network_method(config: RunConfig, model: NetworkSettings, seed: int, device: str) -> NetworkMethod:
    form = NetworkMethod
    if isinstance(model, LViTSettings) and model.text == "oracle":
        form = OracleText
    if isinstance(model, XieSettings) and model.pretext is not None:
        form = SelfSupervised
    return form(
        network(model, seed),
        window=config.window,
        train=config.train,
        augment=config.augment,
        loss=config.loss,
        validation_loss=config.validation_loss,
        seed=seed,
        device=device,
    )


def _beds(config: RunConfig, model: BedsSettings, device: str) -> Beds:
    """Members are runs of a U-Net. All that decides them, and nothing else, names the folder that rows share."""
    lone = model.model_copy(update={"members": 1, "templates": 0})
    key = config.model_copy(update={"method": "beds", "model": lone}).hash

    def member(index: int) -> NetworkMethod:
        return _network_method(config, UNetSettings(channels=model.channels), config.seed * 1000 + index, device)

    return Beds(model, member, config.seed, shared=f"beds-members-{key}")
