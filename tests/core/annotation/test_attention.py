"""Folded attention against segment-anything's own, values and gradients."""

from __future__ import annotations

import pytest
import torch

from allinsam_core.annotation import attention
from allinsam_core.annotation.attention import FoldedAttention, fold, recompute
from allinsam_core.annotation.sam import Attention, Sam


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.fixture
def module() -> Attention:
    torch.manual_seed(0)
    made = Attention(24, num_heads=3, use_rel_pos=True, input_size=(5, 7))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.5)
    return made


@pytest.mark.parametrize("few", [attention.FEW, 0])
@pytest.mark.parametrize("size", [(5, 7), (7, 5), (9, 9)])  # as built; turned; with the tables resampled
def test_values_and_gradients_are_segment_anythings(
    module: Attention, few: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "FEW", few)
    found = []
    tokens = torch.randn(2, *size, 24, generator=torch.Generator().manual_seed(1), requires_grad=True)
    for folded in (False, True):
        fold(module, folded)
        assert type(module) is (FoldedAttention if folded else Attention)
        value = module(tokens)
        found.append([value, *torch.autograd.grad(value.square().sum(), [tokens, *module.parameters()])])
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert relative(ours, theirs) <= 1e-5


def test_without_relative_positions(module: Attention) -> None:
    plain = Attention(24, num_heads=3)
    tokens = torch.randn(2, 4, 4, 24)
    expected = plain(tokens)
    fold(plain)
    assert relative(plain(tokens), expected) <= 1e-5


def test_a_whole_encoder_folded_and_back(tiny_sam: Sam) -> None:
    encoder, image = tiny_sam.image_encoder, torch.rand(2, 3, 64, 64)
    names = list(encoder.state_dict())
    with torch.no_grad():
        expected = encoder(image)
        folded = fold(encoder)(image)
        assert relative(folded, expected) <= 1e-5
        assert all(type(block.attn) is FoldedAttention for block in encoder.blocks)
        assert torch.equal(fold(encoder, False)(image), expected)
    assert list(encoder.state_dict()) == names


def test_bfloat16_is_used_where_the_device_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for able, expected in (
        ({"avx2": True, "avx512_bf16": True}, True),
        ({"bf16": True}, True),
        ({"avx2": True}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert attention.has_bfloat16("cpu") == expected
    assert not attention.has_bfloat16("mps")


def kept_bytes(encoder: torch.nn.Module, image: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Bytes kept for the backward pass, parameters apart, and the gradient of the image."""
    own, kept = {p.untyped_storage().data_ptr() for p in encoder.parameters()}, {}
    image = image.clone().requires_grad_()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = encoder(image).square().sum()
    total = sum(kept.values())
    value.backward()
    assert image.grad is not None
    return total, image.grad


def test_recomputed_blocks_keep_less_than_half_and_have_the_same_gradients(tiny_sam: Sam) -> None:
    encoder, image = tiny_sam.image_encoder.requires_grad_(False), torch.rand(2, 3, 64, 64)
    plain, expected = kept_bytes(encoder, image)
    less, found = kept_bytes(recompute(encoder), image)
    assert less < plain / 2
    assert torch.equal(found, expected)
    assert kept_bytes(recompute(encoder, False), image)[0] == plain
