"""`allinsam export`: the model of a finished run of the grid as one file, for `allinsam segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from torch import nn

from allinsam_core import model as models
from allinsam_core.annotation.sam import REDUCTION, weights_checksum
from allinsam_core.learning import checkpoint
from allinsam_core.learning.instances import InstanceSettings
from study import finished
from study.allinsam import SamSettings
from study.checkpoints import file as weights_of
from study.config import RunConfig
from study.datasets import manifest
from study.methods import outputs_of
from study.root import resolved
from study.tools.errors import sentence

TRAINED = "trained.safetensors"
RECORDED = ("run_id", "config_hash", "config", "commit", "sha256")
# µm per pixel of the images, as their readers say
SPACINGS = {"monuseg": 0.25, "monuseg_20x": 0.5, "brca_m2c": 0.5, "simulated": 0.25}


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run: results/PROFILE/RUN.")],
    out: Annotated[Path, typer.Option(help="The model file to write, for instance mine.safetensors.")],
    work: Annotated[Path, typer.Option(help="Folder of checkpoints that the run was made with.")] = Path("work"),
) -> None:
    """The model of a finished run as one file that `segment` takes: weights, classes, resolution, record, licence."""
    try:
        model = exported(run, work)
        models.save(model, out)
    except (ValueError, OSError) as error:
        typer.echo(f"export: {sentence(error)}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"written to {out} ({out.stat().st_size / 2**20:.1f} MB): {', '.join(model.about.classes)}")
    typer.echo(f"next: allinsam segment IMAGE --model {out} --out FOLDER")


def exported(run: Path, work: Path) -> models.Model:
    """The model of the run whose record lies in the folder `run`. work: where its trained tensors lie.

    Raises ValueError where a model file cannot hold such a run, and FileNotFoundError where the tensors are not there.
    """
    if not (run / "run.json").is_file():
        raise FileNotFoundError(f"{run}: no finished run (run.json), expected a folder results/PROFILE/RUN")
    record = finished.read(run).record
    config = RunConfig.model_validate(record["config"])
    settings = config.model
    if why := unfit(config):
        raise ValueError(f"{run}: {why}; a model file holds an adapted SAM of one plain training")
    assert isinstance(settings, SamSettings)  # noqa: S101
    file = resolved(work) / config.place / TRAINED
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file, expected the run's trained tensors; name their folder by --work"
        )
    training = {**record["training"], "seconds": record["fit_seconds"]}
    weights = None if settings.weights == "shipped" else weights_of(settings.weights, settings.name)
    sam = models.base_sam(settings.name, weights)
    about = models.Description(
        base=settings.name,
        base_sha256=weights_checksum(sam),
        classes=config.classes.names if config.classes else ("nucleus",),
        joint=config.classes is not None,
        spacing=(spacing := SPACINGS[config.data.source]),
        window=config.window,
        placement=settings.placement,
        instance_maps=config.instance_maps is not None,
        thresholds=(record.get("threshold", 0.5),) * (len(config.classes.names) if config.classes else 1),
        parting=parting_of(record, config).scaled(spacing / 0.25),
        record={**{name: record[name] for name in RECORDED}, "training": {"all": training}},
        licence=licence_of(config.data.source),
    )
    network = models.network(sam, settings.placement, about.outputs)
    checkpoint.load(network, file, config.base_weights, settings.name)
    return models.Model(about, nn.ModuleList([network]).eval())


def unfit(config: RunConfig) -> str:
    """Why a model file cannot hold the run, "" where it can."""
    settings = config.model
    if not isinstance(settings, SamSettings) or settings.kind != "sam" or settings.weights == "random":
        return f"its method is {config.method!r}, which stands on no SAM's weights"
    if not config.fraction:
        return "it trained nothing"
    usual = SamSettings(
        name=settings.name, weights=settings.weights, placement=settings.placement, reduction=REDUCTION[settings.name]
    )
    if differs := [name for name in SamSettings.model_fields if getattr(settings, name) != getattr(usual, name)]:
        return f"its {differs[0]} is {getattr(settings, differs[0])!r}, expected {getattr(usual, differs[0])!r}"
    if config.corrective is not None:
        return "it was trained with corrective learning"
    if config.classes is not None and outputs_of(config) != len(config.classes.names):
        return f"its classes share a {config.classes.head}, expected a map for each"
    if config.classes is not None and config.classes.claim != "nucleus":
        return f"its classes claim by {config.classes.claim}, expected by nucleus"
    return "" if config.data.source in SPACINGS else f"its images are {config.data.source}"


def parting_of(record: dict[str, object], config: RunConfig) -> InstanceSettings:
    """How the run parted nuclei: as it chose on validation images, or as it was configured."""
    chosen = record.get("instances_chosen")
    return config.instances if chosen is None else InstanceSettings.model_validate(chosen)


def licence_of(source: str) -> str:
    """Of the images that were learnt from; "" of simulated ones."""
    names = {"monuseg": "monuseg-train", "monuseg_20x": "monuseg-train", "brca_m2c": "brca_m2c"}
    return manifest.own().artefacts[names[source]].licence if source in names else ""
