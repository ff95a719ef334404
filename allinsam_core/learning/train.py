"""The one training loop: every network of the study, pre-training included, goes through `fit`.

Killed at any moment, it continues from its last checkpoint to the same final weights (bit for bit on a
CPU): data and dropout depend on (seed, step) alone, and a checkpoint appears whole or not at all.
"""

from __future__ import annotations

import math
import resource
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from pydantic import Field
from torch import nn
from tqdm import tqdm

from allinsam_core.atomic import replacing, set_aside
from allinsam_core.learning.augment import Batch
from allinsam_core.settings import Settings

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
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: automatic mixed precision, weights stay float32
    validate_every: int = Field(default=0, ge=0)  # steps; 0 = never, the last weights are kept
    patience: int = 0  # validations without improvement before stopping; 0 = never stop early
    select: Literal["loss", "dice"] = "loss"  # what chooses the best weights on the validation images
    checkpoint_every: int = Field(default=200, gt=0)


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


COOLDOWN = 0.2  # last part of a trapezoid, in which the rate falls


def cooldown_start(settings: TrainSettings) -> int:
    """The step at which a trapezoid's rate begins to fall. Until then training does not depend on `steps`."""
    return settings.steps - round(COOLDOWN * settings.steps)


def learning_rate(settings: TrainSettings, step: int) -> float:
    """The rate of `step` (0-based): linear warm-up, then cosine, poly 0.9, constant or trapezoid.

    The trapezoid is constant and falls linearly to `final_rate` over the last fifth of the steps, so that a run can be
    lengthened or ended early without having chosen its length beforehand (Hägele et al. 2024, arXiv 2405.18392).
    """
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    if settings.schedule == "cosine":
        span = settings.learning_rate - settings.final_rate
        return settings.final_rate + span * (1 + math.cos(math.pi * progress)) / 2
    if settings.schedule == "poly":
        return settings.learning_rate * (1 - progress) ** 0.9
    if settings.schedule == "trapezoid" and step >= (start := cooldown_start(settings)):
        left = (settings.steps - step) / (settings.steps - start)
        return settings.final_rate + (settings.learning_rate - settings.final_rate) * left
    return settings.learning_rate


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What training changes: trainable parameters and the buffers of modules that hold any (batch norm).

    And what the model's attribute `drawn` names: frozen tensors that no file of base weights gives back.
    """
    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    homes = {n.rpartition(".")[0] for n in trainable}
    persistent = model.state_dict()
    buffers = {n for n, _ in model.named_buffers() if n in persistent and n.rpartition(".")[0] in homes}
    kept = trainable | buffers | set(getattr(model, "drawn", ()))
    return {n: persistent[n].detach().cpu().clone() for n in sorted(kept)}


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
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            settings.learning_rate,
            momentum=0.99,
            nesterov=True,
            weight_decay=settings.weight_decay,
        )
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)


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

    folder: where `last.ckpt` lives while training goes on; an existing one is continued. validate: called
    every `validate_every` steps and at the end, returns at least {"loss", "dice"} over validation images.
    stop: end after this step, in the middle of the schedule; None: when `settings.steps` are done.
    Raises FloatingPointError, naming step and batch, where the loss is not finite.
    """
    from lightning_fabric import Fabric  # late: reading a trained model needs none of it

    fabric = fabric or Fabric(accelerator="auto", devices=1)
    fabric.launch()
    optimizer = _optimizer(model, settings)
    wrapped, optimizer = fabric.setup(model, optimizer)
    end = settings.steps if stop is None else stop
    history, start, best, stopped = History(), 0, None, False
    last = folder / "last.ckpt"
    if (saved := _recall(last)) is not None:
        load_trained_state(model, saved["model"], str(last))
        optimizer.load_state_dict(saved["optimizer"])
        start, best = saved["step"], saved["best"]
        history, stopped = History(**saved["history"]), saved.get("stopped", False)
    steps = range(start, start if stopped else end)
    bar = tqdm(steps, initial=start, total=end, desc=progress, disable=None, mininterval=2)
    clock, processor = time.monotonic(), time.process_time()
    for step in bar:
        torch.manual_seed(seed * 1_000_003 + step)
        value = _step(fabric, wrapped, optimizer, sample, loss, settings, step)
        if step % 10 == 0 or step + 1 == end:
            history.losses.append((step, value))
            bar.set_postfix(loss=f"{value:.3f}")
        done = step + 1
        if validate and settings.validate_every and (done % settings.validate_every == 0 or done == end):
            best, stopped = _look(model, validate, settings, history, done, best)
        if fabric.is_global_zero and (done % settings.checkpoint_every == 0 or done == end or stopped):
            history.seconds += time.monotonic() - clock
            history.processor_seconds += time.process_time() - processor
            history.peak_memory = max(history.peak_memory, peak_memory())
            clock, processor = time.monotonic(), time.process_time()
            saved = {"model": trained_state(model), "optimizer": optimizer.state_dict(), "step": done}
            save_atomically({**saved, "best": best, "stopped": stopped, "history": vars(history)}, last)
        if stopped:
            break
    if best is not None:
        load_trained_state(model, best, "the best weights so far")
    model.eval()
    return history


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
    sample: Sample,
    loss: StepLoss,
    settings: TrainSettings,
    step: int,
) -> float:
    """One optimiser step over `accumulate` batches; returns their mean loss."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step)
    total = 0.0
    for micro in range(settings.accumulate):
        index = (step * settings.accumulate + micro) * fabric.world_size + fabric.global_rank
        batch = sample(index).to(fabric.device)
        with torch.autocast(fabric.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            value = loss(model, batch) / settings.accumulate
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"loss is {value.item()} at step {step}, batch {index} ({', '.join(batch.names)}). "
                f"Lower the learning rate ({settings.learning_rate}) or use precision fp32."
            )
        fabric.backward(value)
        total += float(value.detach())
    if settings.clip:
        fabric.clip_gradients(model, optimizer, max_norm=settings.clip, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def _look(
    model: nn.Module,
    validate: Validate,
    settings: TrainSettings,
    history: History,
    done: int,
    best: dict[str, torch.Tensor] | None,
) -> tuple[dict[str, torch.Tensor] | None, bool]:
    """One look at the validation images: the best weights so far, and whether patience has run out."""
    model.eval()
    with torch.no_grad():
        scores = validate(model)
    history.validations.append({"step": done, **scores})
    sign = 1 if settings.select == "loss" else -1
    values = [sign * v[settings.select] for v in history.validations]
    values = [v if math.isfinite(v) else math.inf for v in values]
    if values[-1] < min(values[:-1], default=math.inf):
        history.best, best = done, trained_state(model)
    since = len(values) - 1 - values.index(min(values))
    return best, bool(settings.patience) and since >= settings.patience
