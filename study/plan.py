"""What a profile takes before it is run: parameters, memory, floating-point operations, time, disk, money, energy.

Counted on the meta device, where nothing is computed and no weights are needed: operations by torch's own counter
(`torch.utils.flop_counter`), memory from what autograd keeps for the gradients. `costs.yaml` holds every assumption.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from allinsam_core.annotation import sam
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.losses import LOSSES
from study import strict_yaml
from study.allinsam import SamSettings
from study.config import Run, RunConfig
from study.methods import NetworkSettings
from study.molecular.config import MolecularConfig
from study.rivals.beds import BedsSettings
from study.rivals.nnunet import NnUNetSettings
from study.rivals.unet import UNetSettings
from study.rivals.xie import XieSettings

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Step:
    """One training step of a network. memory: bytes at its peak, without the device's own overhead."""

    parameters: int
    trained: int
    forward: float  # floating-point operations of one forward pass of the batch
    backward: float
    memory: int


@dataclass(frozen=True)
class Piece:
    """Work that may serve several runs; `key` says which is the same. flops: of all of it."""

    key: str
    flops: float
    precision: str


@dataclass(frozen=True)
class RunPlan:
    """What one run takes. pieces: those that no run before it has done."""

    run: Run
    parameters: int
    trained: int
    memory: int
    precision: str
    pieces: tuple[Piece, ...]
    disk: int
    finished: bool

    @property
    def flops(self) -> float:
        return sum(piece.flops for piece in self.pieces)


def assumptions() -> dict[str, Any]:
    """What `costs.yaml` says."""
    return strict_yaml.parse(files("study").joinpath("costs.yaml").read_text("utf-8"), "costs.yaml")


def measure(network: nn.Module, batch: int, size: int, mixed: bool = False, loss: str = "bce_iou") -> Step:
    """Count one training step of a network on the meta device. batch × 3 × size × size is its input.

    Memory is the weights, the gradients and AdamW's two moments of what is trained, what autograd keeps, and the two
    largest results at once on top, which an operation needs beside them.
    """
    image = torch.zeros(batch, 3, size, size, device="meta")
    truth = torch.zeros(batch, 1, size, size, device="meta")
    kept: dict[int, torch.Tensor] = {}
    own = {id(p) for p in network.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in own and tensor.device.type == "meta":
            kept[id(tensor.untyped_storage()._cdata)] = tensor
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    network.train()
    counter = FlopCounterMode(display=False)
    with counter, torch.autocast("cpu", torch.bfloat16, enabled=mixed), saved_tensors_hooks(keep, lambda t: t):
        logits = network(image)[:, :1].float()
        value = LOSSES[loss](logits, truth)
    forward = float(counter.get_total_flops())
    return Step(0, 0, forward, 0.0, 0) if value is None else _step(network, value, kept, forward)
