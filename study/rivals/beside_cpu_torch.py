"""transformers beside a torch without CUDA: it imports torchvision, and PyPI's is linked to CUDA."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

import torch

_DECLARED: list[torch.library.Library] = []  # operators live as long as their library


def ensure_torchvision() -> None:
    """Import torchvision if it is installed; where its operators are not there, declare the two that it asks for.

    No text encoder calls them. Without this, importing BERT ends in "operator torchvision::nms does not exist".
    """
    if find_spec("torchvision") is None or "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [module for module in sys.modules if module.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)
        importlib.import_module("torchvision")
