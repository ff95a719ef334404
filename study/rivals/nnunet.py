"""nnU-Net v2, 2-D: the real package, driven by our data (Isensee et al., Nature Methods 18, 2021).

Faithful: nnU-Net checks, fingerprints, plans and preprocesses our images, trains its own network with its own loss,
optimiser, schedule, sampling and augmentation, and predicts with its own sliding window; its last weights are used, as
it does by default. About 20.6 million parameters at a patch of 224 px, 59 million at 1024 px.

Different: one fold, the study's own split of training and validation images; the plan is made from the training part
alone (nnunet_data.py); epochs and iterations are parameters; no closing validation, the study's judge scores. See
nnunet_trainer.py for what makes it resumable. nnU-Net is an extra of this package, which `make study` installs for the
profiles that run it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from allinsam_core.data.case import Case
from allinsam_core.learning.devices import mixed_precision
from allinsam_core.learning.method import Method
from study.methods import MethodSettings, outputs_of
from study.multiclass import ClassMethod, ClassSettings
from study.rivals import nnunet_data as data

if TYPE_CHECKING:
    from study.config import Run


class NnUNetSettings(MethodSettings):
    """The defaults are nnU-Net's own.

    gpu_memory: the planner's memory target in GB, nnU-Net's own knob for the patch's size. step: of the sliding
    window, part of the patch. mirror: predict all mirrored versions too. workers: augmentation processes; 0 augments
    in the training process itself, the only way to a repeatable result.
    """

    kind: Literal["nnunet"] = "nnunet"
    gpu_memory: float = 8.0
    epochs: int = 1000
    iterations: int = 250  # per epoch
    validation_iterations: int = 50  # per epoch
    checkpoint_every: int = 50  # epochs
    precision: Literal["fp32", "bf16"] = "fp32"  # on a processor; on a GPU nnU-Net uses float16
    step: float = 0.5
    mirror: bool = True
    workers: int = 0

    def build(self, run: Run, device: str) -> NnUNet:
        if (classes := getattr(run, "classes", None)) is not None:
            return MulticlassNnUNet(self, run.seed, device, classes)
        return NnUNet(self, run.seed, device, cores=outputs_of(run) > 1)


class NnUNet(Method):
    """The package's trainer and predictor behind the study's interface.

    cores: it learns rims and cores of nuclei (`nnunet_data.classes`), and so has instance maps.
    """

    kinds: tuple[str, ...] = ()  # classes of nuclei that it learns apart

    def __init__(self, settings: NnUNetSettings, seed: int = 0, device: str = "auto", cores: bool = False) -> None:
        if find_spec("nnunetv2") is None:
            raise ModuleNotFoundError(
                "package nnunetv2 is not installed, expected for methods of kind nnunet; get it, in the project's "
                "folder, with: pip install -c constraints.txt -e '.[nnunet]'"
            )
        self.settings, self.seed, self.cores = settings, seed, cores
        self.fabric = Fabric(accelerator=device, devices=1)
        self.model: nn.Module | None = None
        self._predictor: Any = None

    @property
    def network(self) -> nn.Module | None:
        return self.model

    @property
    def runs_on(self) -> torch.device:
        return self.fabric.device

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        """Prepare and train below `folder`; what is there is continued. nnU-Net's copies of the data go at the end."""
        s = self.settings
        folder.mkdir(parents=True, exist_ok=True)
        with _talking_to(folder / "nnunet.log"):
            seconds = data.prepare(train, val, folder, s.gpu_memory, self.cores, self.kinds)
            with data.environment(folder, s.workers):
                trainer = self._trainer(folder)
                log = self._train(trainer)
            self._predictor = self._prediction_of(trainer)
        self.model = trainer.network
        for name in ("imagesTr", "labelsTr"):
            shutil.rmtree(folder / "raw" / data.NAME / name, ignore_errors=True)
        for path in Path(trainer.preprocessed_dataset_folder).iterdir():
            path.write_bytes(b"")  # gigabytes; the names stay, nnU-Net tells the format by them
        spent = sum(log["epoch_end_timestamps"]) - sum(log["epoch_start_timestamps"])
        steps = [(epoch + 1) * s.iterations for epoch in range(len(log["train_losses"]))]
        looks = zip(steps, log["val_losses"], log["mean_fg_dice"], strict=True)
        return {
            "losses": [(step, float(loss)) for step, loss in zip(steps, log["train_losses"], strict=True)],
            "validations": [{"step": n, "loss": float(loss), "dice": float(dice)} for n, loss, dice in looks],
            "best": steps[-1],  # nnU-Net keeps the last weights
            "seconds": seconds + spent,
            "prepare_seconds": seconds,
            "plan": data.plan(folder),
        }

    def _trainer(self, folder: Path) -> Any:
        from study.rivals.nnunet_trainer import BudgetTrainer

        s, preprocessed = self.settings, folder / "preprocessed" / data.NAME
        plans = {**data.read_json(preprocessed / f"{data.PLANS}.json"), "continue_training": True}
        dataset = data.read_json(preprocessed / "dataset.json")
        trainer = BudgetTrainer(plans, data.CONFIGURATION, 0, dataset, torch.device(self.fabric.device.type))
        trainer.seed, trainer.bf16 = self.seed, s.precision == "bf16"
        trainer.num_epochs, trainer.num_iterations_per_epoch = s.epochs, s.iterations
        trainer.num_val_iterations_per_epoch, trainer.save_every = s.validation_iterations, s.checkpoint_every
        return trainer

    def _train(self, trainer: Any) -> dict[str, list[float]]:
        """Train from the newest checkpoint, or not at all where that is the final one; returns nnU-Net's log."""
        from nnunetv2.run.run_training import maybe_load_checkpoint

        for name in ("final", "latest", "best"):
            _set_aside_if_damaged(Path(trainer.output_folder) / f"checkpoint_{name}.pth")
        maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
        if not (Path(trainer.output_folder) / "checkpoint_final.pth").is_file():
            trainer.run_training()
        trainer.set_deep_supervision_enabled(False)
        return trainer.logger.get_checkpoint()

    def _prediction_of(self, trainer: Any) -> Any:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(
            tile_step_size=self.settings.step,
            use_mirroring=self.settings.mirror,
            device=trainer.device,
            allow_tqdm=False,
        )
        predictor.manual_initialization(
            trainer.network,
            trainer.plans_manager,
            trainer.configuration_manager,
            [trainer.network.state_dict()],
            trainer.dataset_json,
            type(trainer).__name__,
            trainer.inference_allowed_mirroring_axes,
        )
        return predictor

    def predict(self, image: np.ndarray) -> np.ndarray:
        """nnU-Net's foreground probability (H, W) float32 of an image (H, W, 3) uint8."""
        return self.predict_maps(image)[0]

    def predict_maps(self, image: np.ndarray) -> np.ndarray:
        """That, and with cores one less their probability, which serves as both distances: (1 or 3, H, W) float32."""
        if self._predictor is None:
            raise ValueError("this nnU-Net is not trained, expected fit before predict; fraction 0 means nothing to it")
        pixels = image.transpose(2, 0, 1)[:, None].astype(np.float32)  # (3, 1, H, W), as nnU-Net's PNG reader gives
        on_cpu = self.fabric.device.type == "cpu"
        with mixed_precision("cpu", on_cpu and self.settings.precision == "bf16"):
            _, prob = self._predictor.predict_single_npy_array(
                pixels, {"spacing": (999, 1, 1)}, save_or_return_probabilities=True
            )
        prob = np.asarray(prob[:, 0], dtype=np.float32)
        return np.stack([prob[1] + prob[2], 1 - prob[2], 1 - prob[2]]) if self.cores else prob[1:]


class MulticlassNnUNet(ClassMethod, NnUNet):
    """nnU-Net as it is for several labels: one softmax over background and classes, whatever `classes.head` says."""

    def __init__(self, settings: NnUNetSettings, seed: int, device: str, classes: ClassSettings) -> None:
        super().__init__(settings, seed, device)
        self.classes, self.kinds = classes, classes.names


def _set_aside_if_damaged(checkpoint: Path) -> None:
    """Rename a checkpoint that is cut short or holds other bytes than it should: training then goes on without it."""
    if not checkpoint.is_file():
        return
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        damaged = str(error)
    if damaged:
        aside = checkpoint.with_suffix(".damaged")
        checkpoint.replace(aside)
        warnings.warn(f"{checkpoint}: damaged ({damaged}), set aside as {aside.name}", stacklevel=2)


@contextlib.contextmanager
def _talking_to(log: Path) -> Iterator[None]:
    """nnU-Net's many words go to a file, those of its worker processes too (they inherit file descriptor 1)."""
    kept = os.dup(1)
    with log.open("a") as file, contextlib.redirect_stdout(file):
        os.dup2(file.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
