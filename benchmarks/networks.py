"""Networks on one device: encoder, training step and memory, segment-anything's arithmetic against ours.

Before: the released arithmetic, float32, eager attention, all activations kept. Now: what a user can switch on, one
lever after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.attention import fold, has_bfloat16, recompute
from allinsam_core.learning.adapter import AdaptedSam, Placement
from allinsam_core.learning.losses import bce_iou
from benchmarks.ratio import Row, compare


class Variant:
    """One way to compute an adapted SAM: a forward pass without gradients, and a training step."""

    def __init__(
        self, name: str, device: str, side: int, placement: Placement = "all", batch: int = 1, fast: bool = True,
        recomputed: bool = False,
    ) -> None:  # fmt: skip
        torch.manual_seed(0)
        sam = sams.load_mini() if name == "mini" else sams.initialised(sams.build(name))
        self.model = AdaptedSam(sam, placement, as_released=not fast).to(device)
        self.short = fast and has_bfloat16(device)
        if fast:
            fold(self.model)
        recompute(self.model, recomputed)
        rng = torch.Generator().manual_seed(1)
        self.image = torch.rand(batch, 3, side, side, generator=rng).to(device)
        self.mask = (torch.rand(batch, 1, side, side, generator=rng) > 0.7).float().to(device)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.0)  # the weights stay, so that repetitions are the same
        self.device = torch.device(device)

    def context(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if self.short else nullcontext()

    @torch.no_grad()
    def encode(self) -> torch.Tensor:
        self.model.eval()
        with self.context():
            return self.model.encode(self.image).float()

    @torch.no_grad()
    def infer(self) -> torch.Tensor:
        self.model.eval()
        with self.context():
            return self.model(self.image).float()

    def step(self) -> float:
        self.model.train()
        with self.context():
            loss = bce_iou(self.model(self.image).float(), self.mask)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def kept(self) -> int:
        """Bytes that a step keeps for its backward pass, parameters apart."""
        own = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        sizes: dict[int, int] = {}
        alive = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
                alive.append(storage)  # else a freed address would be counted once for two
            return tensor

        self.model.train()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), self.context():
            bce_iou(self.model(self.image).float(), self.mask)
        return sum(sizes.values())


def apart(before: torch.Tensor, now: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((before - now).abs().max() / before.abs().max())


def pair(way: str, name: str, side: int, device: str, repeats: int, **settings: Any) -> Row:
    """Former against present arithmetic of one network. way: the method of `Variant` that is measured."""
    what: dict[str, Any] = {key: settings.pop(key) for key in ("placement", "batch") if key in settings}
    batch = what.get("batch", 1)
    former, present = Variant(name, device, side, batch=batch, fast=False), Variant(name, device, side, **what)
    # equal weights and the same parts: the released code's random matrix and scramble are no matter of speed
    if what.get("placement", "all") == "all":
        present.model.load_state_dict(former.model.state_dict())
        present.model.adapter.scrambled = former.model.adapter.scrambled  # type: ignore[union-attr]
        settings |= {
            "tolerance": 0.05,
            "difference_of": "relative, bfloat16 against float32" if present.short else "relative",
        }
    checks: Callable[[Any, Any], float] | None = None
    if "tolerance" in settings:
        checks = (lambda a, b: abs(a - b) / abs(a)) if way == "step" else apart
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    return compare(
        f"{name} at {side} px, {LABELS[way]}{' (late)' if what.get('placement') == 'late' else ''}",
        getattr(former, way), getattr(present, way), repeats, checks, wait,
        counted=True, precision="bf16" if present.short else "fp32", **settings,
    )  # fmt: skip


LABELS = {"encode": "encoder", "infer": "inference", "step": "training step"}


def memory(name: str, side: int, goal: float, device: str = "cpu") -> Row:
    """Bytes kept for the backward pass: released arithmetic against folded, short and recomputed."""
    former = Variant(name, device, side, fast=False).kept()
    now = Variant(name, device, side, recomputed=True).kept()
    return Row(f"{name} at {side} px, kept for the backward pass", former, now, "bytes", goal)


def measure(quick: bool) -> list[Row]:
    """The encoder of mini-SAM, and ViT-B's inference, step, late step and memory."""
    if quick:
        return [pair("encode", "mini", 256, "cpu", 1), memory("mini", 256, 2.0)]
    return [
        pair("encode", "mini", 256, "cpu", 5, batch=8, goal=1.8),
        pair("step", "mini", 256, "cpu", 3, batch=4),
        pair("infer", "vit_b", 512, "cpu", 3, goal=1.5),
        pair("step", "vit_b", 512, "cpu", 3, goal=1.5),
        pair("step", "vit_b", 512, "cpu", 3, placement="late", goal=2.5),
        memory("vit_b", 512, 2.0),
    ]
