"""Counted operations: closed forms first, then a published figure."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from allinsam_core.learning.infer import maps
from study import flops
from study.grid import profile


def test_a_convolution_costs_two_operations_a_weight_and_pixel() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 1, 1)).to("meta")
    first, second = 2 * 8 * 8 * 3 * 5, 2 * 8 * 8 * 5
    cost = flops.count(network, 8)
    assert cost.forward == first + second
    assert cost.step == 2 * first + 3 * second  # no gradient of the image is asked for
    network.requires_grad_(False)[1].requires_grad_(True)
    assert flops.count(network, 8).step == first + 2 * second


def test_as_many_windows_are_counted_as_the_network_is_given() -> None:
    seen = []

    class Counting(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(len(image))
            return image[:, :1]

    for shape, field, overlap in (((100, 70), 32, 0.25), ((20, 64), 32, 0.0), ((33, 33), 32, 0.5)):
        seen.clear()
        maps(Counting(), torch.zeros(*shape, 3, dtype=torch.uint8).numpy(), field, field, overlap)
        assert flops.windows(shape, field, overlap) == sum(seen)


def test_a_run_costs_its_steps_its_validations_and_its_predictions() -> None:
    run = profile("mini").run("unet", "complete", 1.0, 0)
    cost = flops.count(flops.on_shapes(run), 256)  # type: ignore[arg-type]
    found = flops.of_run(run, val=[(512, 256)], scored=[(256, 448)])  # type: ignore[arg-type]
    assert found == {
        "train": run.train.steps * 4 * cost.step,
        "validate": 3 * 2 * cost.forward,
        "predict": 2 * cost.forward,
    }


def test_the_full_study_can_be_counted_without_its_weights() -> None:
    plan = flops.without_weights(profile("paper"))
    run = plan.run("allinsam", "weak", 1.0, 2023)
    cost = flops.count(flops.on_shapes(run), run.window.size)  # type: ignore[arg-type]
    assert cost.forward / 2 == pytest.approx(2.98e12, rel=0.01)  # 2,973 billion multiplications: SAM ViT-H's encoder
    assert 2 * cost.forward < cost.step < 2.2 * cost.forward  # frozen weights need no gradient of their own
