"""From a configuration to a method."""

from __future__ import annotations

import pytest
import torch

from allinsam_core.annotation import sam
from allinsam_core.baselines.beds import Beds, BedsSettings
from allinsam_core.baselines.boxes import Ellipse, EllipseSettings
from allinsam_core.baselines.nnunet import NnUNet, NnUNetSettings
from allinsam_core.baselines.otsu import Otsu, OtsuSettings
from allinsam_core.baselines.unet import CentredUNet
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.method import NetworkMethod
from allinsam_core.refinement.corrective import CorrectiveSettings, EmbeddingSam
from allinsam_core.refinement.method import CorrectiveMethod, MoclUNetSettings
from allinsam_core.refinement.network import MoclUNet
from allinsam_core.study import methods
from allinsam_core.study.config import RunConfig, SamSettings

RIVALS = (("beds", 0), ("beds-stain", 0), ("beds", 1))


def test_settings_reach_the_method(tiny_config: RunConfig) -> None:
    method = methods.build(tiny_config, "cpu")
    assert isinstance(method, NetworkMethod)
    assert isinstance(method.model, CentredUNet)
    for name in ("window", "train", "augment", "loss", "validation_loss", "seed"):
        assert getattr(method, name) == getattr(tiny_config, name)
    assert method.fabric.device == torch.device("cpu")
    for settings, kind in ((OtsuSettings(), Otsu), (EllipseSettings(), Ellipse)):
        assert isinstance(methods.build(tiny_config.model_copy(update={"model": settings})), kind)


def test_rivals_are_known_by_their_kind(tiny_config: RunConfig) -> None:
    model = BedsSettings(channels=(4, 8), members=3)
    rows = [tiny_config.model_copy(update={"model": model, "method": name, "seed": s}) for name, s in RIVALS]
    first, same, other = (methods.build(row, "cpu") for row in rows)
    assert isinstance(first, Beds)
    assert first.shared == same.shared != other.shared  # type: ignore[attr-defined]
    assert first.member(2).seed == 2
    assert other.member(2).seed == 1002  # type: ignore[attr-defined]
    pytest.importorskip("nnunetv2")
    nnunet = methods.build(tiny_config.model_copy(update={"model": NnUNetSettings(epochs=3), "seed": 5}), "cpu")
    assert isinstance(nnunet, NnUNet)
    assert (nnunet.seed, nnunet.settings.epochs) == (5, 3)


def test_the_seed_decides_the_initial_weights(tiny_config: RunConfig) -> None:
    first, again, other = (methods.network(tiny_config.model, seed).state_dict() for seed in (0, 0, 1))  # type: ignore[arg-type]
    assert all(torch.equal(v, again[k]) for k, v in first.items())
    assert not all(torch.equal(v, other[k]) for k, v in first.items())
    built = methods.build(tiny_config.model_copy(update={"seed": 1}), "cpu")
    assert isinstance(built, NetworkMethod)
    assert all(torch.equal(v, other[k]) for k, v in built.model.state_dict().items())


def test_sams_settings_reach_the_adapter(tiny_sam: sam.Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(sam, "weights_file", lambda weights: f"file of {weights}")
    monkeypatch.setattr(sam, "build", lambda *arguments: asked.append(arguments) or tiny_sam)
    settings = SamSettings(placement="late", reduction=8, zero_init=True, trainable="everything")
    model = methods.network(settings, 0)
    assert isinstance(model, AdaptedSam)
    assert model.adapted_blocks == (2, 3)
    assert model.adapter is not None
    assert model.adapter.up.weight.shape == (32, 4)
    assert not model.adapter.up.weight.any()
    assert all(p.requires_grad for p in model.image_encoder.parameters())
    matrix = tiny_sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    assert torch.equal(model.fourier.positional_encoding_gaussian_matrix, matrix)
    released = methods.network(SamSettings(reduction=8, as_released=True, weights="random"), 0)
    assert not torch.equal(released.fourier.positional_encoding_gaussian_matrix, matrix)
    assert asked == [("mini", "file of shipped"), ("mini",)]


def test_corrective_learning_is_reached_by_configuration(
    tiny_config: RunConfig, tiny_sam: sam.Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = CorrectiveSettings(variant="ours", warmup=0.25)
    unet = methods.build(tiny_config.model_copy(update={"model": MoclUNetSettings(width=16), "corrective": ours}))
    assert isinstance(unet, CorrectiveMethod)
    assert isinstance(unet.model, MoclUNet)
    assert unet.corrective == ours
    plain = methods.build(tiny_config.model_copy(update={"model": MoclUNetSettings(width=16)}))
    assert isinstance(plain, CorrectiveMethod)
    assert plain.corrective.variant == "none"
    monkeypatch.setattr(sam, "weights_file", lambda weights: weights)
    monkeypatch.setattr(sam, "build", lambda *arguments: tiny_sam)
    adapter = methods.build(tiny_config.model_copy(update={"model": SamSettings(reduction=8), "corrective": ours}))
    assert isinstance(adapter, CorrectiveMethod)
    assert isinstance(adapter.model, EmbeddingSam)
    with pytest.raises(ValueError, match="'unet' gives no embedding"):
        methods.build(tiny_config.model_copy(update={"corrective": ours}))
