"""From a configuration to a method ready to fit: the one place that knows every method by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from allinsam_core.annotation import sam
from allinsam_core.baselines.otsu import Otsu, OtsuSettings
from allinsam_core.baselines.unet import CentredUNet, UNetSettings
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.method import Method, NetworkMethod
from allinsam_core.refinement.corrective import CorrectiveSettings, EmbeddingSam
from allinsam_core.refinement.method import CorrectiveMethod, MoclUNetSettings, mocl_unet
from allinsam_core.study.config import RunConfig, SamSettings

SHARED = ("window", "train", "augment", "loss", "validation_loss", "seed")  # what a network method takes from a run


def network(model: SamSettings | UNetSettings, seed: int) -> nn.Module:
    """The network of a configuration, with the initial weights that `seed` gives."""
    torch.manual_seed(seed)
    if isinstance(model, UNetSettings):
        return CentredUNet(model)
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


def build(config: RunConfig, device: str = "auto") -> Method:
    """The method of a run, untrained. device: "auto", "cpu", "cuda" or "mps" (Lightning's accelerator names)."""
    if isinstance(config.model, OtsuSettings):
        return Otsu(config.model)
    shared: dict[str, Any] = {name: getattr(config, name) for name in SHARED}
    if isinstance(config.model, MoclUNetSettings):
        plain = CorrectiveSettings(variant="none")
        unet = mocl_unet(config.model, config.seed)
        return CorrectiveMethod(unet, **shared, device=device, corrective=config.corrective or plain)
    model = network(config.model, config.seed)
    if config.corrective is None:
        return NetworkMethod(model, **shared, device=device)
    if not isinstance(model, AdaptedSam):
        raise ValueError(f"model {config.model.kind!r} gives no embedding to correct by; expected sam or mocl_unet")
    return CorrectiveMethod(EmbeddingSam(model), **shared, device=device, corrective=config.corrective)
