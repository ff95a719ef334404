"""Files of trained models: only what was trained, and the checksum of the weights it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from allinsam_core.atomic import replacing
from allinsam_core.learning.train import load_trained_state, trained_state


def save(model: nn.Module, path: Path, base: str, note: dict[str, str] | None = None) -> None:
    """Write the trained tensors. base: checksum of the base weights ("" where all weights were trained)."""
    with replacing(path) as unfinished:
        save_file(trained_state(model), unfinished, metadata={"base": base, "note": json.dumps(note or {})})


def load(model: nn.Module, path: Path, base: str) -> dict[str, str]:
    """Read what `save` wrote into a model that stands on the same base weights; returns the note.

    Raises ValueError where the base weights differ or the file holds other tensors than the model trains.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if metadata.get("base") != base:
        raise ValueError(
            f"{path}: was trained on base weights {metadata.get('base')!r}, but this model stands on {base!r}. "
            "Build it on the weights named first."
        )
    load_trained_state(model, state, str(path))
    return json.loads(metadata.get("note", "{}"))
