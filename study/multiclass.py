"""Several classes of nuclei from one network: a binary map for each, or one softmax over all of them.

The paper trains one binary model a class (§3.3). Here all classes share one network and one training, with a map for
each: of a SAM, its decoder's mask tokens, of which it has four anyway. head "binary" keeps the paper's independent
maps, head "softmax" makes classes and background exclude each other. Both are read as one logit a class, and every
class has the same binary loss, so that nothing but the head differs.

Two classes may claim a pixel. claim "nucleus": the classes together part the nuclei, and a nucleus, whole, is of the
class with the largest mean probability over it. claim "pixel": every pixel is of its most probable class first, and
each class is parted alone, so that one nucleus may become two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from allinsam_core.data.case import Case
from allinsam_core.learning.augment import Batch
from allinsam_core.learning.instances import InstanceSettings, from_probability
from allinsam_core.learning.losses import LOSSES
from allinsam_core.learning.method import Method, NetworkMethod
from allinsam_core.learning.threshold import rescaled
from allinsam_core.learning.train import Sample, StepLoss
from allinsam_core.refinement.corrective import CorrectiveSettings, Scheduled, ScheduledBatch
from allinsam_core.settings import Settings

Head = Literal["binary", "softmax"]
Claim = Literal["nucleus", "pixel"]


class ClassSettings(Settings):
    """names: of the classes, in the order of the maps. head, claim: see the module.

    balanced: training images are drawn so that every class is met as often, instead of in proportion to their area.
    """

    names: tuple[str, ...] = Field(min_length=2)
    head: Head = "binary"
    claim: Claim = "nucleus"
    balanced: bool = Field(default=False, exclude_if=lambda balanced: not balanced)

    @property
    def outputs(self) -> int:
        """Maps that the network gives: one a class, and with a softmax the background's, which is the first."""
        return len(self.names) + (self.head == "softmax")


class OneVsRest(nn.Module):
    """The network with one logit a class, (B, 3, S, S) → (B, C, S, S); of one that gives (logits, E) the logits."""

    def __init__(self, model: nn.Module, head: Head) -> None:
        super().__init__()
        self.model, self.head = model, head

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.model(image)
        return one_vs_rest(found[0] if isinstance(found, tuple) else found, self.head)


def one_vs_rest(logits: torch.Tensor, head: Head) -> torch.Tensor:
    """(B, C or 1 + C, H, W) → (B, C, H, W): logits whose sigmoid is the class's probability under the head.

    Of a softmax that is l_c − log Σ_{j≠c} exp l_j.
    """
    if head == "binary":
        return logits
    total = logits.logsumexp(dim=1, keepdim=True)
    log_prob = (logits - total)[:, 1:]
    rest = torch.log1p(-log_prob.exp().clamp(max=1 - 1e-6))
    return log_prob - rest


def union(prob: np.ndarray) -> np.ndarray:
    """(C, H, W) → (H, W) float32: the probability of any class, the sum as they exclude each other, at most 1."""
    return np.minimum(prob.sum(axis=0), 1).astype(np.float32)


def part(prob: np.ndarray, claim: Claim, settings: InstanceSettings, spacing: float | None = None) -> np.ndarray:
    """Labels (H, W) int32 of the nuclei of all classes, 0 = background. prob: (C, H, W); a nucleus from 0.5 on."""
    if claim == "nucleus":
        return from_probability(union(prob), settings, spacing)
    winner, labels = prob.argmax(axis=0), np.zeros(prob.shape[1:], np.int32)
    for kind, values in enumerate(prob):
        found = from_probability(np.where(winner == kind, values, 0), settings, spacing)
        labels = np.where(found > 0, found + labels.max(), labels)
    return labels


def class_table(case: Case, names: Sequence[str]) -> np.ndarray:
    """Label → number of its class, 1 … C, 0 = background: (largest label + 1,) int64.

    Raises ValueError for a nucleus whose class is none of `names`.
    """
    table = np.zeros(int(case.instances.max(initial=0)) + 1, np.int64)
    for label in np.flatnonzero(np.bincount(case.instances.ravel())[1:]) + 1:
        kind = case.classes.get(int(label), "")
        if kind not in names:
            raise ValueError(f"{case.name}: nucleus {label} is of class {kind!r}, expected one of {', '.join(names)}")
        table[label] = 1 + names.index(kind)
    return table


def balance(tables: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """(N,) float64, Σ = 1: how often each image is drawn, Σ over classes of its share of the class's nuclei.

    tables: of `class_table`. A class that no image shows counts for nothing.
    """
    counts = np.stack([np.bincount(table, minlength=classes + 1)[1:] for table in tables]).astype(float)
    shares = (counts / np.maximum(counts.sum(axis=0), 1)).sum(axis=1)
    return shares / shares.sum()


class ClassMethod(Method):
    """A method that gives a map a class: it says `classes` and `predict_maps`, (C, H, W); nuclei are parted here."""

    classes: ClassSettings

    def predict(self, image: np.ndarray) -> np.ndarray:
        return union(self.predict_maps(image))

    def segment(
        self, case: Case, settings: InstanceSettings | None = None, threshold: float = 0.5
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (C, H, W) float32 and labels (H, W) of a case; `detection.points_of` names classes."""
        prob = rescaled(self.predict_maps(self.given(case)), threshold)
        return prob, part(prob, self.classes.claim, settings or InstanceSettings(), case.spacing)

    def maps_of(self, case: Case, threshold: float = 0.5) -> np.ndarray:
        """The probability of any class, (1, H, W)."""
        return union(rescaled(self.predict_maps(self.given(case)), threshold))[None]


@dataclass
class MulticlassMethod(ClassMethod, NetworkMethod):
    """A network (B, 3, S, S) in [0, 1] → logits (B, `classes.outputs`, S, S), all classes trained at once."""

    classes: ClassSettings = field(default_factory=lambda: ClassSettings(names=("a", "b")))
    tables: Mapping[str, np.ndarray] = field(default_factory=dict, init=False)

    def sampler(self, train: Sequence[Case]) -> Sample:
        self.tables = {case.name: class_table(case, self.classes.names) for case in train}
        return super().sampler(train)

    def weights(self, train: Sequence[Case]) -> Sequence[float] | None:
        if not self.classes.balanced:
            return None
        return balance([self.tables[case.name] for case in train], len(self.classes.names)).tolist()

    def targets(self, batch: Batch) -> torch.Tensor:
        """(B, C, S, S) float32: one binary mask a class, of a batch that `sampler` gave."""
        labels = batch.instances.cpu().numpy()
        kinds = np.stack([self.tables[name][each] for name, each in zip(batch.names, labels, strict=True)])
        masks = kinds[:, None] == np.arange(1, len(self.classes.names) + 1)[:, None, None]
        return torch.from_numpy(masks).float().to(batch.image.device)

    def step_loss(self) -> StepLoss:
        loss = LOSSES[self.loss]

        def total(model: nn.Module, batch: Batch) -> torch.Tensor:
            logits = one_vs_rest(model(self.given_batch(batch)).float(), self.classes.head)
            each = zip(logits.split(1, dim=1), self.targets(batch).split(1, dim=1), strict=True)
            return torch.stack([loss(own, target) for own, target in each]).mean()

        return total

    def segmenter(self) -> nn.Module:
        return OneVsRest(self.model, self.classes.head)

    def validate(self, val: Sequence[Case]) -> dict[str, float]:
        """Mean loss over validation images and classes; Dice at 0.5 of each class over all images, their mean."""
        values, both, sizes = [], np.zeros(len(self.classes.names)), np.zeros(len(self.classes.names))
        loss = LOSSES[self.loss]
        for case in val:
            prob = torch.from_numpy(self._maps(self.given(case), overlap=0.0))
            kinds = class_table(case, self.classes.names)[case.instances]
            for number in range(len(sizes)):
                truth = torch.from_numpy(kinds == number + 1)
                values.append(float(loss(torch.logit(prob[number], eps=1e-6)[None, None], truth[None, None].float())))
                found = prob[number] >= 0.5
                both[number] += float((found & truth).sum())
                sizes[number] += float(found.sum() + truth.sum())
        return {"loss": float(np.mean(values)), "dice": float(np.mean(2 * both / np.maximum(sizes, 1)))}


@dataclass
class CorrectiveMulticlass(MulticlassMethod):
    """Corrective learning of all classes at once, each by its own mask and its own most confident pixels.

    model: `EmbeddingSam`; the classes share its embedding E. The loss is the mean over the classes.
    """

    corrective: CorrectiveSettings = field(default_factory=CorrectiveSettings)

    def sampler(self, train: Sequence[Case]) -> Scheduled:
        batches = self.train.steps * self.train.accumulate * self.fabric.world_size
        return Scheduled([super().sampler(train)], batches)

    def step_loss(self) -> StepLoss:
        def total(model: nn.Module, batch: Batch) -> torch.Tensor:
            assert isinstance(batch, ScheduledBatch)  # noqa: S101
            logits, embedding = model(self.given_batch(batch))
            loss = self.corrective.loss(batch.progress)
            logits = one_vs_rest(logits.float(), self.classes.head)
            each = zip(logits.split(1, dim=1), self.targets(batch).split(1, dim=1), strict=True)
            return torch.stack([loss(own, embedding.float(), target)[0] for own, target in each]).mean()

        return total
