"""The molecular arm's methods: networks trained with a corrective loss (stage 3), ready to fit."""

from __future__ import annotations

from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.refinement.corrective import EmbeddingSam
from allinsam_core.refinement.method import CorrectiveMethod
from study import methods
from study.molecular.config import MolecularConfig


def build(config: MolecularConfig, device: str = "auto") -> CorrectiveMethod:
    """The method of a run, untrained, with the initial weights that its seed gives. device: as in `methods.build`."""
    network = methods.network(config.model, config.seed)
    if isinstance(network, AdaptedSam):
        network = EmbeddingSam(network)
    return CorrectiveMethod(
        network,
        window=config.window,
        train=config.train,
        augment=config.augment,
        seed=config.seed,
        device=device,
        corrective=config.corrective,
    )
