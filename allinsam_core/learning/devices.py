"""One device or several: Lightning Fabric, and what several processes have in common.

Several devices are as many processes (DistributedDataParallel), forked from the calling one, so that a notebook and a
grid of runs can have them too. Each sees batches of its own; their gradients are averaged: a step on N devices is one
on N batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from allinsam_core.annotation.attention import has_bfloat16

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def fabric_on(device: str = "auto", devices: int | None = None) -> Fabric:
    """Fabric on `devices` devices of a kind ("auto", "cpu", "cuda", "mps"); None: one."""
    from lightning_fabric import Fabric  # late: using a trained model needs none of it
    from lightning_fabric.strategies import DDPStrategy

    count = devices or 1
    several = DDPStrategy(start_method="fork", find_unused_parameters=True)
    return Fabric(accelerator=device, devices=count, strategy=several if count > 1 else "auto")


def mixed_precision(device: torch.device | str, wanted: bool = True) -> torch.autocast:
    """A context in which products are bfloat16 where `wanted` and where the device multiplies it itself, else float32.

    A processor without bfloat16 emulates it, three to four times slower than float32.
    """
    device = torch.device(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and has_bfloat16(device))


def on_all(fabric: Fabric, work: Callable[[], object]) -> None:
    """Do `work` in every process of `fabric`, and wait for them. What it returns and changes stays in them.

    On a CPU each process computes with one thread: OpenMP's threads do not survive a fork.
    """

    def one(_: Fabric) -> None:
        if fabric.device.type == "cpu":
            torch.set_num_threads(1)
        work()

    fabric.launch(one)
