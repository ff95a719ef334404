"""LViT: language meets vision transformer (Li et al., IEEE TMI 2024, arXiv 2206.14718; released code at a9b0b41).

A U-Net and a U of four transformers side by side: transformer level i reads the convolutional features of level i,
its tokens come back and are added to them before the skip connection, where a pixel-level attention module (PLAM)
weighs every pixel. A sentence about where nuclei are dense is added to the first level's tokens.

Faithful: both branches with their widths, patch sides 16/8/4/2, one block and 8 heads a level, PLAM, the text
projections 768 → 8w → 4w → 2w → w, batch normalisation: 29,908,033 parameters at the published width of 64 and 224 px,
without the modules that the released code builds but never calls. Different, and why:
- The text encoder is BERT, pinned, where `encoder` asks for it (`paper`); else each word has a fixed vector, so that
  nothing need be downloaded (`lvit_text.py`).
- The published sentences were written by people who saw the annotation, for test images too. Here a written rule makes
  them (`sentence`), and `text` says from what: "image" uses only pixels (stain deconvolution and Otsu, as in
  `otsu.py`); "oracle" uses the truth of the very image that is segmented, a leak, shown only to measure its worth.
- The sentence describes the window that the network sees; with a window of the whole image it is one sentence an image.
- Learning from unlabelled images (pseudo-labels and the text-similarity loss) is left out: with part of the labels, the
  rest of the images is not used. Labels are resampled to the nearest, not dilated.
"""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from allinsam_core.data.case import Case
from allinsam_core.learning.augment import Batch
from allinsam_core.learning.method import NetworkMethod
from study.methods import NetworkSettings
from study.rivals.lvit_text import EMBEDDING, TOKENS, Encoder, embed, sentence
from study.rivals.otsu import Otsu, OtsuSettings


class LViTSettings(NetworkSettings):
    """channels: width of the first level; size: side of the network's input, which fixes the number of tokens."""

    kind: Literal["lvit"] = "lvit"
    channels: int = 64
    heads: int = 8
    size: int = 224
    text: Literal["image", "oracle"] = "image"
    encoder: Encoder = "words"

    def initial(self, outputs: int = 1) -> LViT:
        return LViT(self, outputs)

    def form(self) -> type[NetworkMethod]:
        return OracleText if self.text == "oracle" else NetworkMethod


def estimated_mask(image: np.ndarray) -> np.ndarray:
    """(H, W) bool: nucleus pixels as stain deconvolution and Otsu's threshold see them. image: (H, W, 3) uint8."""
    return Otsu(OtsuSettings()).predict(image) >= 0.5


def convolutions(inputs: int, outputs: int, count: int = 2) -> nn.Sequential:
    """`count` times 3 × 3 convolution, batch normalisation, ReLU."""
    layers: list[nn.Module] = []
    for width in (inputs, *[outputs] * (count - 1)):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class Along(nn.Sequential):
    """1-D convolution, batch normalisation, ReLU over (B, inputs, L) → (B, outputs, L)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv1d(inputs, outputs, 3, padding=1), nn.BatchNorm1d(outputs), nn.ReLU())


class PixelAttention(nn.Module):
    """PLAM: x (B, C, H, W) → x weighed pixel by pixel by what the mean and the largest of its channels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Conv2d(channels, channels, 1, bias=False)
        self.most = nn.Conv2d(channels, channels, 1, bias=False)
        self.weigh = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = self.mean(x).relu().mean(1, keepdim=True)
        most = self.most(x).relu().amax(1, keepdim=True)
        return x * self.weigh(torch.cat([mean, most, mean + most], 1))


class Block(nn.Module):
    """Transformer block: tokens (B, N, C) → the same; the MLP ends in an activation, as in the released code."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        layers = [nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(4 * width, width), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Dropout(0.1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        seen = self.norm1(tokens)
        tokens = tokens + self.attention(seen, seen, seen, need_weights=False)[0]
        return tokens + self.mlp(self.norm2(tokens))


class TransformerLevel(nn.Module):
    """One level of the transformer U, `width` channels, on features whose patches have `patch` px."""

    def __init__(self, width: int, heads: int, patch: int, tokens: int, first: bool, last: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(width, width, patch, stride=patch)
        self.position = nn.Parameter(torch.zeros(1, tokens, width))
        self.down, self.up = Block(width, heads), Block(width, heads)
        self.halve = None if first else Along(width, width // 2)
        self.deeper = None if last else Along(2 * width, width)
        self.back = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU())

    def descend(self, features: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
        """features: (B, C, H, W); above: the text on the first level, else the tokens (B, N, C/2) of the one above."""
        tokens = F.dropout(self.patches(features).flatten(2).mT + self.position, 0.1, self.training)
        if self.halve is None:
            return self.down(tokens + above)
        return torch.cat([self.halve(self.down(tokens).mT).mT, above], 2)

    def ascend(self, tokens: torch.Tensor, below: torch.Tensor | None) -> torch.Tensor:
        """tokens: (B, N, C); below: (B, N, 2C), the tokens of the level below, None on the last."""
        tokens = self.up(tokens)
        return tokens if self.deeper is None or below is None else tokens + self.deeper(below.mT).mT

    def returned(self, tokens: torch.Tensor, side: int) -> torch.Tensor:
        """tokens (B, N, C) → (B, C, side, side), to be added to the features they came from."""
        grid = round(tokens.shape[1] ** 0.5)
        picture = F.interpolate(tokens.mT.unflatten(2, (grid, grid)), scale_factor=side // grid)
        return self.back(picture)


class LViT(nn.Module):
    """image (B, 3, S, S) in [0, 1] → logits (B, outputs, S, S). Oracle text needs a fourth channel, the truth."""

    def __init__(self, settings: LViTSettings, outputs: int = 1) -> None:
        super().__init__()
        w, self.settings = settings.channels, settings
        if settings.size % 16:
            raise ValueError(f"LViT's size is {settings.size}, expected a multiple of 16, the side of its patches")
        tokens = (settings.size // 16) ** 2
        widths = (w, 2 * w, 4 * w, 8 * w)
        self.stem = convolutions(3, w, 1)
        self.down = nn.ModuleList(convolutions(c, d) for c, d in zip(widths, (*widths[1:], 8 * w), strict=True))
        self.levels = nn.ModuleList(
            TransformerLevel(c, settings.heads, 16 >> i, tokens, first=i == 0, last=i == 3)
            for i, c in enumerate(widths)
        )
        projections = zip((EMBEDDING, *widths[:0:-1]), widths[::-1], strict=True)
        self.project = nn.Sequential(*(nn.Conv1d(c, d, 3, padding=1) for c, d in projections))
        self.spread = Along(TOKENS, tokens)
        self.attend = nn.ModuleList(PixelAttention(c) for c in widths)
        self.up = nn.ModuleList(convolutions(2 * c, max(w, c // 2)) for c in widths)
        self.out = nn.Conv2d(w, outputs, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        size = self.settings.size
        if image.shape[2:] != (size, size):
            raise ValueError(f"LViT was built for {size} px, found {tuple(image.shape[2:])}; set window.size to {size}")
        texts = torch.stack(
            [embed(self.describe(item), self.settings.encoder) for item in image.detach().float().cpu()]
        )
        return self.segment(image[:, :3], texts.to(image.device))

    def describe(self, item: torch.Tensor) -> str:
        """The sentence of one input (3 or 4, S, S)."""
        if self.settings.text == "oracle":
            return sentence(item[3].numpy() >= 0.5)
        pixels = (item.permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8)
        return sentence(estimated_mask(pixels.numpy()))

    def segment(self, image: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """image: (B, 3, S, S); texts: (B, 10, 768) from `lvit_text.embed`. Returns logits (B, outputs, S, S)."""
        levels = cast(list[TransformerLevel], list(self.levels))
        features = [self.stem(image)]
        above = self.spread(self.project(texts.mT).mT)
        tokens: list[torch.Tensor] = []
        for level, down in zip(levels, self.down, strict=True):
            above = level.descend(features[-1], above)
            tokens.append(above)
            features.append(down(F.max_pool2d(features[-1], 2)))
        x, below = features.pop(), None
        for i in (3, 2, 1, 0):
            below = levels[i].ascend(tokens[i], below)
            tokens[i] = below
        for i in (3, 2, 1, 0):
            skip = features[i] + levels[i].returned(tokens[i], features[i].shape[2])
            x = self.up[i](torch.cat([self.attend[i](skip), F.interpolate(x, scale_factor=2)], 1))
        return self.out(x)


class OracleText(NetworkMethod):
    """LViT with a sentence made from the truth of the image it segments. No rival: it shows what the leak is worth."""

    def given_batch(self, batch: Batch) -> torch.Tensor:
        return torch.cat([batch.image, batch.mask], 1)

    def given(self, case: Case) -> np.ndarray:
        return np.dstack([case.image, 255 * case.mask.astype(np.uint8)])
