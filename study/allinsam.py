"""The paper's own networks as settings: the adapted SAM with its relatives, and the residual U-Net of MOCL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, model_validator

from allinsam_core.annotation import sam
from allinsam_core.learning.adapter import AdaptedSam, Placement
from allinsam_core.learning.method import NetworkMethod
from allinsam_core.refinement.corrective import CorrectiveSettings, EmbeddingSam
from allinsam_core.refinement.method import CorrectiveMethod
from study import checkpoints
from study.methods import NetworkSettings, outputs_of, shared
from study.multiclass import CorrectiveMulticlass, MulticlassMethod
from study.rivals.mocl_unet import MoclUNet

if TYPE_CHECKING:
    from study.config import Run

SamName = Literal["mini", "mini2", "vit_b", "vit_l", "vit_h"]


class SamSettings(NetworkSettings):
    """All-in-SAM and its relatives.

    weights: "shipped" is our mini-SAM, "random" none, else a checkpoint by its name in the manifest or its path.
    depth: only so many blocks of the encoder, for checkpoints that have no more.
    reduction: as `AdaptedSam`'s where none is given; what has no adapter keeps the number that its records have.
    """

    kind: Literal["sam"] = "sam"
    name: SamName = "mini"
    weights: str = "shipped"
    placement: Placement = "all"
    reduction: int = Field(default=32, gt=0)
    zero_init: bool = False
    as_released: bool = False
    trainable: Literal["adapter", "everything"] = "adapter"
    scrambled: bool | None = Field(default=None, exclude_if=lambda value: value is None)  # None: as `as_released`
    depth: int | None = Field(default=None, gt=0, exclude_if=lambda value: value is None)  # None: all blocks

    @model_validator(mode="before")
    @classmethod
    def _reduction_of_the_sam(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "reduction" in given or given.get("placement") == "none":
            return given
        return {**given, "reduction": sam.REDUCTION.get(str(given.get("name", "mini")), 32)}

    def initial(self, outputs: int = 1) -> AdaptedSam:
        if self.weights == "random":
            base = sam.initialised(sam.build(self.name, depth=self.depth))
        else:
            base = sam.build(self.name, checkpoints.file(self.weights, self.name), self.depth)
        return AdaptedSam(
            base,
            placement=self.placement,
            reduction=self.reduction,
            zero_init=self.zero_init,
            as_released=self.as_released,
            trainable=self.trainable,
            outputs=outputs,
            scrambled=self.scrambled,
        )

    def build(self, run: Run, device: str) -> NetworkMethod:
        network = cast(AdaptedSam, self.network(run.seed, outputs_of(run)))
        classes, given = getattr(run, "classes", None), shared(run, device)
        if classes is not None:
            network.start_alike()
            if run.corrective is None:
                return MulticlassMethod(network, **given, classes=classes)
            return CorrectiveMulticlass(EmbeddingSam(network), **given, classes=classes, corrective=run.corrective)
        if run.corrective is None:
            return NetworkMethod(network, **given)
        return CorrectiveMethod(EmbeddingSam(network), **given, corrective=run.corrective)

    def base_weights(self) -> str:
        return checkpoints.sha256(self.weights, self.name)


class MoclUNetSettings(NetworkSettings):
    """The earlier work's residual U-Net. width: channels at full resolution; 32 is the published network."""

    kind: Literal["mocl_unet"] = "mocl_unet"
    width: int = 32

    def initial(self, outputs: int = 1) -> MoclUNet:
        return MoclUNet(tasks=1, width=self.width, maps=outputs - 1)

    def build(self, run: Run, device: str) -> CorrectiveMethod:
        corrective = run.corrective or CorrectiveSettings(variant="none")
        return CorrectiveMethod(self.network(run.seed, outputs_of(run)), **shared(run, device), corrective=corrective)
