"""The MOCL U-Net: its size, its dynamic head, its shapes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from study.rivals.mocl_unet import PARAMETERS, MoclUNet, dynamic_head


@pytest.fixture(scope="module")
def small() -> MoclUNet:
    torch.manual_seed(0)
    return MoclUNet(tasks=2, width=16).eval()


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_the_published_network():
    model = MoclUNet()
    assert count(model) == PARAMETERS == 5_956_174
    assert count(model.controller) == (256 + 2) * 162 + 162
    assert count(model.stem) == 3 * 9 * 32
    assert count(model.reduce) == 2 * 32 + 32 * 8 + 8  # GroupNorm, 1×1 convolution


def test_every_parameter_is_used(small):
    logits, embedding = small(torch.rand(1, 3, 32, 32))
    small.zero_grad()
    (logits.square().sum() + embedding.sum()).backward()
    assert [name for name, p in small.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_shapes(small):
    logits, embedding = small(torch.rand(2, 3, 32, 48))
    assert logits.shape == (2, 2, 32, 48)
    assert embedding.shape == (2, 16, 32, 48)
    _, full = MoclUNet().eval()(torch.rand(1, 3, 16, 16))
    assert full.shape == (1, 32, 16, 16)


def test_the_task_changes_the_head_but_not_the_embedding(small):
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        podocyte, e0 = small(image, 0)
        mesangial, e1 = small(image, 1)
        mixed, _ = small(image, torch.tensor([0, 1]))
    assert torch.equal(e0, e1)
    assert not torch.allclose(podocyte, mesangial)
    assert torch.allclose(mixed, torch.stack([podocyte[0], mesangial[1]]), atol=1e-6)


def test_images_of_a_batch_do_not_touch(small):
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(small(image)[0][1:], small(image[1:])[0], atol=1e-5)


def test_skips_carry_the_image_past_the_deepest_level():
    torch.manual_seed(0)
    model = MoclUNet(tasks=1, width=16).eval()
    model.fusion[-1].weight.data.zero_()
    with torch.no_grad():
        one, other = model(torch.rand(2, 3, 32, 32))[1]
    assert not torch.allclose(one, other)


def test_dynamic_head_is_three_convolutions_per_image():
    features, weights = torch.randn(2, 8, 3, 3), torch.randn(2, 162)
    out = dynamic_head(features, weights)
    for i in range(2):
        w1, w2, w3, b1, b2, b3 = weights[i].split([64, 64, 16, 8, 8, 2])
        x = F.conv2d(features[i : i + 1], w1.reshape(8, 8, 1, 1), b1).relu()
        x = F.conv2d(x, w2.reshape(8, 8, 1, 1), b2).relu()
        assert torch.allclose(out[i : i + 1], F.conv2d(x, w3.reshape(2, 8, 1, 1), b3), atol=1e-4)


def test_errors(small):
    with pytest.raises(ValueError, match="multiples of 16"):
        small(torch.rand(1, 3, 40, 32))
    with pytest.raises(ValueError, match=r"task is \[2\]; expected 0 … 1"):
        small(torch.rand(1, 3, 32, 32), 2)
    with pytest.raises(ValueError, match="width is 24"):
        MoclUNet(width=24)
