"""`allinsam export`: the model of a finished run of the grid as one file, for `allinsam segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from torch import nn

from allinsam_core import model as models
from allinsam_core.annotation.predict import MINI_SPACING
from allinsam_core.annotation.sam import weights_checksum
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
# a source of images → its data set in the manifest, "" for none, and how much wider its pixels are
DATASETS = {"monuseg": ("monuseg", 1), "monuseg_20x": ("monuseg", 2), "brca_m2c": ("brca_m2c", 1), "simulated": ("", 1)}


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
    spacing, licence = origin(config.data.source)
    training = {**record["training"], "seconds": record["fit_seconds"]}
    weights = None if settings.weights == "shipped" else weights_of(settings.weights, settings.name)
    sam = models.base_sam(settings.name, weights)
    about = models.Description(
        base=settings.name,
        base_sha256=weights_checksum(sam),
        classes=config.classes.names if config.classes else ("nucleus",),
        joint=config.classes is not None,
        spacing=spacing,
        window=config.window,
        placement=settings.placement,
        instance_maps=config.instance_maps is not None,
        thresholds=(record.get("threshold", 0.5),) * (len(config.classes.names) if config.classes else 1),
        parting=parting_of(record, config).scaled(spacing / MINI_SPACING),
        record={**{name: record[name] for name in RECORDED}, "training": {"all": training}},
        licence=licence,
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
    usual = SamSettings(name=settings.name, weights=settings.weights, placement=settings.placement)
    if differs := [name for name in SamSettings.model_fields if getattr(settings, name) != getattr(usual, name)]:
        return f"its {differs[0]} is {getattr(settings, differs[0])!r}, expected {getattr(usual, differs[0])!r}"
    if config.corrective is not None:
        return "it was trained with corrective learning"
    if config.classes is not None and outputs_of(config) != len(config.classes.names):
        return f"its classes share a {config.classes.head}, expected a map for each"
    if config.classes is not None and config.classes.claim != "nucleus":
        return f"its classes claim by {config.classes.claim}, expected by nucleus"
    return "" if config.data.source in DATASETS else f"its images are {config.data.source}"


def parting_of(record: dict[str, object], config: RunConfig) -> InstanceSettings:
    """How the run parted nuclei: as it chose on validation images, or as it was configured."""
    chosen = record.get("instances_chosen")
    return config.instances if chosen is None else InstanceSettings.model_validate(chosen)


def origin(source: str) -> tuple[float, str]:
    """µm per pixel of a source's images and their licence, "" of simulated ones."""
    name, wider = DATASETS[source]
    if not name:
        return MINI_SPACING, ""
    own = manifest.own()
    spacing = own.datasets[name].spacing
    assert spacing is not None, f"{name}: the manifest states no spacing"  # noqa: S101
    return spacing * wider, next(each.licence for each in own.artefacts.values() if each.dataset == name)
