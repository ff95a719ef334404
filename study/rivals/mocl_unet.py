"""The network of the earlier MOCL work: a residual U-Net whose last layers are written by the network itself.

Sources: paper §3.3 and reference 15 (Deng et al. 2023); DoDNet (Zhang et al. 2021, arXiv 2011.10217) for the
dynamic head; He et al. 2016 (arXiv 1603.05027) for pre-activation blocks. Built from the description in words;
the trainable parameters number 5,956,174. The earlier released network holds 76,416 more that nothing uses (a
second head for a scale id); they are left out here.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

TASKS = ("podocyte", "mesangial")
PARAMETERS = 5_956_174  # of the network as published: width 32, two tasks

_GROUPS = 16
_HEAD = 8  # channels inside the dynamic head
_CLASSES = 2  # background, foreground


def _shapes(outputs: int) -> tuple[tuple[int, int], ...]:
    """The head's three 1×1 layers, (out, in)."""
    return (_HEAD, _HEAD), (_HEAD, _HEAD), (outputs, _HEAD)


def _normed(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(_GROUPS, channels), nn.ReLU())


class ResidualBlock(nn.Module):
    """Two pre-activated 3×3 convolutions beside a shortcut. (B, inner, H, W) → (B, outer, H/stride, W/stride)."""

    def __init__(self, inner: int, outer: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _normed(inner),
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            _normed(outer),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inner != outer:
            self.shortcut = nn.Sequential(_normed(inner), nn.Conv2d(inner, outer, 1, stride, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


class MoclUNet(nn.Module):
    """Residual U-Net with a dynamic head: image and cell type in, two logits and the embedding out.

    tasks: number of cell types, one binary segmentation each. width: channels at full resolution, a multiple
    of 16; 32 is the published network, 16 a quarter of it for quick tests. maps: logits beside its own two.
    """

    def __init__(self, tasks: int = len(TASKS), width: int = 32, maps: int = 0) -> None:
        super().__init__()
        if width % _GROUPS:
            raise ValueError(f"width is {width}; expected a multiple of {_GROUPS} (group normalisation)")
        self.tasks, self.outputs = tasks, _CLASSES + maps
        sizes = (width, 2 * width, 4 * width, 8 * width, 8 * width)
        self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        stages: list[nn.Module] = [ResidualBlock(width, width)]
        for inner, outer in pairwise(sizes):
            stages.append(nn.Sequential(ResidualBlock(inner, outer, 2), ResidualBlock(outer, outer)))
        self.stages = nn.ModuleList(stages)
        self.fusion = nn.Sequential(_normed(sizes[-1]), nn.Conv2d(sizes[-1], sizes[-1], 1, bias=False))
        narrow = (4 * width, 2 * width, width, width)
        self.up = nn.ModuleList(ResidualBlock(i, o) for i, o in zip(sizes[-2::-1], narrow, strict=True))
        self.reduce = nn.Sequential(_normed(width), nn.Conv2d(width, _HEAD, 1))
        self.pool = nn.Sequential(_normed(sizes[-1]), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.controller = nn.Linear(sizes[-1] + tasks, sum(o * i + o for o, i in _shapes(self.outputs)))

    def forward(self, image: torch.Tensor, task: torch.Tensor | int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Segment one cell type.

        image: (B, 3, H, W) float RGB in [0, 1], H and W multiples of 16. task: which cell type, an int or
        (B,) int64. Returns logits (B, 2 + maps, H, W), the first two of background and foreground, and the embedding
        E of Eq. (2), (B, width, H, W), the decoder's last map.
        """
        if image.shape[-2] % 16 or image.shape[-1] % 16:
            raise ValueError(f"image is {tuple(image.shape)}; height and width must be multiples of 16")
        x = self.stem(image)
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        deepest = self.fusion(skips.pop())
        x = deepest
        for block in self.up:
            x = block(F.interpolate(x, scale_factor=2.0, mode="nearest") + skips.pop())
        code = torch.cat([self.pool(deepest), self._one_hot(task, len(image), image.device)], dim=1)
        return dynamic_head(self.reduce(x), self.controller(code), self.outputs), x

    def _one_hot(self, task: torch.Tensor | int, batch: int, device: torch.device) -> torch.Tensor:
        index = torch.as_tensor(task, device=device).expand(batch)
        if bool((index < 0).any() or (index >= self.tasks).any()):
            raise ValueError(f"task is {index.tolist()}; expected 0 … {self.tasks - 1}")
        return F.one_hot(index, self.tasks).float()


def dynamic_head(features: torch.Tensor, weights: torch.Tensor, outputs: int = _CLASSES) -> torch.Tensor:
    """Three 1×1 convolutions (8→8, ReLU, 8→8, ReLU, 8→outputs), each image with weights of its own.

    features: (B, 8, H, W). weights: (B, 162 with two outputs), the three matrices row by row, then the three biases.
    Returns logits (B, outputs, H, W).
    """
    shapes = _shapes(outputs)
    matrices = [outer * inner for outer, inner in shapes]
    parts = weights.split([*matrices, *(outer for outer, _ in shapes)], dim=1)
    for index, (outer, inner) in enumerate(shapes):
        matrix = parts[index].reshape(-1, outer, inner)
        bias = parts[len(shapes) + index][:, :, None, None]
        features = torch.einsum("boi,bihw->bohw", matrix, features) + bias
        if index + 1 < len(shapes):
            features = features.relu()
    return features
