"""What `allinsam plan` says a training step takes, beside the memory that it really takes, on a processor.

    python -m study.rehearsal.memory PROFILE METHOD

A process of its own for each run, so that nothing else is in its memory: the network with random weights, one step of
AdamW on a random image, precision and activations as the run has them. What the process held before is taken off.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from allinsam_core.annotation.attention import recompute
from allinsam_core.learning.losses import LOSSES
from allinsam_core.learning.optimizer import optimizer_of
from allinsam_core.learning.train import peak_memory
from study import grid, plan
from study.config import RunConfig
from study.root import CHECKOUT

HERE = "study.rehearsal.memory"
WITHIN = (0.6, 1.5)  # of planned / measured: outside, the plan's advice on cards cannot be trusted


@dataclass(frozen=True)
class Checked:
    """Bytes that a training step of a method takes, as planned and as measured."""

    method: str
    planned: int
    measured: int

    @property
    def ratio(self) -> float:
        return self.planned / self.measured

    @property
    def fits(self) -> bool:
        return WITHIN[0] < self.ratio < WITHIN[1]

    def __str__(self) -> str:
        sizes = f"planned {self.planned / 2**30:.2f} GiB, measured {self.measured / 2**30:.2f} GiB"
        return f"memory of a training step, {self.method}: {sizes}, ratio {self.ratio:.2f}"


def of(profile: str, method: str) -> RunConfig:
    """The first run of a method; ValueError where it trains nothing."""
    found = next((run for run in grid.profile(profile).grid() if run.method == method), None)
    if not isinstance(found, RunConfig) or plan.network_of(found.model) is None:
        raise ValueError(f"profile {profile}: method {method!r} trains no network; name one that does")
    return found


def step(run: RunConfig) -> int:
    """Bytes that this process came to hold by one training step of a run beyond what it held before."""
    build = plan.network_of(run.model)
    if build is None:
        raise ValueError(f"model {run.model.kind!r} has no network")
    _train(torch.nn.Conv2d(3, 1, 3, padding=1), run, 16)  # what torch loads at first use is not the run's
    before = peak_memory()
    _train(recompute(build(), run.train.activations == "recomputed"), run, run.window.size)
    return peak_memory() - before


def _train(network: nn.Module, run: RunConfig, size: int) -> None:
    """One step on a random image of `size` px."""
    image = torch.rand(run.train.batch_size, 3, size, size)
    with torch.autocast("cpu", torch.bfloat16, enabled=run.train.precision == "bf16"):
        logits = network.train()(image)[:, :1].float()
    LOSSES[run.loss](logits, torch.zeros(logits.shape)).backward()
    optimizer_of(network, run.train).step()


def check(profile: str, methods: Iterable[str]) -> Iterator[Checked]:
    """Plan and measure a training step of the first run of each method."""
    for method in methods:
        command = [sys.executable, "-m", HERE, profile, method]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        planned = plan.step_of(of(profile, method))
        if planned is not None:
            yield Checked(method, planned.memory, int(done.stdout))


if __name__ == "__main__":
    print(step(of(*sys.argv[1:3])))
