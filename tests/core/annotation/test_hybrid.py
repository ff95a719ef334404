"""The hybrid small SAM: its stem, its fine maps in the decoder, exact sizes, strict loading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.hybrid import ConvStem, FineUpscaling
from allinsam_core.annotation.predict import BoxAnnotator, default_field, is_mini
from allinsam_core.learning.adapter import AdaptedSam, parameter_counts

LowRes = Callable[[BoxAnnotator, np.ndarray], tuple[np.ndarray, np.ndarray]]
TINY = sams.MiniGeometry(
    image_size=64, embed_dim=32, depth=2, num_heads=2, window_size=2, global_attn_indexes=(1,), prompt_dim=64,
    decoder_mlp_dim=32, field=64, stem=(8, 16, 24),
)  # fmt: skip


@pytest.fixture
def hybrid() -> sams.Sam:
    torch.manual_seed(0)
    model = sams._build_mini(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def test_mini2_has_exactly_these_parameters() -> None:
    with torch.device("meta"):
        mini2 = sams.build("mini2")
        adapted = AdaptedSam(sams.build("mini2"))
    assert sum(p.numel() for p in mini2.parameters()) == 6_864_896
    assert parameter_counts(adapted) == {
        "total": 6_896_836,
        "trainable": 935_204,
        "adapter": 35_088,
        "decoder": 899_988,
    }
    stem = mini2.image_encoder.patch_embed
    # by hand: three levels of two 3 × 3 convolutions and their norms; 2 × 2 × 128 weights and one bias per channel
    levels = 9 * (3 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 4 * (32 + 64 + 128)
    assert sum(p.numel() for p in stem.parameters()) == levels + 192 * (4 * 128 + 1)


def test_the_stem_gives_tokens_and_a_pyramid() -> None:
    stem = ConvStem((8, 16, 24), 32)
    with sams.stem_maps(SimpleNamespace(patch_embed=stem)) as maps:  # type: ignore[arg-type]
        tokens = stem(torch.rand(2, 3, 64, 96))
    assert tokens.shape == (2, 4, 6, 32)
    assert [tuple(m.shape) for m in maps] == [(2, 8, 32, 48), (2, 16, 16, 24), (2, 24, 8, 12)]


def test_encoder_and_embedding_agree(hybrid: sams.Sam) -> None:
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        embedding, fine = sams.embed(hybrid, image)
        assert torch.equal(embedding, hybrid.image_encoder(image))
    assert [tuple(m.shape) for m in fine] == [(2, 32, 8, 8), (2, 16, 16, 16), (2, 8, 32, 32)]


def test_masks_come_at_stride_two_and_follow_their_own_images_detail(hybrid: sams.Sam) -> None:
    decoder = hybrid.mask_decoder
    encoder = hybrid.prompt_encoder
    position, no_mask = encoder.get_dense_pe()[0], encoder.no_mask_embed.weight[:, :, None, None]
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        embedding, fine = sams.embed(hybrid, image)
        sparse = embedding.new_empty(2, 0, 64)
        masks, ious = sams.decode(decoder, embedding, position, sparse, no_mask, slice(0, 3), fine)
        assert (masks.shape, ious.shape) == ((2, 3, 32, 32), (2, 3))
        finest = fine[2].clone()
        finest[0, :, 10, 20] += 1
        other, _ = sams.decode(decoder, embedding, position, sparse, no_mask, slice(0, 3), (*fine[:2], finest))
    changed = (masks != other).any(1).nonzero().tolist()
    assert changed == [[0, 10, 20]]  # one pixel of the first image, nothing of the second


def test_without_a_stem_there_are_no_fine_maps(tiny_sam: sams.Sam) -> None:
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        embedding, fine = sams.embed(tiny_sam, image)
        assert torch.equal(embedding, tiny_sam.image_encoder(image))
    assert fine == ()


def test_weights_load_strictly_and_only_into_their_own_geometry(tmp_path: Path) -> None:
    from study.minisam.recipe import ship

    torch.manual_seed(0)
    path = tmp_path / "mini2.safetensors"
    ship(sams.build("mini2"), path)
    loaded = sams.build("mini2", path)
    assert all(torch.equal(v, sams.read_weights(path)[k].float()) for k, v in loaded.state_dict().items())
    with pytest.raises(ValueError, match=r"not the weights of mini: .*output_upscaling.* unexpected .*"):
        sams.build("mini", path)


def test_a_stem_of_three_levels_needs_patches_of_sixteen() -> None:
    with pytest.raises(ValueError, match="patch_size is 8; expected 16"):
        sams._build_mini(sams.MiniGeometry(image_size=64, patch_size=8, embed_dim=32, num_heads=2, stem=(8, 16, 24)))


def test_adapting_freezes_the_stem_and_trains_the_way_down(hybrid: sams.Sam) -> None:
    model = AdaptedSam(hybrid, reduction=8)
    model(torch.rand(1, 3, 64, 64)).square().mean().backward()
    stem, upscaling = model.image_encoder.patch_embed, model.mask_decoder.output_upscaling
    assert isinstance(upscaling, FineUpscaling)
    assert all(p.grad is None for p in stem.parameters())
    assert all(p.grad is not None and p.grad.any() for p in upscaling.parameters())


def test_the_adapted_network_starts_as_sam_without_a_prompt(hybrid: sams.Sam) -> None:
    from study.minisam.pretrain import PromptableSam

    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours = AdaptedSam(hybrid, placement="none")(image)
        theirs = PromptableSam(hybrid).promptless(image)[:, :1]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert ours.std() > 1e-4


def test_boxes_are_answered_at_the_hybrids_own_scale(monkeypatch: pytest.MonkeyPatch, low_res: LowRes) -> None:
    torch.manual_seed(0)
    monkeypatch.setitem(sams.MINIS, "mini2", TINY)
    hybrid = sams.build("mini2")
    assert is_mini(hybrid)
    assert (default_field(hybrid, 0.25), default_field(hybrid, 0.5)) == (64, 32)
    image = np.random.default_rng(0).integers(0, 255, (100, 120, 3), dtype=np.uint8)
    boxes = np.array([[10, 10, 30, 40], [60, 50, 80, 70], [5, 5, 100, 90]], dtype=np.float32)
    annotator = BoxAnnotator(hybrid, field=64)
    masks = annotator.annotate(image, boxes)
    low, scores = low_res(annotator, boxes)
    assert (len(masks), low.shape, scores.shape) == (3, (3, 32, 32), (3,))
    alone = BoxAnnotator(hybrid, field=64, batch=1)
    alone.set_image(image)
    assert np.allclose(low_res(alone, boxes)[0], low, atol=1e-5)  # every box has its own window's detail
    assert np.abs(low[0] - low[1]).max() > 1e-3
