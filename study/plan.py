"""What a profile takes before it is run: parameters, memory, operations, hours by card, disk, money and energy.

Counted from its configurations (`footprint`), without weights or data; `costs.yaml` holds every assumption.
Training is counted to its last step, early stopping not foreseen. Work that several runs share is counted once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from allinsam_core.annotation import sam
from allinsam_core.annotation.attention import recompute
from allinsam_core.learning.method import WindowSettings
from study import records, strict_yaml
from study.allinsam import MoclUNetSettings, SamSettings
from study.config import AnnotatorSettings, Run, RunConfig
from study.footprint import Footprint, footprint
from study.grid import Profile
from study.methods import NetworkSettings
from study.molecular.config import MolecularConfig
from study.rivals.beds import BedsSettings
from study.rivals.lvit import LViTSettings
from study.rivals.lvit_text import EMBEDDING, TOKENS
from study.rivals.nnunet import NnUNetSettings
from study.rivals.unet import UNetSettings
from study.rivals.xie import XieSettings
from study.root import resolved

TERA = 1e12
KEPT = 5  # float32 copies of what is trained on disk: weights, AdamW's two moments, best weights, the finished model


@dataclass(frozen=True)
class RunPlan:
    """What a run takes. memory: bytes; work: precision → floating-point operations; disk: bytes of its checkpoints."""

    run: Run
    parameters: int
    trained: int
    memory: int
    work: dict[str, float]
    disk: int
    finished: bool


def assumptions() -> dict[str, Any]:
    """What `costs.yaml` says."""
    found: dict[str, Any] = strict_yaml.read(Path(str(files("study"))) / "costs.yaml")
    return found


def plan(profile: Profile, results: Path | str = "results") -> list[RunPlan]:
    """Every run of a profile, in the order of its grid."""
    done: set[str] = set()
    return [_planned(run, done, results) for run in profile.grid()]


def _planned(run: Run, done: set[str], results: Path | str) -> RunPlan:
    """One run; what `done` names was counted for a run before it."""
    step, precision = step_of(run), _precision(run)
    work = {"fp32": 0.0, "bf16": 0.0}
    for key, kind, flops in _pieces(run, step, precision):
        if key not in done:
            done.add(key)
            work[kind] += flops
    finished = records.is_finished(resolved(results) / run.place / records.FILE, run.hash)
    if step is None:
        return RunPlan(run, 0, 0, 0, work, 0, finished)
    members = run.model.members if isinstance(run.model, BedsSettings) else 1
    fitted = _learns(run)
    trained = step.trained if fitted else 0
    memory = step.memory if fitted else step.alone
    return RunPlan(
        run, step.parameters * members, trained * members, memory, work, 4 * KEPT * trained * members, finished
    )


# ---- the networks


def network_of(model: Any) -> Callable[[], nn.Module] | None:
    """What makes the network of a run's `model` without its weights; None for methods that have none."""
    if isinstance(model, SamSettings):
        return model.model_copy(update={"weights": "random"}).initial
    if isinstance(model, BedsSettings):
        return UNetSettings(channels=model.channels).initial
    if isinstance(model, NnUNetSettings):
        return _nnunet
    if isinstance(model, LViTSettings):
        return lambda: Wordless(model)
    if isinstance(model, MoclUNetSettings):
        return lambda: OneTask(model)
    return model.initial if isinstance(model, NetworkSettings) else None


class Wordless(nn.Module):
    """LViT after its sentences are made, which takes pixels and not their shapes alone."""

    def __init__(self, settings: LViTSettings) -> None:
        super().__init__()
        self.lvit = settings.initial()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.lvit.segment(image, torch.zeros(len(image), TOKENS, EMBEDDING))


class OneTask(nn.Module):
    """MOCL's residual U-Net for its one cell type, whose number it would look at; foreground logits only."""

    def __init__(self, settings: MoclUNetSettings) -> None:
        super().__init__()
        self.unet = settings.initial()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.unet._one_hot = lambda task, batch, device: torch.ones(batch, 1)  # type: ignore[method-assign]
        return self.unet(image)[0][:, 1:]


def _nnunet() -> nn.Module:
    """nnU-Net's plain 2-D network at the plan of `costs.yaml`, as MONAI has it."""
    from study.rivals.networks import DynUNet

    features = assumptions()["nnunet"]["features"]
    down = [1, *[2] * (len(features) - 1)]
    return DynUNet(2, 3, 2, [3] * len(features), down, down[1:], filters=features, norm_name="instance")


def _precision(run: Run) -> str:
    """Of its arithmetic: "bf16" with mixed precision (nnU-Net's float16 counts as it), else "fp32"."""
    return "bf16" if isinstance(run.model, NnUNetSettings) else run.train.precision


def step_of(run: Run) -> Footprint | None:
    """The footprint of a training step of the run; None for methods without a network."""
    if network_of(run.model) is None:
        return None
    if isinstance(run.model, NnUNetSettings):
        given = assumptions()["nnunet"]
        return _footprint(run.model, True, given["batch"], given["patch"])
    recomputed = run.train.activations == "recomputed"
    return _footprint(run.model, run.train.precision == "bf16", run.train.batch_size, run.window.size, recomputed)


@cache
def _footprint(model: Any, mixed: bool, batch: int, size: int, recomputed: bool = False) -> Footprint:
    build = network_of(model)
    if build is None:
        raise ValueError(f"model {model.kind!r} has no network")
    return footprint(lambda: recompute(build(), recomputed), batch, size, mixed)


@cache
def _encoder(name: str, depth: int | None) -> float:
    """Operations of one image through SAM's encoder: what a mask costs, its decoder left out."""
    return _footprint(SamSettings(name=name, weights="random", depth=depth, placement="none"), False, 1, 1024).forward  # type: ignore[arg-type]


# ---- the work


def _learns(run: Run) -> bool:
    return not isinstance(run, RunConfig) or run.fraction > 0


def _windows(side: int, window: WindowSettings, overlap: float) -> int:
    """How many windows cover an image of side × side px."""
    step = max(1, int(window.field * (1 - overlap)))
    return max(1, math.ceil((side - window.field) / step) + 1) ** 2


def _images(run: Run) -> tuple[int, int, int, int]:
    """Training, validation and test images of a run and their side, px."""
    if isinstance(run, MolecularConfig):
        count = getattr(run.cohort, run.cell_type)
        return round(0.6 * count), 0, round(0.3 * count), run.cohort.size
    about = assumptions()["monuseg"]
    return about["train"], about["val"], about["test"], about["side"]


def _pieces(run: Run, step: Footprint | None, precision: str) -> Iterator[tuple[str, str, float]]:
    """The run's work: what identifies each piece, its precision and its operations."""
    train, val, test, side = _images(run)
    annotator: AnnotatorSettings | None = getattr(run, "annotator", None) or getattr(run, "masks", None)
    if isinstance(annotator, AnnotatorSettings) and annotator.name not in ("ellipse", *sam.MINIS):
        of = f"{annotator.model_dump_json()} {getattr(run, 'drawn_by', '')} {getattr(run, 'cell_type', '')}"
        yield f"masks {of}", "fp32", (train + val) * _encoder(annotator.name, annotator.depth)
    if step is None:
        return
    model, settings = run.model, run.train
    if isinstance(model, NnUNetSettings):
        each = model.iterations * step.step + model.validation_iterations * step.forward
        mirrored = 4 if model.mirror else 1
        yield run.hash, precision, model.epochs * each + test * mirrored * step.forward
        return
    one = step.forward / settings.batch_size
    looks = math.ceil(settings.steps / settings.validate_every) if settings.validate_every else 0
    looks += len(settings.validate_also or ()) if looks else 0
    fit = settings.steps * settings.accumulate * step.step + looks * val * _windows(side, run.window, 0) * one
    found = test * _windows(side, run.window, run.window.overlap) * one
    if not _learns(run):
        yield run.hash, precision, found
    elif isinstance(model, BedsSettings):
        for member in range(model.members):
            yield (
                f"member {member} {run.seed} {model.channels} {settings} {getattr(run, 'fraction', '')}",
                precision,
                fit,
            )
        yield run.hash, precision, found * model.members * (1 + model.templates)
    else:
        yield run.hash, precision, fit + found
    if isinstance(model, XieSettings) and model.pretext is not None:
        pretext = model.pretext
        batch = 3 * pretext.train.batch_size
        # the encoder is about half of the network, forward and back
        half = _footprint(model, pretext.train.precision == "bf16", batch, pretext.side).step / 2
        yield f"pretext {run.seed} {pretext}", pretext.train.precision, pretext.train.steps * half


# ---- by card


@dataclass(frozen=True)
class OnCard:
    """All that is left to run, on one kind of card. fits: whether every run does."""

    card: str
    fits: bool
    hours: float
    kwh: float
    usd: float
    co2_kg: float


def seconds(work: dict[str, float], card: dict[str, Any], efficiency: float) -> float:
    """How long a card takes for operations of each precision."""
    return sum(flops / (card[kind] * TERA * efficiency) for kind, flops in work.items())


def on_cards(plans: list[RunPlan]) -> list[OnCard]:
    """What is left of a plan, by card."""
    given = assumptions()
    left = [each for each in plans if not each.finished]
    found = []
    for name, card in given["cards"].items():
        hours = sum(seconds(each.work, card, given["efficiency"]) for each in left) / 3600
        kwh = hours * card["watts"] / 1000 * given["power_usage_effectiveness"]
        fits = all(each.memory <= room(card) for each in left)
        found.append(OnCard(name, fits, hours, kwh, hours * card["usd_per_hour"], kwh * given["kg_co2_per_kwh"]))
    return found


def room(card: dict[str, Any]) -> float:
    """Bytes of a card that a run may fill."""
    return float((card["gb"] - assumptions()["overhead_gb"]) * 1e9)


def remedy(run: Run, card: dict[str, Any]) -> str:
    """The first setting with which a run fits a card, in words; the less it changes, the earlier it is tried."""

    def trained(**update: Any) -> dict[str, Any]:
        return {"train": run.train.model_copy(update=update)}

    mixed, both = trained(precision="bf16"), trained(precision="bf16", activations="recomputed")
    tries: list[tuple[str, dict[str, Any]]] = [("train: {precision: bf16}", mixed)]
    if isinstance(run.model, SamSettings):
        tries.append(("train: {activations: recomputed}", trained(activations="recomputed")))
        tries.append(("train: {precision: bf16, activations: recomputed}", both))
        for name, profile in (("vit_l", "paper-l"), ("vit_b", "paper-b")):
            tries.append((f"profile {profile} ({name})", both | {"model": run.model.model_copy(update={"name": name})}))
    if run.train.batch_size > 1:
        one = run.train.model_copy(update={"batch_size": 1, "accumulate": run.train.batch_size, "precision": "bf16"})
        tries.append((f"train: {{batch_size: 1, accumulate: {run.train.batch_size}, precision: bf16}}", {"train": one}))
    if isinstance(run.model, NnUNetSettings):
        return "model: {gpu_memory: …}, nnU-Net's own knob, below the card's"
    for words, update in tries:
        step = step_of(run.model_copy(update=update))
        if step is not None and step.memory <= room(card):
            return words
    return "a larger card"
