"""The one training loop: every network of the study, pre-training included, goes through `fit`.

Killed at any moment, it continues from its last checkpoint to the same final weights (bit for bit on a
CPU): data and dropout depend on (seed, step) alone, and a checkpoint appears whole or not at all.
"""

from __future__ import annotations

import math
import re
import resource
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import torch
from pydantic import Field, NonNegativeInt
from torch import nn
from tqdm import tqdm

from allinsam_core.atomic import replacing, set_aside
from allinsam_core.learning.augment import Batch, prefetched
from allinsam_core.learning.devices import fabric_on, mixed_precision, on_all
from allinsam_core.learning.optimizer import learning_rate, optimizer_of
from allinsam_core.settings import Settings, later

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class TrainSettings(Settings):
    """Everything the loop needs to know. The defaults are the released adapter's optimiser, AdamW."""

    steps: int = Field(default=1000, gt=0)
    batch_size: int = Field(default=4, gt=0)
    accumulate: int = Field(default=1, gt=0)  # batches per optimiser step
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=2e-4, gt=0)
    weight_decay: float = 0.01
    schedule: Literal["cosine", "poly", "constant", "trapezoid"] = "cosine"
    final_rate: float = 1e-7  # where cosine and trapezoid end
    warmup: int = 0  # steps of linear increase
    clip: float = 0.0  # largest gradient norm; 0 = no clipping
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: `devices.mixed_precision`; weights stay float32
    validate_every: int = Field(default=0, ge=0)  # steps; 0 = never, the last weights are kept
    validate_also: tuple[NonNegativeInt, ...] | None = later()  # after these steps too; 0 = before the first one
    patience: int = 0  # times `validate_every` steps without improvement before stopping; 0 = never stop early
    select: Literal["loss", "dice"] = "loss"  # what chooses the best weights on the validation images
    checkpoint_every: int = Field(default=200, gt=0)
    attention: Literal["folded"] | None = later()  # None: segment-anything's own code; see `annotation.attention`
    activations: Literal["recomputed"] | None = later()  # of SAM's blocks; None: kept for the backward pass
    devices: int | None = later(gt=0)  # that share a step, each with batches of its own; None: one
    validation_crop: int | None = later(gt=0)  # side (px) of the middle of each image that is validated on; None: all


class Sample(Protocol):
    def __call__(self, step: int) -> Batch: ...


StepLoss = Callable[[nn.Module, Batch], torch.Tensor]
Validate = Callable[[Any], dict[str, float]]


@dataclass
class History:
    """What happened, over all restarts.

    losses: (step, loss); validations: {"step", "loss", "dice", …}; best: step of the kept weights;
    seconds, processor_seconds: of training and validation; peak_memory: largest resident set of the process, bytes.
    """

    losses: list[tuple[int, float]] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
    seconds: float = 0.0
    peak_memory: int = 0
    processor_seconds: float = 0.0


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training changes: trainable parameters and the buffers of modules that hold any (batch norm).

    And what the model's attribute `also_saved` names: frozen tensors that no file of base weights gives back.
    """
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    homes = {n.rpartition(".")[0] for n in trainable}
    persistent = model.state_dict()
    buffers = {n for n, _ in model.named_buffers() if n in persistent and n.rpartition(".")[0] in homes}
    names = trainable | buffers | set(getattr(model, "also_saved", ()))
    return {n: persistent[n].detach().cpu().clone() for n in sorted(names)}


def load_trained_state(model: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """The inverse of `trained_state`; the keys must be exactly those that this model trains."""
    expected = trained_state(model).keys()
    if state.keys() != expected:
        raise ValueError(
            f"{source}: holds other trained tensors than this model: missing {sorted(expected - state.keys())[:3]}, "
            f"unexpected {sorted(state.keys() - expected)[:3]}. Build the model with the settings of that run."
        )
    own = model.state_dict()
    if wrong := [k for k, v in state.items() if v.shape != own[k].shape or not v.isfinite().all()]:
        raise ValueError(f"{source}: tensors of another shape, or with values that are not finite: {wrong[:3]}")
    model.load_state_dict(state, strict=False)


def save_atomically(content: Any, path: Path) -> None:
    """torch.save that a kill cannot leave half done."""
    with replacing(path) as unfinished:
        torch.save(content, unfinished)


def peak_memory() -> int:
    """Largest resident set of this process so far, bytes."""
    status = Path("/proc/self/status")  # Linux; there `ru_maxrss` begins at what the process held that started this one
    if status.is_file() and (found := re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def fit(
    model: nn.Module,
    sample: Sample,
    loss: StepLoss,
    settings: TrainSettings,
    folder: Path,
    validate: Validate | None = None,
    seed: int = 0,
    fabric: Fabric | None = None,
    progress: str = "training",
    stop: int | None = None,
) -> History:
    """Train `model` in place, on batches sample(0), sample(1), …; it ends with the selected weights, in eval mode.

    folder: where `last.ckpt` lives while training goes on; an existing one is continued. validate: called every
    `validate_every` steps, at the end and where else asked; returns at least {"loss", "dice"} over validation images.
    stop: end after this step, in the middle of the schedule; None: when `settings.steps` are done.
    Raises FloatingPointError, naming step and batch, where the loss is not finite.
    """
    fabric = fabric or fabric_on()
    last = folder / "last.ckpt"
    loop = partial(_train, fabric, model, sample, loss, settings, last, validate, seed, progress, stop)
    if fabric.world_size == 1:
        fabric.launch()
        state = loop()
    else:
        on_all(fabric, loop)
        state = _State.recalled(last, model)
    if state.best is not None:
        load_trained_state(model, state.best, "the best weights so far")
    model.eval()
    return state.history


@dataclass
class _State:
    """Where training stands, beside the weights: steps done, what happened, the best weights so far."""

    step: int = 0
    history: History = field(default_factory=History)
    best: dict[str, torch.Tensor] | None = None
    stopped: bool = False

    @classmethod
    def recalled(cls, last: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> _State:
        """As `last` has it, which also gives the weights and the optimiser's state; the beginning without it."""
        if (saved := _recall(last)) is None:
            return cls()
        load_trained_state(model, saved["model"], str(last))
        if optimizer is not None:
            optimizer.load_state_dict(saved["optimizer"])
        return cls(saved["step"], History(**saved["history"]), saved["best"], saved.get("stopped", False))

    def save(self, last: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Leave in `last` what `recalled` needs."""
        saved = {"model": trained_state(model), "optimizer": optimizer.state_dict(), "step": self.step}
        about = {"best": self.best, "stopped": self.stopped, "history": vars(self.history)}
        save_atomically({**saved, **about}, last)


def _train(
    fabric: Fabric,
    model: nn.Module,
    sample: Sample,
    loss: StepLoss,
    settings: TrainSettings,
    last: Path,
    validate: Validate | None,
    seed: int,
    progress: str,
    stop: int | None,
) -> _State:
    """`fit` in one process, from `last` on; the weights are then the last ones."""
    optimizer = optimizer_of(model, settings)
    wrapped, optimizer = fabric.setup(model, optimizer)
    state, end = _State.recalled(last, model, optimizer), settings.steps if stop is None else stop
    history = state.history
    steps = range(state.step, state.step if state.stopped else max(state.step, end))
    numbers = range(steps.start * settings.accumulate, steps.stop * settings.accumulate)
    batches = prefetched(sample, (number * fabric.world_size + fabric.global_rank for number in numbers))
    quiet = None if fabric.is_global_zero else True
    bar = tqdm(steps, initial=steps.start, total=end, desc=progress, disable=quiet, mininterval=2)
    clock, processor = time.monotonic(), time.process_time()
    if validate and state.step == 0 and _validates(settings, 0, end):
        _validate(model, validate, settings, state)
    for step in bar:
        torch.manual_seed(seed * 1_000_003 + step)
        value = _step(fabric, wrapped, optimizer, batches, loss, settings, step)
        if step % 10 == 0 or step + 1 == end:
            history.losses.append((step, value))
            bar.set_postfix(loss=f"{value:.3f}")
        state.step = done = step + 1
        if validate and _validates(settings, done, end):
            _validate(model, validate, settings, state)
        if fabric.is_global_zero and (done % settings.checkpoint_every == 0 or done == end or state.stopped):
            history.seconds += time.monotonic() - clock
            history.processor_seconds += time.process_time() - processor
            history.peak_memory = max(history.peak_memory, peak_memory())
            clock, processor = time.monotonic(), time.process_time()
            state.save(last, model, optimizer)
        if state.stopped:
            break
    batches.close()
    return state


def _recall(last: Path) -> dict[str, Any] | None:
    """What an earlier call left in `last`, or None. A damaged file is set aside, with a warning."""
    if not last.is_file():
        return None
    try:
        with zipfile.ZipFile(last) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} has another checksum")
        saved: dict[str, Any] = torch.load(last, map_location="cpu", weights_only=True)
        if missing := {"model", "optimizer", "step", "best", "history"} - saved.keys():
            raise ValueError(f"has no {', '.join(sorted(missing))}")
    except Exception as error:  # torch and zipfile raise many types for a damaged file
        set_aside(last, error, "training starts anew")
        return None
    return saved


def _step(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    loss: StepLoss,
    settings: TrainSettings,
    step: int,
) -> float:
    """One optimiser step over the next `accumulate` batches of every device; returns their mean loss."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step)
    total = 0.0
    for _ in range(settings.accumulate):
        batch = next(batches).to(fabric.device)
        with mixed_precision(fabric.device, settings.precision == "bf16"):
            value = loss(model, batch) / settings.accumulate
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"loss is {value.item()} at step {step}, in a batch of {', '.join(batch.names)}. "
                f"Lower the learning rate ({settings.learning_rate}) or use precision fp32."
            )
        fabric.backward(value)
        total += float(value.detach())
    if settings.clip:
        fabric.clip_gradients(model, optimizer, max_norm=settings.clip, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total if fabric.world_size == 1 else cast(torch.Tensor, fabric.all_reduce(torch.tensor(total))).item()


def _validates(settings: TrainSettings, done: int, end: int) -> bool:
    """Whether the weights after `done` of `end` steps are validated."""
    every, also = settings.validate_every, settings.validate_also or ()
    return every > 0 and (done in also or (done > 0 and (done % every == 0 or done == end)))


def _validate(model: nn.Module, validate: Validate, settings: TrainSettings, state: _State) -> None:
    """Validate, keep the weights if they are the best so far, and stop where patience has run out."""
    model.eval()
    with torch.no_grad():
        scores = validate(model)
    history = state.history
    history.validations.append({"step": state.step, **scores})
    values = [v["loss"] if settings.select == "loss" else -v["dice"] for v in history.validations]
    values = [v if math.isfinite(v) else math.inf for v in values]
    if values[-1] < min(values[:-1], default=math.inf):
        history.best, state.best = state.step, trained_state(model)
    since = state.step - max(history.best, 0)
    state.stopped = bool(settings.patience) and since >= settings.patience * settings.validate_every
