"""How fast a computation could be here: its operations and the bytes that it moves, and the rates of this processor.

Matrix products and convolutions are counted in floating-point operations (`torch.utils.flop_counter`); every other
operation in the bytes of the tensors that it reads and writes. At the rates that a large matrix product and a large
copy reach, both together take the least time in which the same operations, one after the other, can be done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry


@dataclass(frozen=True)
class Work:
    """operations: floating-point operations of products; moved: bytes that all else reads and writes.

    calls: kernels that are called, products among them.
    """

    operations: float
    moved: float
    calls: int


class _Moved(TorchDispatchMode):
    """Counts kernels, and the bytes of the tensors that those which are no products read and write; no views."""

    def __init__(self) -> None:
        super().__init__()
        self.moved, self.calls = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.is_view or "empty" in function.name():
            return result
        self.calls += 1
        if function._overloadpacket not in flop_registry:
            tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, torch.Tensor)]
            self.moved += sum(tensor.nbytes for tensor in tensors)
        return result


def work(way: Callable[[], object]) -> Work:
    """What one call takes."""
    moved, counted = _Moved(), FlopCounterMode(display=False)
    with counted, moved:
        way()
    return Work(float(counted.get_total_flops()), float(moved.moved), moved.calls)


def rates() -> dict[str, float]:
    """Of this processor with the threads in use: operations per second by precision, bytes moved per second."""

    def seconds(way: Callable[[], object]) -> float:
        way()
        times = []
        for _ in range(7):
            start = time.process_time()
            way()
            times.append(time.process_time() - start)
        return median(times)

    side = 1024
    first, second = torch.rand(2, side, side)
    short = first.bfloat16(), second.bfloat16()
    large, copy = torch.rand(2, 1 << 24)
    return {
        "fp32": 2 * side**3 / seconds(lambda: first @ second),
        "bf16": 2 * side**3 / seconds(lambda: short[0] @ short[1]),
        "bytes": 2 * large.nbytes / seconds(lambda: copy.copy_(large)),
    }
