"""From a configuration to a method."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allinsam_core.annotation import sam
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.losses import MapSettings
from allinsam_core.learning.method import NetworkMethod, WindowSettings
from allinsam_core.refinement.corrective import CorrectiveSettings, EmbeddingSam
from allinsam_core.refinement.method import CorrectiveMethod
from allinsam_core.settings import SettingsError, validated
from study import methods
from study.allinsam import MoclUNetSettings, SamSettings
from study.config import RunConfig
from study.rivals.beds import Beds, BedsSettings
from study.rivals.boxes import Ellipse, EllipseSettings
from study.rivals.lvit import LViTSettings
from study.rivals.mocl_unet import MoclUNet
from study.rivals.nnunet import NnUNet, NnUNetSettings
from study.rivals.otsu import Otsu, OtsuSettings
from study.rivals.unet import CentredUNet, UNetSettings
from study.rivals.xie import XieSettings

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
    first, again, other = (tiny_config.model.network(seed).state_dict() for seed in (0, 0, 1))  # type: ignore[attr-defined]
    assert all(torch.equal(v, again[k]) for k, v in first.items())
    assert not all(torch.equal(v, other[k]) for k, v in first.items())
    built = methods.build(tiny_config.model_copy(update={"seed": 1}), "cpu")
    assert isinstance(built, NetworkMethod)
    assert all(torch.equal(v, other[k]) for k, v in built.model.state_dict().items())


def test_sams_settings_reach_the_adapter(tiny_sam: sam.Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(sam, "weights_file", lambda weights, name="mini": f"file of {weights}")
    monkeypatch.setattr(sam, "build", lambda *arguments, **named: asked.append(arguments) or tiny_sam)
    settings = SamSettings(placement="late", reduction=8, zero_init=True, trainable="everything")
    model = settings.network(0)
    assert isinstance(model, AdaptedSam)
    assert model.adapted_blocks == (2, 3)
    assert model.adapter is not None
    assert model.adapter.up.weight.shape == (32, 4)
    assert not model.adapter.up.weight.any()
    assert all(p.requires_grad for p in model.image_encoder.parameters())
    matrix = tiny_sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    assert torch.equal(model.fourier.positional_encoding_gaussian_matrix, matrix)
    released = SamSettings(reduction=8, as_released=True, weights="random").network(0)
    assert not torch.equal(released.fourier.positional_encoding_gaussian_matrix, matrix)
    assert asked == [("mini", "file of shipped", None), ("mini",)]


def test_a_sam_gets_the_studys_adapter_unless_another_is_asked_for() -> None:
    settings = ({}, {"name": "mini2"}, {"name": "vit_h"}, {"placement": "none"}, {"reduction": 4})
    assert [SamSettings(**given).reduction for given in settings] == [8, 8, 32, 32, 4]  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"^model: name is 'x', expected 'mini', .*'vit_h'$"):
        validated(SamSettings, {"name": "x"}, "model")


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
    monkeypatch.setattr(sam, "weights_file", lambda weights, name="mini": weights)
    monkeypatch.setattr(sam, "build", lambda *arguments, **named: tiny_sam)
    adapter = methods.build(tiny_config.model_copy(update={"model": SamSettings(reduction=8), "corrective": ours}))
    assert isinstance(adapter, CorrectiveMethod)
    assert isinstance(adapter.model, EmbeddingSam)
    with pytest.raises(ValueError, match="'unet' gives no embedding"):
        methods.build(tiny_config.model_copy(update={"corrective": ours}))


NETWORKS = (
    UNetSettings(channels=(4, 8)),
    LViTSettings(channels=8, heads=2, size=32),
    XieSettings(backbone="resnet10", decoder=(8, 8, 8, 8, 8), pretext=None),
    MoclUNetSettings(width=16),
    SamSettings(weights="random", reduction=8),
)


@pytest.mark.parametrize("model", NETWORKS, ids=lambda model: model.kind)
def test_every_trained_network_can_give_instance_maps(
    model: methods.NetworkSettings, tiny_config: RunConfig, tiny_sam: sam.Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam, "build", lambda *arguments, **named: tiny_sam)
    side = 64 if model.kind == "sam" else 32
    window = WindowSettings(field=side, size=side)
    image = np.full((40, 50, 3), 200, np.uint8)
    for maps, count in ((None, 1), (MapSettings(), 3)):
        config = tiny_config.model_copy(update={"model": model, "window": window, "instance_maps": maps})
        method = methods.build(config, "cpu")
        assert isinstance(method, NetworkMethod)
        assert method.instance_maps == maps
        assert method.predict_maps(image).shape == (count, 40, 50)


@pytest.mark.parametrize("model", [OtsuSettings(), EllipseSettings()], ids=lambda model: model.kind)
def test_what_is_not_trained_has_no_instance_maps(model: methods.NetworkSettings) -> None:
    with pytest.raises(ValueError, match=f"{model.kind!r} cannot learn instance maps"):
        RunConfig(profile="smoke", method="x", model=model, instance_maps=MapSettings())
