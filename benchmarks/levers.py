"""Each way to compute faster, alone: mini-SAM's encoder and training step, with it and as segment-anything has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from allinsam_core.annotation import attention
from allinsam_core.annotation.attention import fold, recompute
from benchmarks.networks import LABELS, Variant, apart
from benchmarks.ratio import Row, compare

LEVERS = ("folded attention", "folded attention, fused product", "bfloat16", "recomputed blocks")


@contextmanager
def fused(always: bool) -> Iterator[None]:
    """Within it folded attention uses `scaled_dot_product_attention` for any number of tokens."""
    few = attention.FEW
    try:
        attention.FEW = 0 if always else few
        yield
    finally:
        attention.FEW = few


def changed(lever: str, batch: int) -> Variant:
    """mini-SAM in float32 as segment-anything computes it, with one change."""
    variant = Variant("mini", "cpu", 256, batch=batch, fast=False)
    fold(variant.model, lever.startswith("folded"))
    recompute(variant.model, lever == "recomputed blocks")
    variant.short = lever == "bfloat16"
    return variant


def measure(quick: bool) -> list[Row]:
    """Every lever, for the encoder and for a training step where it is of use there."""
    if quick:
        return []
    rows = []
    for way, batch in (("encode", 8), ("step", 4)):
        plain = Variant("mini", "cpu", 256, batch=batch, fast=False)
        for lever in LEVERS:
            if way == "encode" and lever == "recomputed blocks":  # nothing is kept without gradients
                continue
            other = changed(lever, batch)

            def present(other: Variant = other, lever: str = lever, way: str = way) -> torch.Tensor | float:
                with fused("fused" in lever):
                    found: torch.Tensor | float = getattr(other, way)()
                return found

            rows.append(
                compare(
                    f"mini at 256 px, {LABELS[way]}: {lever} alone", getattr(plain, way), present, 5,
                    apart if way == "encode" else lambda a, b: abs(a - b) / abs(a),
                    tolerance=0.05 if other.short else 1e-4, difference_of="relative",
                    precision="bf16" if other.short else "fp32",
                )
            )  # fmt: skip
    return rows
