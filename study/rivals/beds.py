"""BEDs (Li et al., SPIE Medical Imaging 2021): bagged U-Nets, stain augmentation at test time, majority vote.

Faithful: each member learns from a random two thirds of the training images; at test time an image is also shown in
the colours of template images (Vahadane et al. 2016, stain.py); every member votes on every version, pixel by pixel.

Different: the paper's members are 8-level pix2pix generators with an L1 loss on three classes (background, boundary,
nucleus), trained on 1356 other patches of TCGA tissue, with MoNuSeg for choosing among them; ours are this study's
U-Net with its loss, augmentation and MoNuSeg training images, so that the rows differ from the U-Net's in nothing but
bagging, votes and stain. 33 members and 6 templates there; parameters here; templates are drawn from the training
images. Size: members × the U-Net's parameters (1.9 million each with the default channels).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import model_validator
from torch import nn

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError
from allinsam_core.learning.method import Method, NetworkMethod
from study.methods import MethodSettings
from study.rivals import stain
from study.rivals.unet import UNetSettings
from study.tools.lock import in_turn

if TYPE_CHECKING:
    from study.config import Run


class BedsSettings(MethodSettings):
    """channels: of each member (UNetSettings). share: part of the training images that a member sees."""

    kind: Literal["beds"] = "beds"
    channels: tuple[int, ...] = (24, 48, 96, 192, 384)
    members: int = 5
    templates: int = 0
    share: float = 2 / 3

    @model_validator(mode="after")
    def _a_majority_exists(self) -> BedsSettings:
        if self.members < 1 or self.templates < 0 or not 0 < self.share <= 1:
            raise ValueError(f"members {self.members}, templates {self.templates}, share {self.share}: out of range")
        if (votes := self.members * (1 + self.templates)) % 2 == 0:
            raise ValueError(
                f"{self.members} members × {1 + self.templates} versions of an image are {votes} votes, expected an "
                "odd number, else a pixel can be tied: take an odd number of members and an even number of templates"
            )
        return self

    def build(self, run: Run, device: str) -> Beds:
        """Members are runs of a U-Net. All that decides them, and nothing else, names the folder that rows share."""
        lone = self.model_copy(update={"members": 1, "templates": 0})
        key = run.model_copy(update={"method": "beds", "model": lone}).hash
        unet = UNetSettings(channels=self.channels)

        def member(index: int) -> NetworkMethod:
            return unet.build(run.model_copy(update={"seed": run.seed * 1000 + index}), device)

        return Beds(self, member, run.seed, shared=f"beds-members-{key}")


class Beds(Method):
    """The members, their stain templates and their vote.

    member: makes the untrained member of an index. shared: name of the folder of all members, beside the run's own:
    rows that differ in `members` or `templates` only train each member once.
    """

    def __init__(
        self, settings: BedsSettings, member: Callable[[int], NetworkMethod], seed: int = 0, shared: str = "members"
    ) -> None:
        self.settings, self.member, self.seed, self.shared = settings, member, seed, shared
        self.members: dict[int, NetworkMethod] = {}
        self.templates: list[stain.Stains] = []

    @property
    def network(self) -> nn.ModuleList:
        """All members' networks."""
        return nn.ModuleList(self.members[index].model for index in sorted(self.members))

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        """Train the members one after the other, each in its own folder, where a finished one is only read."""
        self.templates = self._random_templates(train)
        histories = []
        for index in range(self.settings.members):
            place = folder.parent / self.shared / f"member-{index}"
            place.mkdir(parents=True, exist_ok=True)
            method = self.member(index)
            try:
                with in_turn(place / "last.ckpt"):  # another row may be training it
                    histories.append(method.fit([train[i] for i in self.bag(index, len(train))], val, place))
            except Exception as error:
                error.add_note(f"{place}: member {index + 1} of {self.settings.members}; finished members are kept")
                raise
            self.members[index] = method
        return {
            "members": [{key: h[key] for key in ("validations", "best", "seconds")} for h in histories],
            "seconds": sum(h["seconds"] for h in histories),
            "processor_seconds": sum(h["processor_seconds"] for h in histories),
            "peak_memory": max(h["peak_memory"] for h in histories),
        }

    def bag(self, index: int, images: int) -> list[int]:
        """The training images (indices) of a member: the same in an ensemble of any size."""
        rng = np.random.default_rng([self.seed, index])
        count = max(1, round(self.settings.share * images))
        return sorted(rng.choice(images, count, replace=False).tolist())

    def _random_templates(self, train: Sequence[Case]) -> list[stain.Stains]:
        if self.settings.templates == 0:
            return []
        order = np.random.default_rng([self.seed, 10_000]).permutation(len(train))
        separated = (stain.separate(train[i].image) for i in order)
        found = list(islice((template for template in separated if template), self.settings.templates))
        if len(found) < self.settings.templates:
            raise DataError(
                f"{len(found)} training images with tissue, expected at least {self.settings.templates} for the "
                "stain templates; ask for fewer"
            )
        return found

    def predict(self, image: np.ndarray) -> np.ndarray:
        """The share of votes for nucleus (H, W) float32; the majority is ≥ 0.5. A lone vote keeps its probability."""
        return self.predict_maps(image)[0]

    def predict_maps(self, image: np.ndarray) -> np.ndarray:
        """The share of votes and, where members have instance maps, their means: (1 or 3, H, W) float32."""
        if missing := sorted(set(range(self.settings.members)) - set(self.members)):
            raise ValueError(
                f"member {', '.join(str(i + 1) for i in missing)} of {self.settings.members} is not trained, a vote "
                "needs all of them; run fit again, it continues with the first that is missing"
            )
        versions = [image, *(stain.normalise(image, template) for template in self.templates)]
        maps = np.stack([self.members[i].predict_maps(version) for i in sorted(self.members) for version in versions])
        if len(maps) == 1:
            return maps[0]
        return np.stack([share_of_votes(maps[:, 0]), *maps[:, 1:].mean(axis=0)])


def share_of_votes(prob: np.ndarray) -> np.ndarray:
    """prob: (votes, H, W) float32 in [0, 1] → (H, W) float32: the part of the votes that are ≥ 0.5."""
    return (prob >= 0.5).mean(axis=0, dtype=np.float32)
