"""Floating-point operations of a run, counted on shapes alone: no weights, no data, nothing is computed.

Matrix products, convolutions and attention are counted, a multiplication and an addition as two, by PyTorch's own
counter; the rest of a vision transformer is below one percent of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from allinsam_core.learning.infer import starts
from study.config import RunConfig
from study.grid import Profile
from study.methods import NetworkSettings, outputs_of


@dataclass(frozen=True)
class Cost:
    """Operations of one image (3, S, S) through the network: forward, and forward and backward as in training."""

    forward: int
    step: int


def count(network: nn.Module, side: int) -> Cost:
    """The cost of a network (B, 3, S, S) → (B, K, S, S) on an image of side S px. It must lie on the meta device."""
    with torch.device("meta"):
        image = torch.zeros(1, 3, side, side)
        with torch.no_grad(), FlopCounterMode(display=False) as forward:
            network.eval()(image)
        with FlopCounterMode(display=False) as step:
            network.train()(image).sum().backward()
    return Cost(forward.get_total_flops(), step.get_total_flops())


def on_shapes(config: RunConfig) -> nn.Module:
    """The network of a run on the meta device: shapes without values."""
    settings = config.model
    if not isinstance(settings, NetworkSettings):
        raise ValueError(f"model {settings.kind!r} is no network of the common loop, expected one such as 'sam'")
    if getattr(settings, "weights", None) is not None:
        settings = settings.model_copy(update={"weights": "random"})
    with torch.device("meta"):
        return settings.network(config.seed, outputs_of(config)).to("meta")


def without_weights(profile: Profile) -> Profile:
    """The profile with random weights everywhere, so that its runs can be planned where the files are not."""

    def random(settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        return {key: "random" if key == "weights" else random(value) for key, value in settings.items()}

    return profile.model_copy(update={"methods": random(profile.methods), "axes": random(profile.axes)})


def windows(shape: tuple[int, int], field: int, overlap: float) -> int:
    """How many windows `infer.maps` cuts an image (H, W) into."""
    return math.prod(len(starts(length, field, overlap)) for length in shape)


def of_run(config: RunConfig, val: Iterable[tuple[int, int]], scored: Iterable[tuple[int, int]]) -> dict[str, int]:
    """Operations of a run: "train", "validate", "predict"; with patience, the most that it can need.

    val, scored: the sizes (H, W) px of the images.
    """
    window, train = config.window, config.train
    cost = count(on_shapes(config), window.size)
    looks = math.ceil(train.steps / train.validate_every) if train.validate_every else 0
    validated, predicted = (
        sum(windows(shape, window.field, overlap) for shape in shapes)
        for shapes, overlap in ((val, 0.0), (scored, window.overlap))
    )
    return {
        "train": train.steps * train.accumulate * train.batch_size * cost.step,
        "validate": looks * validated * cost.forward,
        "predict": predicted * cost.forward,
    }
