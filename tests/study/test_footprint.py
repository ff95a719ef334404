"""What a training step takes, against closed forms and against memory that a process really held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from allinsam_core.annotation import sam
from allinsam_core.annotation.attention import recompute
from allinsam_core.learning.adapter import AdaptedSam
from study.footprint import footprint

MEASURE = """
import sys, torch
from torch import nn
torch.set_num_threads(1)
side = int(sys.argv[1])
first, second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
net = nn.Sequential(first, nn.GELU(), second, nn.GELU(), nn.Conv2d(16, 1, 1))
net(torch.rand(1, 3, 16, 16)).mean().backward()

def kib(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

open("/proc/self/clear_refs", "w").write("5")  # the high-water mark begins anew
before = kib("VmRSS")
net(torch.rand(1, 3, side, side)).mean().backward()
print((kib("VmHWM") - before) * 1024)
"""


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GELU(), nn.Conv2d(16, 16, 3, padding=1), nn.GELU(), nn.Conv2d(16, 1, 1)
    )


def test_operations_of_one_convolution_by_hand() -> None:
    """2 · 16 · 3 · 9 operations a pixel; backward only the weights' gradient, the input needs none."""
    found = footprint(lambda: nn.Sequential(nn.Conv2d(3, 16, 3, padding=1)), 1, 32)
    assert found.forward == 2 * 16 * 27 * 32 * 32
    assert found.step == 2 * found.forward
    assert (found.parameters, found.trained) == (448, 448)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process its memory")
@pytest.mark.parametrize("side", [1024, 1536, 2048])
def test_memory_is_what_a_process_really_takes(side: int) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, str(side)], capture_output=True, text=True, check=True)
    measured, counted = int(done.stdout), footprint(convolutions, 1, side).memory
    assert 0.6 < counted / measured < 1.5


def test_freezing_and_recomputing_and_mixed_precision_take_less() -> None:
    def tiny(**settings: object) -> AdaptedSam:
        return AdaptedSam(sam.build("mini"), reduction=8, **settings)  # type: ignore[arg-type]

    plain = footprint(tiny, 1, 256)
    spared = footprint(lambda: recompute(tiny()), 1, 256)
    mixed = footprint(tiny, 1, 256, mixed=True)
    whole = footprint(lambda: tiny(trainable="everything"), 1, 256)
    assert spared.memory < 0.95 * plain.memory  # of a small SAM, whose decoder sets the peak
    assert plain.step < spared.step < 1.5 * plain.step  # the encoder runs once more
    assert mixed.memory < plain.memory < whole.memory
    assert (plain.forward, plain.parameters) == (mixed.forward, whole.parameters)
    assert plain.alone < plain.memory
    assert torch.rand(1).device.type == "cpu"  # the fake tensors stay inside


def test_operations_of_the_published_network() -> None:
    """2,973 billion multiplications are known of SAM ViT-H's encoder; frozen weights need no gradient of their own."""
    found = footprint(lambda: AdaptedSam(sam.build("vit_h")), 1, 1024)
    assert found.forward / 2 == pytest.approx(2.98e12, rel=0.01)
    assert 2 * found.forward < found.step < 2.2 * found.forward
