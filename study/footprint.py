"""What one training step of a network takes, counted without computing it: on torch's fake tensors, shapes alone.

Operations by torch's own counter (`torch.utils.flop_counter`). Memory by keeping book: every result adds its bytes when
it is made and takes them back when it is let go, as an allocator would; what an operation needs inside is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from allinsam_core.learning.losses import LOSSES


@dataclass(frozen=True)
class Footprint:
    """parameters, trained: how many. forward, step: floating-point operations of a batch; memory: bytes at the peak.

    alone: bytes at the peak of a forward pass without gradients.
    """

    parameters: int
    trained: int
    forward: float
    step: float
    memory: int
    alone: int


@dataclass
class Ledger(TorchDispatchMode):
    """Bytes of the tensors that are alive, and the most that there were."""

    now: int = 0
    peak: int = 0
    seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for each in tree_flatten(result)[0]:
            if isinstance(each, torch.Tensor):
                self.add(each)
        return result

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.let_go, key, size)

    def let_go(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def footprint(
    build: Callable[[], nn.Module], batch: int, size: int, mixed: bool = False, loss: str = "bce_iou"
) -> Footprint:
    """One step of AdamW on a batch × 3 × size × size input. mixed: bfloat16 arithmetic, weights stay float32.

    build: makes the network; on the meta device, so that none of its weights take memory.
    """
    with torch.device("meta"):
        network = build()
    with FakeTensorMode(allow_non_fake_inputs=True):
        _materialise(network)
        image, truth = torch.rand(batch, 3, size, size), torch.zeros(batch, 1, size, size)
        own = sum(tensor.untyped_storage().nbytes() for tensor in network.state_dict().values())
        sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
        half = torch.autocast("cpu", torch.bfloat16, enabled=mixed)
        alone, counted = Ledger(), FlopCounterMode(display=False)
        with torch.no_grad(), counted, alone, half:
            network.eval()(image)
        ledger, whole = Ledger(), FlopCounterMode(display=False)
        with whole, ledger:
            with half:
                value = LOSSES[loss](network.train()(image)[:, :1].float(), truth)
            value.backward()
    trained = sum(n for n, learns in sizes if learns)
    moments = 2 * 4 * trained  # AdamW's, float32
    return Footprint(
        parameters=sum(n for n, _ in sizes),
        trained=trained,
        forward=float(counted.get_total_flops()),
        step=float(whole.get_total_flops()),
        memory=own + moments + ledger.peak,
        alone=own + alone.peak,
    )


def _materialise(network: nn.Module) -> None:
    """Put a fake tensor of the processor in place of every tensor of the meta device: autocast knows those alone."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                fresh = torch.empty(parameter.shape, dtype=parameter.dtype)
                module._parameters[name] = nn.Parameter(fresh, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
