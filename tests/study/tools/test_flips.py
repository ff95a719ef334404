"""Answers to an image and its mirror images: each turned back before the mean, and only when asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import allinsam_core
from study.tools.flips import Flipped, with_profile


class Ramp(nn.Module):
    """The answer is where a pixel lies, whatever the image: rows count ten, columns one."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[2:]
        return (10 * torch.arange(height)[:, None] + torch.arange(width)).float()[None, None]


class Darkness(nn.Module):
    """The answer is the image, mirrored where the image is."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 1 - image.mean(dim=1, keepdim=True)


def test_what_depends_on_the_side_is_averaged_out() -> None:
    found = Flipped(Ramp())(torch.zeros(1, 3, 3, 5))
    assert torch.equal(found, torch.full((1, 1, 3, 5), 10.0 + 2.0))


def test_what_turns_with_the_image_stays_in_its_place() -> None:
    image = torch.rand(2, 3, 4, 6)
    torch.testing.assert_close(Flipped(Darkness())(image), Darkness()(image))


def test_profiles() -> None:
    model = allinsam_core.load("mini2")
    assert with_profile(model, "fast") is model
    best = with_profile(model, "best")
    assert [type(network) for network in best.networks] == [Flipped]
    assert best.about == model.about
    with pytest.raises(ValueError, match="--profile slow: expected fast or best"):
        with_profile(model, "slow")
