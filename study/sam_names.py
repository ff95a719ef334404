"""Which SAM a run stands on, in words, from its record: only runs on Meta's own files bear the name of Meta's SAM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.datasets import manifest

MINI_SAM = "mini-SAM"
MINIS = {"mini": MINI_SAM, "mini2": "mini-SAM 2"}
META = {"vit_b": "ViT-B", "vit_l": "ViT-L", "vit_h": "ViT-H"}
REHEARSED = "rehearsal"  # the profile whose checkpoints are made on the spot


def sam_of(config: Mapping[str, Any]) -> str:
    """The SAM of a run's method; "" for methods without one. config: of its record."""
    model = config.get("model") or {}
    return _named(config, model, config.get("base_weights", "")) if model.get("kind") in ("sam", "boxes") else ""


def annotating_sam(config: Mapping[str, Any]) -> str:
    """The SAM that made a run's labels of boxes; "" for other labels. config: of its record."""
    annotator = config.get("annotator") or {}
    return _named(config, annotator, annotator.get("sha256", "")) if isinstance(annotator, dict) else ""


def _named(config: Mapping[str, Any], model: Mapping[str, Any], sha256: str) -> str:
    """model: of `SamSettings` or of an annotator. sha256: of the weights that it had."""
    name = model.get("name", "")
    if name not in META:
        return MINIS.get(name, "")
    if config.get("profile") == REHEARSED:
        return f"stand-in for SAM {META[name]}"
    published = manifest.own().artefacts[f"sam-{name.replace('_', '-')}"].sha256
    if sha256 == published and not model.get("depth"):
        return f"SAM {META[name]}"
    return f"{META[name]}, {'other' if sha256 else 'random'} weights"
