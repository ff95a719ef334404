"""A `mini` run of All-in-SAM and a step of pre-training, as their records have them against all levers.

A whole run is its steps, its validations and nothing else, so its time is put together from the medians of one step
and of one image. Both ways compute in the precision that this processor multiplies itself: what the other one costs is
a lever of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.attention import has_bfloat16
from allinsam_core.data.case import Case
from allinsam_core.learning.augment import prefetched
from allinsam_core.learning.devices import mixed_precision
from allinsam_core.learning.method import NetworkMethod, WindowSettings
from allinsam_core.learning.train import StepLoss
from benchmarks.ratio import Row, compare
from study import methods
from study.grid import profile
from study.minisam import mini2, objective

VALIDATION_IMAGES = 6
CROP = 300  # px, four windows of mini-SAM instead of 49
LEVERS: dict[str, Any] = {"attention": "folded", "validation_crop": CROP}


def tissue(seed: int, side: int = 1000) -> Case:
    """An image of noise with discs for nuclei; speed does not depend on what it shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    disc = (y % 40 - 20) ** 2 + (x % 40 - 20) ** 2 < 150
    labels = ((y // 40) * (side // 40 + 1) + x // 40 + 1) * disc
    image = np.clip(np.where(disc[..., None], 90, 210) + rng.normal(0, 20, (side, side, 3)), 0, 255)
    return Case(f"tissue {seed}", image.astype(np.uint8), labels.astype(np.uint16), 0.25, "made")


def steps_of(method: NetworkMethod, cases: list[Case], ahead: bool) -> Callable[[], float]:
    """One training step of a method, the batch made in it or ahead of it."""
    sample, loss = method.sampler(cases), method.step_loss()
    batches = prefetched(sample, range(10**6)) if ahead else map(sample, range(10**6))
    optimizer = torch.optim.AdamW([p for p in method.model.parameters() if p.requires_grad], lr=0.0)

    def step() -> float:
        method.model.train()
        batch = next(batches)
        with mixed_precision("cpu", method.train.precision == "bf16"):
            value = loss(method.model, batch)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(value.detach())

    return step


def whole_run(repeats: int, placement: str) -> list[Row]:
    """Step, validation and whole run of `allinsam` in profile `mini`. placement: of the present run."""
    grid, cases, late = profile("mini"), [tissue(0), tissue(1)], placement == "late"
    train = {"precision": precision()}
    former_run = grid.run("allinsam", "complete", 1.0, 0, settings={"train": train})
    settings = {"train": train | LEVERS} | ({"model": {"placement": "late"}} if late else {})
    present_run = grid.run("allinsam", "complete", 1.0, 0, settings=settings)
    former, present = (methods.build(run, "cpu") for run in (former_run, present_run))
    assert isinstance(former, NetworkMethod)
    assert isinstance(present, NetworkMethod)
    name = f"mini, All-in-SAM{' (late)' if late else ''}"
    same = None if late else lambda a, b: abs(a - b) / abs(a)
    step = compare(
        f"{name}: training step",
        steps_of(former, cases, False), steps_of(present, cases, True), repeats, same,
        tolerance=0.02, difference_of="first loss, relative", precision=precision(), counted=True,
    )  # fmt: skip
    crop = cases[0].middle(CROP)
    validation = compare(
        f"{name}: validation of an image",
        lambda: former.validate(cases[:1]), lambda: present.validate([crop]), max(1, repeats // 3),
    )  # fmt: skip
    validations = -(-former_run.train.steps // former_run.train.validate_every) * VALIDATION_IMAGES
    before, now = (
        former_run.train.steps * s + validations * v
        for s, v in ((step.before, validation.before), (step.now, validation.now))
    )  # type: ignore[operator]
    share = validations * validation.now / now  # type: ignore[operator]
    run = Row(
        f"{name}: whole run", before, now, goal=2.0, repeats=repeats, precision=precision(),
        note=f"validation is {share:.1%} of the present run's time",
    )  # fmt: skip
    return [step, validation, run]


def precision() -> str:
    """What this processor multiplies itself."""
    return "bf16" if has_bfloat16("cpu") else "fp32"


class Prompted(NetworkMethod):
    """A network that learns to answer prompts, as in pre-training."""

    def step_loss(self) -> StepLoss:
        return objective.step_loss()


def pretraining(repeats: int) -> Row:
    """A step of mini2's pre-training: eager with the batch made in it, folded with the batch made ahead."""
    config, ways = mini2.Mini2Config(), []
    geometry = sams.MINIS[config.geometry]
    for levers in (False, True):
        update = {"precision": precision()} | ({"attention": "folded"} if levers else {})
        train = config.train.model_copy(update=update)
        window = WindowSettings(field=geometry.field, size=geometry.image_size)
        method = Prompted(mini2.untrained(config), window, train, config.augment, device="cpu")
        ways.append(steps_of(method, [tissue(0), tissue(1)], levers))
    torch.manual_seed(0)
    return compare(
        "mini2, pre-training: step of 8 crops", *ways, repeats, goal=2.0, counted=True, precision=precision()
    )


def measure(quick: bool) -> list[Row]:
    """Whole runs with either placement, and pre-training."""
    if quick:
        return []
    return [*whole_run(3, "all"), *whole_run(3, "late"), pretraining(3)]
