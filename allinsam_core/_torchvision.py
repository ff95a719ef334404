"""Make torchvision importable beside a torch without its compiled operators.

torchvision from PyPI is linked against the CUDA build of torch. Beside a CPU-only torch its import stops
with "operator torchvision::nms does not exist", and segment-anything with it. Declaring the two operators
that the import registers fake kernels for is enough; `nms` gets a plain implementation so that
segment-anything's automatic masks work too.
"""

from __future__ import annotations

import importlib
import sys

import torch

_SYMPTOM = "torchvision::nms does not exist"
_libraries: list[torch.library.Library] = []  # an operator lives as long as its library object


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression. boxes: (N, 4) XYXY; scores: (N,). Returns kept indices, best first."""
    order = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(int(best))
        top_left = torch.maximum(boxes[best, :2], boxes[rest, :2])
        bottom_right = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        overlap = (bottom_right - top_left).clamp(min=0).prod(dim=1)
        order = rest[overlap <= iou_threshold * (area[best] + area[rest] - overlap)]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)


def ensure() -> bool:
    """Import torchvision, declaring its operators first where they are missing. True if that was needed."""
    if "torchvision" in sys.modules:
        return bool(_libraries)
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _SYMPTOM not in str(error):
            raise
        for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl("nms", nms, "CPU")
        _libraries.append(library)
        importlib.import_module("torchvision")
        # `torchvision.ops.nms` asks this first; what is still missing then fails at its own call
        importlib.import_module("torchvision.extension")._has_ops = lambda: True  # type: ignore[attr-defined]
    return bool(_libraries)
