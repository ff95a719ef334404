"""Warm-up, then corrective, through the one training loop; with the SAM adapter and with the U-Net."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from allinsam_core.annotation import sam as sams
from allinsam_core.data.case import Case
from allinsam_core.learning import infer, losses
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.augment import AugmentSettings, CropSampler
from allinsam_core.learning.train import TrainSettings, fit
from allinsam_core.refinement import mocl
from allinsam_core.refinement.corrective import (
    CorrectiveSettings,
    EmbeddingSam,
    Foreground,
    Scheduled,
    ScheduledBatch,
    step_loss,
)
from study.rivals.mocl_unet import MoclUNet

PLAIN = AugmentSettings(turns=False, zoom=0.0, stain=0, shift=0, blur=0, noise=0)
TINY = sams.MiniGeometry(
    image_size=64, embed_dim=64, depth=2, num_heads=2, window_size=2, global_attn_indexes=(1,), prompt_dim=32,
    decoder_mlp_dim=32,
)  # fmt: skip


def case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    instances = np.zeros((64, 64), dtype=np.uint16)
    instances[10:30, 10:30] = 1
    instances[40:60, 20:40] = 2
    image = np.where(instances[..., None] > 0, 90, 220) + rng.integers(0, 20, (64, 64, 3))
    return Case(f"case {seed}", image.astype(np.uint8), instances, 0.25, "made up")


def sampler(seed: int = 0, batch: int = 2) -> CropSampler:
    return CropSampler([case(seed)], 48, 64, batch, seed, PLAIN)


def tiny_sam() -> EmbeddingSam:
    torch.manual_seed(0)
    return EmbeddingSam(AdaptedSam(sams._build_mini(TINY)))


def models() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    return {"sam": tiny_sam(), "unet": MoclUNet(tasks=1, width=16)}


def test_the_sam_wrapper_changes_nothing_and_gives_the_upscaled_map():
    model = tiny_sam().eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        logits, embedding = model(image)
        assert torch.equal(logits, model.sam(image))
    assert embedding.shape == (2, TINY.prompt_dim // 8, 16, 16)  # a quarter of 64 px
    assert not model.sam.mask_decoder.output_upscaling._forward_hooks
    with pytest.raises(ValueError, match="one adapter per type"):
        model(image, 1)


def test_logits_are_a_linear_map_of_the_embedding():
    """So E is indeed the decoder's last map: before bilinear growth, logits = hyper-network output · E."""
    model = tiny_sam().eval()
    seen = []
    model.sam.mask_decoder.output_hypernetworks_mlps[0].register_forward_hook(lambda m, i, out: seen.append(out))
    with torch.no_grad():
        logits, embedding = model(torch.rand(1, 3, 64, 64))
    low = torch.einsum("bc,bchw->bhw", seen[0], embedding)[:, None]
    grown = torch.nn.functional.interpolate(low, size=(64, 64), mode="bilinear", align_corners=False)
    assert torch.allclose(grown, logits, atol=1e-5)


def test_schedule_is_a_function_of_the_step_alone():
    scheduled = Scheduled([sampler(0), sampler(1)], total=10)
    batches = [scheduled(step) for step in (0, 1, 6, 7)]
    assert [b.progress for b in batches] == [0.0, 0.1, 0.6, 0.7]
    assert [b.task for b in batches] == [0, 1, 0, 1]  # one cell type per batch, in turn
    assert [b.names[0] for b in batches] == ["case 0", "case 1", "case 0", "case 1"]
    assert torch.equal(batches[2].image, sampler(0)(3).image)
    moved = batches[2].to(torch.device("cpu"))
    assert (moved.progress, moved.task) == (0.6, 0)


@pytest.mark.parametrize("variant", mocl.VARIANTS)
@pytest.mark.parametrize("network", ["sam", "unet"])
def test_plain_before_the_warmup_ends_and_the_variant_after(network, variant):
    model = models()[network].eval()
    settings = CorrectiveSettings(variant=variant, warmup=0.5, k=7, noise=0.3)
    batch = Scheduled([sampler()], total=10)(0)
    with torch.no_grad():
        logits, embedding = model(batch.image, 0)
        plain = losses.bce_dice(mocl.foreground(logits), batch.mask)
        options = {"noise": 0.3} if variant == "ours" else {}
        expected, _ = mocl.loss_named(variant, 7, **options)(logits, embedding, batch.mask)
        loss = step_loss(settings)
        for progress, value in ((0.0, plain), (0.49, plain), (0.5, expected), (0.9, expected)):
            assert loss(model, replace(batch, progress=progress)).item() == pytest.approx(value.item(), rel=1e-5)
    if variant != "none":
        assert abs(plain.item() - expected.item()) > 1e-4


@pytest.mark.parametrize("network", ["sam", "unet"])
def test_training_through_both_phases_and_a_restart_gives_the_same_weights(network, tmp_path):
    train = TrainSettings(steps=4, batch_size=1, learning_rate=1e-3, checkpoint_every=3)
    loss = step_loss(CorrectiveSettings(variant="ours", warmup=0.5))
    fabric = Fabric(accelerator="cpu", devices=1)
    seen: list[float] = []

    def counted(model, batch):
        assert isinstance(batch, ScheduledBatch)
        seen.append(batch.progress)
        return loss(model, batch)

    def killed(model, batch):
        if batch.progress >= 0.75:
            raise KeyboardInterrupt
        return loss(model, batch)

    whole = models()[network]
    fit(whole, Scheduled([sampler(batch=1)], 4), counted, train, tmp_path / "whole", fabric=fabric)
    assert seen == [0.0, 0.25, 0.5, 0.75]
    with pytest.raises(KeyboardInterrupt):
        fit(models()[network], Scheduled([sampler(batch=1)], 4), killed, train, tmp_path / "cut", fabric=fabric)
    resumed = models()[network]
    fit(resumed, Scheduled([sampler(batch=1)], 4), counted, train, tmp_path / "cut", fabric=fabric)
    assert seen[4:] == [0.75]
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_foreground_goes_into_tiled_inference():
    model = models()["unet"].eval()
    prob = infer.probability(Foreground(model), case(0).image, field=64, size=64, overlap=0)
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(case(0).image).permute(2, 0, 1)[None].float() / 255)
    assert np.allclose(prob, logits.softmax(1)[0, 1].numpy(), atol=1e-5)


def test_errors():
    with pytest.raises(TypeError, match="wrap the sampler"):
        step_loss(CorrectiveSettings())(models()["unet"], sampler()(0))
    with pytest.raises(ValueError, match="0 samplers and 5 batches"):
        Scheduled([], 5)
    with pytest.raises(ValueError, match="variant"):
        CorrectiveSettings(variant="eq6")
