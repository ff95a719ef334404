"""torchvision beside a torch without its compiled operators, each time in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from allinsam_core import _torchvision


@pytest.mark.parametrize(
    "first",
    [
        "from allinsam_core import _torchvision; _torchvision.ensure(); import segment_anything",
        "import allinsam_core.learning.adapter",
    ],
)
def test_segment_anything_can_be_imported(first: str) -> None:
    # overlap 1 of 2, IoU 1/3; batched_nms is what segment-anything's automatic masks call
    code = (
        f"{first}; import torch; from torchvision.ops.boxes import batched_nms, nms\n"
        "boxes, scores = torch.tensor([[0., 0, 2, 1], [1, 0, 3, 1]]), torch.tensor([0.2, 0.9])\n"
        "print(nms(boxes, scores, 0.5).tolist(), nms(boxes, scores, 0.3).tolist())\n"
        "print(batched_nms(boxes, scores, torch.tensor([0, 1]), 0.3).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["[1, 0] [1]", "[1, 0]", ""]


def test_another_error_of_torchvision_is_not_swallowed() -> None:
    code = (
        "import sys; from importlib.abc import MetaPathFinder\n"
        "class Broken(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torchvision': raise RuntimeError('another trouble')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "from allinsam_core import _torchvision\n"
        "try: _torchvision.ensure()\n"
        "except RuntimeError as error: print(error, len(_torchvision._libraries))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "another trouble 0", done.stderr  # and no operator was declared


def test_calling_it_again_changes_nothing() -> None:
    assert _torchvision.ensure() == _torchvision.ensure()


def test_suppression_by_hand() -> None:
    # a and b: overlap 4 × 5 of 25 each, IoU 20/30 = 0.667; c touches a at an edge; d is alone
    boxes = torch.tensor([[0.0, 0, 5, 5], [1, 0, 6, 5], [5, 0, 10, 5], [20, 20, 22, 22]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.1])
    assert _torchvision.nms(boxes, scores, 0.6).tolist() == [1, 2, 3]
    # b and c: 1 × 5 of 25 each, IoU 5/45 = 0.111
    assert _torchvision.nms(boxes, scores, 0.1).tolist() == [1, 3]
    assert _torchvision.nms(boxes, scores, 0.7).tolist() == [1, 2, 0, 3]
    assert _torchvision.nms(boxes[:0], scores[:0], 0.5).tolist() == []
    half = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])  # IoU 1/2: only more than the threshold is suppressed
    assert _torchvision.nms(half, scores[:2], 0.5).tolist() == [1, 0]
