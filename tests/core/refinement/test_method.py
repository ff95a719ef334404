"""Corrective learning through the study's interface: schedule, loss, prediction, resumption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from allinsam_core.data.case import Case
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.losses import MapSettings, distances
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from allinsam_core.refinement import mocl
from allinsam_core.refinement.corrective import CorrectiveSettings, EmbeddingSam
from allinsam_core.refinement.method import CorrectiveMethod
from study.rivals.mocl_unet import MoclUNet

PLAIN = AugmentSettings(turns=False, zoom=0.0, stain=0, shift=0, blur=0, noise=0)


@pytest.fixture
def square() -> Case:
    """A dark square on light ground, annotated exactly."""
    labels = np.zeros((32, 32), np.uint16)
    labels[8:24, 8:24] = 1
    image = np.where(labels[..., None] > 0, 60, 220).astype(np.uint8).repeat(3, axis=2)
    return Case("square", image, labels, 0.25, "made up")


def method(model: torch.nn.Module | None = None, variant: str = "ours", **train: object) -> CorrectiveMethod:
    settings = {"steps": 4, "batch_size": 2, "learning_rate": 3e-3, "checkpoint_every": 2, **train}
    torch.manual_seed(0)
    return CorrectiveMethod(
        MoclUNet(tasks=1, width=16) if model is None else model,
        WindowSettings(field=32, size=32, batch=1),
        TrainSettings.model_validate(settings),
        PLAIN,
        device="cpu",
        corrective=CorrectiveSettings(variant=variant),  # type: ignore[arg-type]
    )


def test_the_first_half_is_plain_and_the_second_corrective(square: Case, tmp_path: Path, monkeypatch) -> None:
    asked: list[str] = []
    named = mocl.loss_named
    monkeypatch.setattr(mocl, "loss_named", lambda name, *a, **k: asked.append(name) or named(name, *a, **k))
    told = method(accumulate=2).fit([square], [square], tmp_path)
    assert asked == ["none"] * 4 + ["ours"] * 4  # four steps of two batches
    assert told["losses"]


def test_it_learns_a_square_and_predicts_its_probability(square: Case, tmp_path: Path) -> None:
    one = method(steps=30, validate_every=15)
    told = one.fit([square], [square], tmp_path)
    prob = one.predict(square.image)
    assert (prob.shape, prob.dtype) == ((32, 32), np.float32)
    assert ((prob >= 0.5) == square.mask).mean() > 0.95
    with torch.no_grad():
        logits, _ = one.model(torch.from_numpy(square.image).permute(2, 0, 1)[None].float() / 255)
    assert prob == pytest.approx(logits.softmax(1)[0, 1].numpy(), abs=1e-5)
    assert told["validations"][-1]["dice"] > 0.9


def test_a_run_that_was_cut_goes_on_in_its_phase(square: Case, tmp_path: Path, monkeypatch) -> None:
    whole = method()
    whole.fit([square], [square], tmp_path / "whole")
    cut = method()
    sample = cut.sampler([square])

    def killed(step: int):
        if step == 3:
            raise KeyboardInterrupt
        return sample(step)

    monkeypatch.setattr(cut, "sampler", lambda train: killed)
    with pytest.raises(KeyboardInterrupt):
        cut.fit([square], [square], tmp_path / "cut")
    again = method()
    again.fit([square], [square], tmp_path / "cut")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_variants_part_after_the_warm_up(square: Case, tmp_path: Path) -> None:
    weights = {}
    for variant in ("none", "molecular_el"):
        one = method(variant=variant)
        one.fit([square], [square], tmp_path / variant)
        weights[variant] = one.model.stem.weight  # type: ignore[union-attr]
    assert not torch.equal(*weights.values())


@pytest.mark.parametrize("released", [False, True])
def test_the_adapter_is_fine_tuned_and_nothing_else(tiny_sam, square: Case, tmp_path: Path, released: bool) -> None:
    model = EmbeddingSam(AdaptedSam(tiny_sam, reduction=8, as_released=released))
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    before = model.sam.adapter.up.weight.clone()  # type: ignore[union-attr]
    one = method(model, "paper_eq5_dice")
    one.window = WindowSettings(field=32, size=64, batch=1)
    one.fit([square], [square], tmp_path)
    assert not torch.equal(before, model.sam.adapter.up.weight)  # type: ignore[union-attr]
    after = dict(model.named_parameters())
    assert frozen
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())
    assert one.predict(square.image).shape == (32, 32)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["model"]
    assert ("sam.fourier.positional_encoding_gaussian_matrix" in saved) == released


@pytest.mark.parametrize("kind", ["unet", "sam"])
def test_instance_maps_are_learnt_beside_what_is_corrected(kind: str, tiny_sam, square: Case, tmp_path: Path) -> None:
    side = {"unet": 32, "sam": 64}[kind]
    adapter = EmbeddingSam(AdaptedSam(tiny_sam, reduction=8, outputs=3)) if kind == "sam" else None
    one = method(adapter or MoclUNet(tasks=1, width=16, maps=2), steps=2)
    one.window, one.instance_maps = WindowSettings(field=side, size=side, batch=1), MapSettings(weight=5.0)
    batch = one.sampler([square])(3)  # in the corrective half
    logits, embedding = one.model(batch.image)
    own = {"unet": 2, "sam": 1}[kind]
    assert logits.shape[1] == own + 2
    corrected, _ = mocl.loss_named("ours", one.corrective.k, noise=0.2)(logits[:, :own], embedding, batch.mask)
    expected = corrected + distances(logits[:, own:], batch.instances, one.instance_maps)
    assert float(one.step_loss()(one.model, batch)) == pytest.approx(float(expected), rel=1e-5)
    one.fit([square], [square], tmp_path)
    maps = one.predict_maps(square.image)
    assert maps.shape == (3, 32, 32)
    if kind == "unet":
        with torch.no_grad():
            logits, _ = one.model(torch.from_numpy(square.image).permute(2, 0, 1)[None].float() / 255)
        prob = torch.cat([mocl.foreground(logits[:, :2]), logits[:, 2:]], 1).sigmoid()[0].numpy()
        np.testing.assert_allclose(maps, prob, atol=1e-5)
