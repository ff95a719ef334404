"""The same ratios on a GPU, at ViT-H and 1024 px, where there is one."""

from __future__ import annotations

import torch

from allinsam_core.annotation.attention import fold
from benchmarks.networks import Variant, apart
from benchmarks.ratio import Row, compare, not_run

GOALS = {"infer": ("inference", 8.0), "step": ("training step", 5.0)}
MEMORY = "ViT-H at 1024 px on a GPU, peak memory of a step"


def measure(quick: bool) -> list[Row]:
    """Inference, step and peak memory: eager float32 against bfloat16, folded SDPA, compiled, recomputed."""
    names = {way: f"ViT-H at 1024 px on a GPU, {label}" for way, (label, _) in GOALS.items()}
    if quick or not torch.cuda.is_available():
        why = "no GPU here" if not quick else "left out of a quick run"
        rows = [not_run(names[way], why, goal) for way, (_, goal) in GOALS.items()]
        return [*rows, not_run(MEMORY, why, 3.0, "bytes")]
    torch.backends.cuda.matmul.allow_tf32 = False
    former, present = (Variant("vit_h", "cuda", 1024, fast=fast, recomputed=fast) for fast in (False, True))
    present.model.load_state_dict(former.model.state_dict())
    present.model.adapter.scrambled = former.model.adapter.scrambled  # type: ignore[union-attr]
    rows, peaks = [], []
    for variant in (former, present):
        fold(variant.model, variant is present)
        torch.cuda.reset_peak_memory_stats()
        variant.step()
        peaks.append(torch.cuda.max_memory_allocated())
    present.model.image_encoder.compile()
    for way, (_, goal) in GOALS.items():
        differ = apart if way == "infer" else lambda a, b: abs(a - b) / abs(a)
        old, new = getattr(former, way), getattr(present, way)
        new()  # compiles
        rows.append(
            compare(names[way], old, new, 5, differ, torch.cuda.synchronize, goal=goal, tolerance=0.05,
                    difference_of="relative, bfloat16 against float32", clocked=True)
        )  # fmt: skip
    return [*rows, Row(MEMORY, peaks[0], peaks[1], "bytes", 3.0, note="resident weights of both included")]
