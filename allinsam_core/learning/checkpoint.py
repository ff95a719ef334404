"""Files of trained models: only what was trained, and the checksum of the weights it was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import nn

from allinsam_core.atomic import replacing
from allinsam_core.learning.train import load_trained_state, trained_state


def save(model: nn.Module, path: Path, base: str, note: dict[str, Any] | None = None) -> None:
    """Write the trained tensors. base: checksum of the base weights ("" where all weights were trained)."""
    plain = serialised(trained_state(model))
    content = _with_metadata(plain, {"base": base, "note": json.dumps(note or {})})
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def _with_metadata(plain: bytes, metadata: dict[str, str]) -> bytes:
    """A safetensors file with metadata, the same bytes every time; the library's own writer puts them in any order."""
    size = int.from_bytes(plain[:8], "little")
    header = json.dumps({"__metadata__": metadata, **json.loads(plain[8 : 8 + size])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + plain[8 + size :]


def note(path: Path) -> dict[str, Any]:
    """The note that `save` wrote; {} in a file of another kind. No tensor is read."""
    return _note(path, _read(path, tensors=False)[0])


def load(model: nn.Module, path: Path, base: str, name: str = "this model's base") -> dict[str, Any]:
    """Read what `save` wrote into a model that stands on the same base weights; returns the note.

    name: of the base, for the error. Raises ValueError where the base weights differ or the file holds other tensors
    than the model trains.
    """
    metadata, state = _read(path)
    if metadata.get("base") != base:
        raise ValueError(
            f"{path}: was trained on base weights {metadata.get('base')!r}, but {name} here stands on {base!r}. "
            "Build it on the weights named first."
        )
    load_trained_state(model, state, str(path))
    return _note(path, metadata)


def _note(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(metadata.get("note", "{}"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: its note on the training is damaged ({error}); copy it again or train it again"
        ) from error
    return found


def _read(path: Path, tensors: bool = True) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys() if tensors else ()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable model file ({error}); copy it again or train it again") from error
