"""Build and load SAM on segment-anything's own modules (Kirillov et al. 2023, arXiv 2304.02643).

`vit_b`, `vit_l`, `vit_h` are exactly what segment-anything's builders make. `mini` and `mini2` are small SAMs of our
own, made of the same modules (`mini2` with those of `hybrid` too); their weights are not Meta's and their numbers are
never Meta's SAM's.
Weights load strictly: every key of the file must meet a key of the model and the other way round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from allinsam_core import _segment_anything

_segment_anything.ensure()
from segment_anything.build_sam import _build_sam, sam_model_registry  # noqa: E402
from segment_anything.modeling import (  # noqa: E402
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.modeling.image_encoder import Attention as Attention  # noqa: E402
from segment_anything.modeling.image_encoder import Block as Block  # noqa: E402
from segment_anything.modeling.image_encoder import get_rel_pos as get_rel_pos  # noqa: E402
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom as PositionEmbeddingRandom  # noqa: E402

from allinsam_core.annotation.hybrid import ConvStem, FineUpscaling  # noqa: E402

GEOMETRY = {"vit_b": (768, 12), "vit_l": (1024, 16), "vit_h": (1280, 16)}  # Meta's: width, heads
MODELS = ("mini", "mini2", "vit_b", "vit_l", "vit_h")
REDUCTION = {"mini": 8, "mini2": 8, "vit_b": 32, "vit_l": 32, "vit_h": 32}  # the adapter's bottleneck is D // this
MINI_MASK_THRESHOLD = -1.0  # logit: masks of tight boxes are then as large as the nuclei, see `allinsam mask-threshold`
SHIPPED = {
    "mini": Path(__file__).with_name("mini_sam.safetensors"),
    "mini2": Path(__file__).with_name("mini2.safetensors"),
}


@dataclass(frozen=True)
class MiniGeometry:
    """Sizes of mini-SAM; the names are segment-anything's.

    field: px of an image at 0.25 µm/px that fill the input. stem: widths of the convolutional stem's levels (`hybrid`);
    None: SAM's own patch convolution and upscaling. instance_maps: whether it learnt to give, without a prompt, the two
    distances of `learning.instances` too.
    """

    image_size: int = 256
    patch_size: int = 16
    embed_dim: int = 192
    depth: int = 12
    num_heads: int = 6
    window_size: int = 8
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    prompt_dim: int = 128
    decoder_mlp_dim: int = 512
    field: int = 150
    stem: tuple[int, int, int] | None = None
    instance_maps: bool = False


MINIS = {"mini": MiniGeometry(), "mini2": MiniGeometry(field=256, stem=(32, 64, 128), instance_maps=True)}


def _build_mini(geometry: MiniGeometry | None = None) -> Sam:
    g = geometry or MiniGeometry()
    grid = g.image_size // g.patch_size
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=g.image_size,
            patch_size=g.patch_size,
            embed_dim=g.embed_dim,
            depth=g.depth,
            num_heads=g.num_heads,
            mlp_ratio=4,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=g.window_size,
            global_attn_indexes=g.global_attn_indexes,
            out_chans=g.prompt_dim,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=g.prompt_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(g.image_size, g.image_size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=g.prompt_dim,
            transformer=TwoWayTransformer(depth=2, embedding_dim=g.prompt_dim, mlp_dim=g.decoder_mlp_dim, num_heads=8),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=g.prompt_dim,
        ),
    )
    sam.mask_threshold = MINI_MASK_THRESHOLD
    if g.stem is not None:
        if g.patch_size != 16:
            raise ValueError(f"patch_size is {g.patch_size}; expected 16, the stride of a stem of three levels")
        sam.image_encoder.patch_embed = ConvStem(g.stem, g.embed_dim)
        sam.mask_decoder.output_upscaling = FineUpscaling(g.prompt_dim, g.stem)
    return sam.eval()


def build(name: str, checkpoint: Path | str | None = None, depth: int | None = None) -> Sam:
    """A SAM in evaluation mode, on the CPU unless a `torch.device` context says otherwise.

    name: one of `MODELS`. checkpoint: a `.pth` of Meta's release or a `.safetensors`; None leaves the
    initial random weights (`load_mini` loads those that ship with the package). depth: of one of Meta's, only so many
    blocks, the last of them with global attention; None: all.
    Raises ValueError for an unknown name, a wrong or a broken checkpoint, FileNotFoundError for a missing one.
    """
    if name not in MODELS:
        raise ValueError(f"unknown SAM {name!r}; expected one of {', '.join(MODELS)}")
    if depth is None:
        sam = _build_mini(MINIS[name]) if name in MINIS else sam_model_registry[name]()
    elif name in GEOMETRY:
        sam = _build_sam(GEOMETRY[name][0], depth, GEOMETRY[name][1], [depth - 1])
    else:
        raise ValueError(f"depth is {depth} for {name}, which has one depth; leave it out")
    if checkpoint is not None:
        load_strictly(sam, read_weights(Path(checkpoint)), Path(checkpoint), name)
    return sam.eval()


def initialised(sam: Sam) -> Sam:
    """ViT initialisation of the encoder: truncated normal σ 0.02 (segment-anything leaves PyTorch's)."""
    for module in sam.image_encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if sam.image_encoder.pos_embed is not None:
        nn.init.trunc_normal_(sam.image_encoder.pos_embed, std=0.02)
    return sam


def load_mini(name: str = "mini") -> Sam:
    """mini-SAM, or mini2, with the weights that ship with the package (see MODEL_CARD.md)."""
    return build(name, SHIPPED[name])


def weights_file(weights: str, name: str = "mini") -> Path:
    """The file meant by `weights`: "shipped" for those that ship for the SAM of that name, else a path.

    Raises ValueError where none ship, FileNotFoundError where the file is not there.
    """
    if weights == "shipped" and name not in SHIPPED:
        raise ValueError(f"no weights of {name} ship with this package, only of {', '.join(SHIPPED)}; name a file")
    path = SHIPPED[name] if weights == "shipped" else Path(weights).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such checkpoint. `allinsam data fetch` downloads SAM's weights; "
            "`allinsam data fetch --offline` says which file to put where."
        )
    return path


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict without running any code from the file (`weights_only`, or safetensors)."""
    path = weights_file(str(path))
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files and refused pickles raise many types
        raise ValueError(
            f"{path}: not a readable checkpoint ({path.stat().st_size:,} bytes found; truncated or another "
            f"kind of file?). Expected a state dict; download it again and compare its sha256 with "
            f"data_manifest.yaml. Cause: {type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) and v.layout == torch.strided and v.device.type == "cpu"
        for k, v in weights.items()
    ):
        raise ValueError(f"{path}: holds {type(weights).__name__}, expected a state dict of tensors by name")
    return weights


def load_strictly(module: nn.Module, weights: dict[str, torch.Tensor], path: Path, what: str) -> None:
    """Copy `weights` into `module`; any missing, unexpected or misshapen key is an error that names it."""
    own = module.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    misshapen = [
        f"{k} {tuple(weights[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own.keys() & weights.keys()
        if weights[k].shape != own[k].shape
    ]
    if missing or unexpected or misshapen:
        raise ValueError(
            f"{path}: these are not the weights of {what}: {len(missing)} keys missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(misshapen)} of another shape "
            f"{sorted(misshapen)[:3]}. Choose the model that the file belongs to."
        )
    if wrong := [k for k, v in weights.items() if not v.is_meta and (v.is_complex() or not v.isfinite().all())]:
        raise ValueError(
            f"{path}: {len(wrong)} of {len(weights)} tensors hold values that are not finite {wrong[:3]}, expected "
            "numbers; the file is damaged or its training diverged, use another one"
        )
    module.load_state_dict(weights, strict=True)


def mini_geometry(sam: Sam) -> MiniGeometry | None:
    """Which of our small SAMs this is, by size of input and stem; None for Meta's."""
    encoder = sam.image_encoder
    sizes = (geometry for geometry in MINIS.values() if geometry.image_size == encoder.img_size)
    found = (g for g in sizes if (g.stem is not None) == isinstance(encoder.patch_embed, ConvStem))
    return next(found, None)


@contextmanager
def stem_maps(encoder: ImageEncoderViT) -> Iterator[list[torch.Tensor]]:
    """What the levels of the encoder's stem give while it runs, fine to coarse; nothing without a stem."""
    found: list[torch.Tensor] = []
    stem = encoder.patch_embed
    levels = stem.levels if isinstance(stem, ConvStem) else ()
    hooks = [level.register_forward_hook(lambda _, __, maps: found.append(maps)) for level in levels]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def fine_maps(
    decoder: MaskDecoder, embedding: torch.Tensor, fine: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    """What `decode` adds while it upscales, computed once per image; none without a stem."""
    upscaling = decoder.output_upscaling
    return upscaling.pyramid(embedding, fine) if isinstance(upscaling, FineUpscaling) else ()


def embed(sam: Sam, image: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Embedding (B, C, h, w) and fine maps of a normalised image (B, 3, S, S) of SAM's own size S."""
    with stem_maps(sam.image_encoder) as fine:
        embedding = sam.image_encoder(image)
    return embedding, fine_maps(sam.mask_decoder, embedding, tuple(fine))


def decode(
    decoder: MaskDecoder,
    embedding: torch.Tensor,
    position: torch.Tensor,
    sparse: torch.Tensor,
    dense: torch.Tensor,
    tokens: slice,
    fine: tuple[torch.Tensor, ...] = (),
) -> tuple[torch.Tensor, torch.Tensor]:
    """SAM's mask decoder on a batch in which every entry has its own embedding.

    segment-anything's `MaskDecoder.forward` takes one image and repeats it for every prompt; this runs the
    same sub-modules on embedding (N, C, h, w), sparse (N, P, C), dense (N, C, h, w) and position (C, h, w).
    fine: the maps of `embed`, entry by entry. Returns low-resolution logits (N, T, 4h, 4w), with fine maps
    (N, T, 8h, 8w), and predicted IoUs (N, T) of the mask tokens in `tokens`.
    """
    n, channels, height, width = embedding.shape
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    queries = torch.cat([own.expand(n, -1, -1), sparse], dim=1)
    hidden, source = decoder.transformer(embedding + dense, position.expand(n, -1, -1, -1), queries)
    upscaled = decoder.output_upscaling(source.transpose(1, 2).reshape(n, channels, height, width), *fine)
    wanted = range(*tokens.indices(decoder.num_mask_tokens))
    hyper = torch.stack([decoder.output_hypernetworks_mlps[i](hidden[:, 1 + i]) for i in wanted], dim=1)
    masks = torch.einsum("ntc,nchw->nthw", hyper, upscaled)
    return masks, decoder.iou_prediction_head(hidden[:, 0])[:, tokens]


def weights_checksum(module: nn.Module) -> str:
    """sha256 over names, shapes and float32 values of the state dict: the identity of a set of weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
