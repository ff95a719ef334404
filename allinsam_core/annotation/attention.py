"""SAM's encoder in fewer operations or less memory, with the same values.

Fewer operations: the relative position of attention folded into queries and keys.

segment-anything adds two terms to every logit, q·R_h of the rows' distance and q·R_w of the columns' (Li et al. 2022,
MViTv2, Eq. 4). With e the unit vector of a key's row or column, the sum is one dot product of longer vectors,

    s q·k + q·R_h + q·R_w = [s q, q R_h, q R_w] · [k, e_row, e_column],

so that one matrix product gives all logits. The values are segment-anything's up to rounding.

Less memory: what a block computes on its way is not kept for the backward pass but computed again there (Chen et al.
2016, arXiv 1604.06174). The values are the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from allinsam_core.annotation.sam import Attention, Block, get_rel_pos

FEW = 1024  # tokens; on a processor a plain product is faster than `scaled_dot_product_attention`, and fits the memory


class FoldedAttention(Attention):
    """segment-anything's `Attention` with another forward pass: the same parameters under the same names."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, H, W, D) tokens of a window or an image. Returns the same shape."""
        b, h, w, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, h * w, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        parts = [q * self.scale]  # each (B, heads, h w, ·)
        if self.use_rel_pos:
            grid = q.reshape(b, self.num_heads, h, w, -1)
            rows, columns = (
                get_rel_pos(side, side, table).to(q.dtype) for side, table in ((h, self.rel_pos_h), (w, self.rel_pos_w))
            )
            parts.append(torch.einsum("bnhwc,hkc->bnhwk", grid, rows).flatten(2, 3))
            parts.append(torch.einsum("bnhwc,wkc->bnhwk", grid, columns).flatten(2, 3))
            unit_row, unit_column = (torch.eye(side, dtype=k.dtype, device=k.device) for side in (h, w))
            place = torch.cat([unit_row.repeat_interleave(w, 0), unit_column.repeat(h, 1)], dim=1)
            k = torch.cat([k, place.expand(b, self.num_heads, -1, -1)], dim=-1)
        q = torch.cat(parts, dim=-1)
        if x.device.type == "cpu" and h * w <= FEW:
            found = (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        else:
            found = F.scaled_dot_product_attention(q, k, F.pad(v, (0, q.shape[-1] - v.shape[-1])), scale=1.0)
            found = found[..., : v.shape[-1]]
        return self.proj(found.transpose(1, 2).reshape(b, h, w, -1))


def fold(encoder: nn.Module, folded: bool = True) -> nn.Module:
    """Make all attention of a SAM encoder folded, or segment-anything's own again. Returns the encoder.

    The class of each attention changes in place: parameters, their names and hooks stay as they are.
    """
    for module in encoder.modules():
        if isinstance(module, Attention):
            module.__class__ = FoldedAttention if folded else Attention
    return encoder


class RecomputedBlock(Block):
    """segment-anything's `Block`, of which only the input is kept for the backward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, H, W, D) tokens. Returns the same shape."""
        found: torch.Tensor = checkpoint(super().forward, x, use_reentrant=False)
        return found


def recompute(encoder: nn.Module, recomputed: bool = True) -> nn.Module:
    """Make the blocks of a SAM encoder compute their insides again for the backward pass, or keep them. Returns it."""
    for module in encoder.modules():
        if isinstance(module, Block):
            module.__class__ = RecomputedBlock if recomputed else Block
    return encoder


def has_bfloat16(device: torch.device | str) -> bool:
    """Whether the device multiplies bfloat16 itself, so that it is faster there than float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return torch.device(device).type == "cpu" and any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
