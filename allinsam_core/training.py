"""All-in-SAM on annotated images: one binary network a class, early stopping, a threshold each, one model file.

Paper §3.2 trains one adapter a class on a frozen encoder; §3.3 adds corrective learning. Settings for the small SAMs
are those of the study's profile `mini` at a third of its rate: at the rate itself, and for longer, five images gave a
worse model in the one draw tried (`results/laboratory/tried`). For Meta's SAM those of `paper` with fewer steps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from allinsam_core.annotation.predict import MINI_SPACING, field_at
from allinsam_core.annotation.sam import MINIS, Sam, weights_checksum
from allinsam_core.data.case import Case
from allinsam_core.learning import threshold
from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.instances import MAPS
from allinsam_core.learning.losses import MapSettings
from allinsam_core.learning.method import NetworkMethod, WindowSettings
from allinsam_core.learning.train import TrainSettings
from allinsam_core.model import DEFAULT, Base, Description, Model, base_sam, network, save
from allinsam_core.refinement.corrective import CorrectiveSettings, EmbeddingSam
from allinsam_core.refinement.method import CorrectiveMethod

_SHARED: dict[str, Any] = {"warmup": 20, "clip": 1.0, "precision": "bf16", "validate_every": 25, "checkpoint_every": 25}
_MINI = TrainSettings(steps=150, batch_size=4, learning_rate=3e-4, final_rate=1e-6, patience=3, **_SHARED)
_META = TrainSettings(steps=1500, batch_size=1, learning_rate=2e-4, patience=10, **_SHARED)


class Recipe(BaseModel):
    """Everything that decides a training besides the images. window: at the images' µm per pixel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Base = "mini"
    instance_maps: MapSettings | None = None  # learn the two distances that part nuclei, too
    window: WindowSettings = WindowSettings(field=MINIS["mini"].field)
    train: TrainSettings = _MINI
    augment: AugmentSettings = AugmentSettings()
    mocl: CorrectiveSettings | None = None  # corrective learning for labels that are known to err
    seed: int = 0

    @classmethod
    def of(cls, base: Base, spacing: float, **given: Any) -> Recipe:
        """The recipe for a SAM and images at `spacing` µm per pixel.

        A window is 37.5 µm for mini-SAM, 64 for mini2, 250 for Meta's SAM.
        """
        own = MINIS.get(base)
        side, size, batch = (own.field, own.image_size, 8) if own else (1000, 1024, 1)
        window = WindowSettings(field=field_at(spacing, side, MINI_SPACING), size=size, batch=batch)
        settings = _MINI if own else _META
        maps = MapSettings() if own and own.instance_maps else None
        return cls.model_validate({"base": base, "instance_maps": maps, "window": window, "train": settings, **given})


def classes(cases: Sequence[Case]) -> tuple[str, ...]:
    """The classes of annotated images, sorted; ("nucleus",) where no nucleus has any."""
    return tuple(sorted({name for case in cases for name in case.classes.values()})) or ("nucleus",)


def method(sam: Sam, recipe: Recipe, device: str = "auto") -> NetworkMethod:
    """The method for one class, untrained, on the frozen encoder of `sam`."""
    torch.manual_seed(recipe.seed)
    net = network(sam, outputs=1 if recipe.instance_maps is None else 1 + MAPS)
    shared: dict[str, Any] = {"window": recipe.window, "train": recipe.train, "augment": recipe.augment}
    shared |= {"seed": recipe.seed, "device": device, "instance_maps": recipe.instance_maps}
    if recipe.mocl is None:
        return NetworkMethod(net, **shared)
    return CorrectiveMethod(EmbeddingSam(net), **shared, corrective=recipe.mocl)


def train(
    cases: Sequence[Case],
    out: Path | str,
    recipe: Recipe | None = None,
    *,
    weights: Path | str | None = None,
    work: Path | None = None,
    device: str = "auto",
    record: dict[str, Any] | None = None,
    licence: str = "",
) -> Model:
    """Train on the cases of split "train", stop early and choose thresholds on those of "val", write the file `out`.

    Every nucleus of a case must be annotated: what is not counts as background. All cases have one µm per pixel.
    weights: of Meta's SAM, where the recipe asks for it. work: where checkpoints live; a second call with the same
    cases and recipe goes on from them. record, licence: kept in the file. Raises ValueError without a case in a split.
    """
    parts = {split: [case for case in cases if case.split == split] for split in ("train", "val")}
    if not all(parts.values()):
        counts = " and ".join(f"{len(part)} {split}" for split, part in parts.items())
        raise ValueError(f"{counts} images, expected at least one of each split")
    if len(spacings := {case.spacing for case in cases}) != 1:
        raise ValueError(f"images at {sorted(spacings)} µm per pixel, expected one value; resample them first")
    recipe = recipe or Recipe.of(DEFAULT, spacings.pop())
    sam, names = base_sam(recipe.base, weights), classes(cases)
    nets, cuts, histories = [], [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for index, name in enumerate(names):
            one = method(sam, recipe, device)
            own = {split: [case.of_class(name) for case in part] for split, part in parts.items()}
            histories[name] = one.fit(own["train"], own["val"], (work or Path(scratch)) / f"class-{index}")
            cuts.append(threshold.choose(((one.predict(c.image), c.mask) for c in own["val"]), cautious=True))
            nets.append(one.model.sam if isinstance(one.model, EmbeddingSam) else one.model)
    about = Description(
        base=recipe.base,
        base_sha256=weights_checksum(sam),
        classes=names,
        instance_maps=recipe.instance_maps is not None,
        spacing=cases[0].spacing,
        window=recipe.window,
        thresholds=tuple(cuts),
        record={"recipe": recipe.model_dump(mode="json"), "training": histories, **(record or {})},
        licence=licence,
    )
    model = Model(about, nn.ModuleList(nets).cpu())
    save(model, Path(out))
    return model
