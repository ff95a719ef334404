"""A light hybrid SAM: a convolutional stem before the transformer, whose fine features reach the mask decoder.

Two published changes to segment-anything's modules, which otherwise stay as they are. The one large patch convolution
becomes a stack of small ones (Xiao et al. 2021, arXiv 2106.14881). The maps that the stack passes through, of stride
2, 4 and 8, are fused from coarse to fine with the image embedding (Lin et al. 2017, arXiv 1612.03144), once per image,
and added where the mask decoder upscales, as SAM 2 does with its encoder's (Ravi et al. 2024, arXiv 2408.00714, §4).
Masks then come at stride 2 instead of 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

GROUPS = 8  # of group normalisation (Wu & He 2018): nothing but the image itself decides its features


def _convolutions(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """Two 3 × 3 convolutions, each normalised and rectified; the first one strides."""
    layers: list[nn.Module] = []
    for source, step in ((channels, stride), (width, 1)):
        layers += [nn.Conv2d(source, width, 3, step, 1, bias=False), nn.GroupNorm(GROUPS, width), nn.ReLU()]
    return nn.Sequential(*layers)


class ConvStem(nn.Module):
    """In the place of `ImageEncoderViT.patch_embed`: image (B, 3, H, W) → tokens (B, H/16, W/16, dim)."""

    def __init__(self, widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            _convolutions(source, width, 2) for source, width in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.proj = nn.Conv2d(widths[-1], dim, 2, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Level i passes maps (B, widths[i], H / 2^(i + 1), W / 2^(i + 1)) on; `sam.stem_maps` collects them."""
        maps = image.contiguous(memory_format=torch.channels_last)
        for level in self.levels:
            maps = level(maps)
        return self.proj(maps).permute(0, 2, 3, 1)


class FineUpscaling(nn.Module):
    """In the place of `MaskDecoder.output_upscaling`: three doublings, to stride 2, each joined by a fine map.

    dim: channels of the embedding; the maps have dim / 2, dim / 4 and dim / 8. widths: of the stem's levels.
    """

    def __init__(self, dim: int, widths: Sequence[int]) -> None:
        super().__init__()
        ours = [dim // 2, dim // 4, dim // 8]
        coarser = [dim, *ours[:-1]]
        self.lateral = nn.ModuleList(nn.Conv2d(w, c, 1) for w, c in zip(widths[::-1], ours, strict=True))
        self.reduce = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(coarser, ours, strict=True))
        self.smooth = nn.ModuleList(_convolutions(c, c) for c in ours)
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in zip(coarser, ours, strict=True))
        self.norm = nn.GroupNorm(1, ours[0])

    def pyramid(self, embedding: torch.Tensor, fine: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Once per image: embedding (B, dim, h, w) and the stem's maps → maps of stride 8, 4 and 2."""
        maps, coarse = [], embedding
        for level, finer in enumerate(reversed(fine)):
            grown = F.interpolate(self.reduce[level](coarse), scale_factor=2.0, mode="nearest")
            coarse = self.smooth[level](grown + self.lateral[level](finer))
            maps.append(coarse)
        return tuple(maps)

    def forward(self, source: torch.Tensor, *maps: torch.Tensor) -> torch.Tensor:
        """Once per prompt: (N, dim, h, w) and `pyramid`'s maps of its image → (N, dim / 8, 8h, 8w)."""
        source = F.gelu(self.norm(self.up[0](source) + maps[0]))
        source = F.gelu(self.up[1](source) + maps[1])
        return F.gelu(self.up[2](source) + maps[2])
