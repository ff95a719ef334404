"""The SAM adapter: a frozen SAM encoder with injected prompts and a trained, promptless mask decoder.

Sources: paper §3.2; SAM-Adapter (Chen et al. 2023, arXiv 2304.09148), whose explicit visual prompts the
released code uses. Two features are computed once per image: a linear map of the patch embedding, and a
patch convolution of the image's high-pass FFT. Their sum goes through one Linear + GELU per block and one
up-projection shared by all blocks, and is added to the tokens before every block.

Where this differs from the paper: "latter layers" (§3.2) is `placement="late"`; the released code, and
hence the default, adapts all blocks. Where it differs from the released code: the Fourier matrix and the
no-mask vector are SAM's own by default, and the patch embedding is read as it lies. `as_released=True` leaves both
random, as its non-strict loading does, and scrambles the tokens, as its reshape does (see `Adapter`).

SAM's encoder runs its own forward pass; the prompts come in by hooks on its patch embedding and its blocks, which
are there only while it runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from allinsam_core.annotation.sam import PositionEmbeddingRandom, Sam, decode, fine_maps, stem_maps

Placement = Literal["all", "late", "none"]

# What of a SAM the adapted network does not use: prompts are gone, save the two entries it adopts.
UNUSED_PROMPT_KEYS = (
    *(f"prompt_encoder.point_embeddings.{i}.weight" for i in range(4)),
    "prompt_encoder.not_a_point_embed.weight",
    *(f"prompt_encoder.mask_downscaling.{i}.{p}" for i in (0, 1, 3, 4, 6) for p in ("weight", "bias")),
)


def high_pass(image: torch.Tensor, rate: float = 0.25) -> torch.Tensor:
    """Magnitude of the image without its low frequencies. image and result: (B, C, H, W).

    A centred square of `rate` times the spectrum's area is set to zero (half-side
    floor(sqrt(H W rate) / 2): 256 of 1024).
    """
    height, width = image.shape[-2:]
    half = int(math.sqrt(height * width * rate) / 2)
    spectrum = torch.fft.fftshift(torch.fft.fft2(image.float(), norm="forward"), dim=(-2, -1))
    keep = torch.ones(height, width, device=image.device)
    keep[height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half] = 0
    filtered = torch.fft.ifft2(torch.fft.ifftshift(spectrum * keep, dim=(-2, -1)), norm="forward")
    return filtered.real.abs().to(image.dtype)


class Adapter(nn.Module):
    """The injected prompts of one encoder. dim: token width D; the bottleneck is D // reduction.

    scrambled: the released code's slip. It reshapes its (B, h, w, D) tokens to (B, D, h w) without moving the
    channels first, so that every vector its first Linear sees is made of D values from all over the map.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        reduction: int,
        zero_init: bool = False,
        scrambled: bool = False,
    ) -> None:
        super().__init__()
        self.scrambled = scrambled
        narrow = dim // reduction
        self.embedding = nn.Linear(dim, narrow)
        self.handcrafted = nn.Conv2d(3, narrow, patch_size, stride=patch_size)
        self.per_block = nn.ModuleList(nn.Linear(narrow, narrow) for _ in range(depth))
        self.up = nn.Linear(narrow, dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        fan_out = narrow * patch_size**2
        nn.init.normal_(self.handcrafted.weight, std=math.sqrt(2 / fan_out))
        nn.init.zeros_(cast(torch.Tensor, self.handcrafted.bias))
        if zero_init:  # the adapted network then starts exactly as SAM
            nn.init.zeros_(self.up.weight)

    def features(self, image: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """image: (B, 3, H, W) normalised; tokens: (B, h, w, D) before the position embedding. (B, h, w, D/r)."""
        texture = self.handcrafted(high_pass(image)).permute(0, 2, 3, 1)
        if self.scrambled:
            tokens = tokens.reshape(len(tokens), tokens.shape[-1], -1).transpose(1, 2).reshape(tokens.shape)
        return self.embedding(tokens) + texture

    def prompt(self, features: torch.Tensor, block: int) -> torch.Tensor:
        """What is added to the tokens before `block`: (B, h, w, D)."""
        return self.up(F.gelu(self.per_block[block](features)))


class AdaptedSam(nn.Module):
    """A SAM that segments without prompts: image in, one map of foreground logits out, or up to four maps.

    image: (B, 3, H, W) float RGB in [0, 1], H and W multiples of the patch size, any B.
    Returns logits (B, outputs, H, W): foreground alone, or with it the two maps of `instances`, or a map a class; from
    the first mask tokens of SAM's decoder, which has four anyway: the parameters stay the paper's. Sizes other than
    SAM's own interpolate the absolute position embedding.
    trainable: "adapter" freezes the encoder (the paper); "everything" trains it too (our comparison).
    reduction: of the adapter's bottleneck; None: the study's, 32 for Meta's SAMs as released, 8 for narrower ones.
    scrambled: mix the tokens as the released code does; None: if `as_released`.
    """

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(
        self,
        sam: Sam,
        placement: Placement = "all",
        reduction: int | None = None,
        zero_init: bool = False,
        as_released: bool = False,
        trainable: Literal["adapter", "everything"] = "adapter",
        outputs: int = 1,
        scrambled: bool | None = None,
    ) -> None:
        super().__init__()
        self.image_encoder = sam.image_encoder
        self.mask_decoder = sam.mask_decoder
        if not 1 <= outputs <= self.mask_decoder.num_mask_tokens:
            raise ValueError(f"{outputs} maps, expected 1 to {self.mask_decoder.num_mask_tokens}: SAM's mask tokens")
        self.tokens = slice(0, outputs)
        width = sam.prompt_encoder.embed_dim
        self.no_mask = nn.Parameter(torch.randn(1, width))
        self.fourier = PositionEmbeddingRandom(width // 2)
        # what no file of base weights gives back, so a checkpoint of the trained part must hold it too
        self.also_saved = ("fourier.positional_encoding_gaussian_matrix",) if as_released else ()
        if not as_released:
            self.no_mask.data.copy_(sam.prompt_encoder.no_mask_embed.weight)
            self.fourier.load_state_dict(sam.prompt_encoder.pe_layer.state_dict())
        self.register_buffer("pixel_mean", sam.pixel_mean.clone() / 255, persistent=False)
        self.register_buffer("pixel_std", sam.pixel_std.clone() / 255, persistent=False)
        depth = len(self.image_encoder.blocks)
        first = {"all": 0, "late": depth // 2, "none": depth}[placement]
        self.adapted_blocks = tuple(range(first, depth))
        self.adapter: Adapter | None = None
        if placement != "none":
            dim = self.image_encoder.patch_embed.proj.out_channels
            scrambled = as_released if scrambled is None else scrambled
            reduction = reduction or (32 if dim >= 768 else 8)
            self.adapter = Adapter(dim, depth, self.patch_size, reduction, zero_init, scrambled)
            for block in range(first):
                self.adapter.per_block[block].requires_grad_(False)
        if trainable == "adapter":
            self.image_encoder.requires_grad_(False)

    def start_alike(self) -> None:
        """Let every map start as the foreground's: copies of mask token 0 and of its layers; for maps of classes."""
        decoder = self.mask_decoder
        first = decoder.output_hypernetworks_mlps[0].state_dict()
        for token in range(1, self.tokens.stop):
            decoder.mask_tokens.weight.data[token] = decoder.mask_tokens.weight.data[0]
            decoder.output_hypernetworks_mlps[token].load_state_dict(first)

    @property
    def patch_size(self) -> int:
        """Side of a token in pixels of the input."""
        encoder = self.image_encoder
        return int(encoder.img_size // encoder.pos_embed.shape[1])

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] → image embedding (B, C, H/patch, W/patch)."""
        return self.embed(image)[0]

    def embed(self, image: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The embedding, and the fine maps of `sam.embed`, none without a stem."""
        encoder, patch = self.image_encoder, self.patch_size
        if image.shape[-2] % patch or image.shape[-1] % patch:
            raise ValueError(f"image is {tuple(image.shape)}; height and width must be multiples of {patch}")
        grid = (image.shape[-2] // patch, image.shape[-1] // patch)
        resized = {} if encoder.pos_embed is None else {"pos_embed": _resized(encoder.pos_embed, grid)}
        with self._prompts_added(), stem_maps(encoder) as fine:
            embedding = functional_call(encoder, resized, ((image - self.pixel_mean) / self.pixel_std,))
        return embedding, fine_maps(self.mask_decoder, embedding, tuple(fine))

    @contextmanager
    def _prompts_added(self) -> Iterator[None]:
        """Within it the encoder adds the adapter's prompts to the tokens before each adapted block."""
        encoder, adapter = self.image_encoder, self.adapter
        if adapter is None:
            yield
            return
        features: list[torch.Tensor] = []

        def compute(_: nn.Module, inputs: tuple[torch.Tensor], tokens: torch.Tensor) -> None:
            features[:] = [adapter.features(inputs[0], tokens)]

        def add(block: int, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (inputs[0] + adapter.prompt(features[0], block), *inputs[1:])

        hooks = [encoder.patch_embed.register_forward_hook(compute)]
        hooks += [encoder.blocks[i].register_forward_pre_hook(partial(add, i)) for i in self.adapted_blocks]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        embedding, fine = self.embed(image)
        sparse = embedding.new_empty(len(embedding), 0, embedding.shape[1])
        dense = self.no_mask[:, :, None, None].expand_as(embedding)
        grid = embedding.shape[-2:]
        low, _ = decode(self.mask_decoder, embedding, self.fourier(grid), sparse, dense, self.tokens, fine)
        return F.interpolate(low, size=image.shape[-2:], mode="bilinear", align_corners=False)


def _resized(position: torch.Tensor, grid: tuple[int, int] | torch.Size) -> torch.Tensor:
    """Absolute position embedding (1, h, w, D) resampled to `grid`."""
    if tuple(position.shape[1:3]) == tuple(grid):
        return position
    resized = F.interpolate(position.permute(0, 3, 1, 2), size=tuple(grid), mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def parameter_counts(model: AdaptedSam) -> dict[str, int]:
    """The integers of `allinsam describe`: total, trainable, adapter, decoder."""

    def size(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    return {
        "total": size(model),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "adapter": size(model.adapter) if model.adapter is not None else 0,
        "decoder": size(model.mask_decoder),
    }
