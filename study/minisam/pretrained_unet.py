"""The control of mini2's pre-training: a U-Net trained on exactly its crops, `python -m study.minisam.pretrained_unet`.

Same images, same crops in the same order, same optimiser and number of steps; the U-Net learns what mini2 gives without
a prompt (foreground and the two distances), as it takes none. The real tiles of which only points are known have the
outlines that mini2's run made. So what is left between the two is SAM: its architecture, its prompts, its adapter.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case
from allinsam_core.learning.augment import Batch
from allinsam_core.learning.devices import fabric_on
from allinsam_core.learning.instances import MAPS, targets
from allinsam_core.learning.train import History, fit
from study import records
from study.datasets import brca_m2c
from study.minisam import mini2, objective, pointed
from study.minisam.corpus import gather
from study.minisam.mini2 import Mini2Config
from study.rivals.unet import UNetSettings
from study.root import data_root

WEIGHTS = "unet.safetensors"


def run(config: Mini2Config, root: Path, folder: Path, teacher: Path, cache: Path, device: str = "auto") -> nn.Module:
    """Pre-train, or go on, and leave WEIGHTS (float32) and `run.json` in `folder`.

    teacher: the folder of mini2's run, whose outlines are trained on. cache: of simulated tiles. Raises
    FileNotFoundError where mini2's run has not come to an outline that is needed; what is done stays.
    """
    mini2.claim(folder, config)
    corpus = gather(config.corpus, root, cache)
    model = UNetSettings().network(config.seed, outputs=1 + MAPS)
    batches = mini2.held_out_batches(corpus)
    tiles = brca_m2c.load(root, config.real_splits) if config.outlined else []

    def outlined(step: int) -> list[Case]:
        file = mini2.outlines(teacher, step)
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: not there, expected the outlines that mini2 makes at step {step}; go on when its run is there"
            )
        return pointed.stored(tiles, file)

    history = History()
    for stop, sample in mini2.stages(config, corpus, outlined):
        history = fit(
            model, sample, loss, config.train, folder, seed=config.seed, fabric=fabric_on(device),
            progress="pre-training the U-Net", stop=stop,
        )  # fmt: skip
        mini2.report(folder, config, stop, history, evaluate(model, batches))
    with replacing(folder / WEIGHTS) as unfinished:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, unfinished)
    found = mini2.record("pretrain-unet", config, corpus, history, folder / WEIGHTS)
    records.save(found, folder)
    return model


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """What mini2 is trained for without a prompt."""
    return objective.promptless_loss(model(batch.image).float(), batch.instances)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Sequence[Batch]) -> dict[str, float]:
    """On held-out images: the loss, Dice of the foreground, and mean error of the distances inside of nuclei."""
    values: dict[str, list[float]] = {"loss": [], "dice": [], "distance_error": []}
    for batch in batches:
        maps, wanted = model(batch.image).float(), batch.mask > 0.5
        found = maps[:, :1] > 0
        both = 2 * (found & wanted).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + wanted.sum((1, 2, 3))).clamp(min=1)
        away = (maps[:, 1:].sigmoid() - targets(batch.instances)).abs()
        values["loss"].append(float(objective.promptless_loss(maps, batch.instances)))
        values["dice"].extend(both.tolist())
        values["distance_error"].append(float(away[wanted.expand_as(away)].mean()))
    return {name: float(np.mean(found)) for name, found in values.items()}


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m study.minisam.pretrained_unet", description=__doc__)
    parser.add_argument("folder", type=Path, help="of checkpoints, figures and weights; an unfinished run is continued")
    parser.add_argument("--mini2", type=Path, required=True, help="folder of mini2's own run")
    parser.add_argument("--tiles", type=Path, help="cache of simulated tiles; that of mini2's folder if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=mini2.STEPS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    config = Mini2Config(seed=given.seed).of_length(given.steps)
    run(config, data_root(), given.folder, given.mini2, given.tiles or given.mini2 / "tiles")


if __name__ == "__main__":
    main()
