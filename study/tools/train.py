"""`allinsam train`: All-in-SAM on a laboratory's own annotations, into one model file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from skimage.transform import resize

from allinsam_core import model as models
from allinsam_core import training
from allinsam_core.annotation.predict import MINI_SPACING
from allinsam_core.annotation.sam import MODELS, Sam, weights_checksum
from allinsam_core.data.case import Case
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.method import NetworkMethod
from allinsam_core.learning.train import fit, peak_memory
from allinsam_core.refinement.corrective import CorrectiveSettings
from study import records, tuning
from study.names import readable
from study.numbers import number, whole, within
from study.tools import folder, notices, split
from study.tools.compare import Comparison, compare
from study.tools.errors import sentence
from study.tools.lock import alone

RADII = 0.5, 50.0  # µm, of anything that may be a nucleus
TIMED = 3  # steps whose time is measured before the rest is foretold


def train(
    data: Annotated[Path, typer.Argument(help="Folder of images and their annotations.")],
    out: Annotated[Path, typer.Option(help="The model file to write, for instance mine.safetensors.")],
    spacing: Annotated[
        float | None, typer.Option(parser=number, help="µm per pixel; by default from the images' tags.")
    ] = None,
    radius: Annotated[
        float | None, typer.Option(parser=number, help="Radius in µm of nuclei that are annotated as points.")
    ] = None,
    table: Annotated[Path | None, typer.Option(help="CSV: image, and patient or split (train, val, test).")] = None,
    classes: Annotated[str, typer.Option(help="Train only these, separated by commas; by default all.")] = "",
    merge_classes: Annotated[bool, typer.Option("--merge-classes", help="All nuclei are of one kind.")] = False,
    base: Annotated[str, typer.Option(help=f"The SAM to adapt: {', '.join(MODELS)}.")] = models.DEFAULT,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of the base; mini and mini2 have their own.")] = None,
    steps: Annotated[
        int | None, typer.Option(parser=within(whole, 1, 10**9), help="Training steps a class, instead of the default.")
    ] = None,
    mocl: Annotated[
        bool, typer.Option("--mocl", help="Corrective learning, for labels that are known to err.")
    ] = False,
    licence: Annotated[str, typer.Option(help="Licence of the images, kept in the model file.")] = "",
    seed: Annotated[
        int, typer.Option(parser=within(whole, 0, 2**32 - 1), help="Of split, initial weights and crops.")
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Train All-in-SAM on your own annotated images; killed, the same call goes on where it stopped."""
    try:
        asked = Request(
            data,
            out,
            spacing,
            radius,
            table,
            readable(classes),
            merge_classes,
            base,
            checkpoint,
            steps,
            mocl,
            readable(licence),
            seed,
            device,
        )
        with notices.shown():
            run(asked, typer.echo)
    except (ValueError, OSError, FloatingPointError) as error:
        typer.echo(f"train: {sentence(error)}", err=True)
        raise typer.Exit(2) from error


@dataclass(frozen=True)
class Request:
    """What is asked of `train`; fields as its options."""

    data: Path
    out: Path
    spacing: float | None = None
    radius: float | None = None
    table: Path | None = None
    classes: str = ""
    merge_classes: bool = False
    base: str = models.DEFAULT
    checkpoint: Path | None = None
    steps: int | None = None
    mocl: bool = False
    licence: str = ""
    seed: int = 0
    device: str = "auto"

    @property
    def work(self) -> Path:
        """Where masks, checkpoints and the record live: beside the model file."""
        return self.out.with_name(f"{self.out.name}.work")


def run(asked: Request, tell: Callable[[str], None]) -> models.Model:
    """What `train` does; tell: takes every line worth reading. Raises ValueError or OSError that says what to do."""
    if asked.out.is_dir():
        raise ValueError(f"{asked.out}: is a folder, expected the model file to write, for instance mine.safetensors")
    if asked.radius is not None and not RADII[0] <= asked.radius <= RADII[1]:
        raise ValueError(f"--radius: {asked.radius:g} µm, expected that of a nucleus, {RADII[0]:g} to {RADII[1]:g} µm")
    if asked.device != "auto":
        models.check_device(asked.device)
    with alone(asked.out):
        sam = models.base_sam(asked.base, asked.checkpoint)
        cases, said = read(asked, sam)
        for line in (*said, *overview(cases)):
            tell(line)
        recipe = _recipe(asked, cases[0].spacing)
        described: dict[str, Any] = {"recipe": recipe.model_dump(mode="json"), "base": weights_checksum(sam)}
        described["data"] = records.data_checksum(cases) + str([(c.split, sorted(c.classes.items())) for c in cases])
        name = records.hash_of(described)
        work = asked.work / name
        done = models.describe(asked.out).record if asked.out.is_file() else {}
        if done.get("config_hash") == name and "scores" in done:  # these are written last
            if not (work / "run.json").is_file():
                records.write(done, work / "run.json")
            tell(f"{asked.out}: this training is finished; nothing to do")
            return models.load(asked.out, asked.checkpoint)
        tell(forecast(sam, recipe, cases, work, asked.device))
        started = time.time()
        record: dict[str, Any] = {
            "run_id": readable(asked.out.stem),
            "config_hash": name,
            "commit": records.commit(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "environment": records.environment(),
            "data": {s: [c.name for c in cases if c.split == s] for s in ("train", "val", "test")},
            "data_sha256": records.data_checksum(cases),
        }
        model = training.train(
            cases, asked.out, recipe, weights=asked.checkpoint, work=work, device=asked.device, record=record,
            licence=asked.licence,
        )  # fmt: skip
        tell("choosing on the annotated images which nuclei are kept, by area and probability")
        parting = choose_kept(model, cases)
        model = replace(model, about=model.about.model_copy(update={"parting": parting}))
        found = compare(model, models.zero_shot(sam, recipe.base, model.about), cases)
        record = {**model.about.record, "scores": found.rows(), "peak_memory_bytes": peak_memory()}
        model = replace(model, about=model.about.model_copy(update={"record": record}))
        models.save(model, asked.out)
        records.write(record, work / "run.json")
        for line in (*found.lines(), *_closing(asked, model, found)):
            tell(line)
        return model


def choose_kept(model: models.Model, cases: Sequence[Case]) -> InstanceSettings:
    """How the model parts nuclei, with what is kept chosen on the images it learnt from and was validated on.

    Of all classes together, by `study.tuning`; lengths in pixels of 0.25 µm, as a model file has them. Touching nuclei
    are parted as those of the SAM that the model stands on (`models.KEPT`), where that ships: chosen on one or two
    validation images, it was worse on others. As the model had it where no image shows a nucleus.
    """
    base = models.KEPT.get(model.about.base, model.about.parting)
    start = base.model_copy(update=dict.fromkeys(tuning.KEEPING, 0.0))
    examples = []
    for case in (case for case in cases if case.split in ("train", "val")):
        for name, maps in zip(model.about.classes, model.maps(case.image, case.spacing), strict=True):
            truth = case.of_class(name).instances
            examples += [tuning.Example(maps, truth, case.spacing)] if truth.any() else []
    if not examples:
        return model.about.parting
    scale = MINI_SPACING / cases[0].spacing
    return tuning.kept(examples, start.scaled(scale)).scaled(1 / scale)


def read(asked: Request, sam: Sam) -> tuple[list[Case], list[str]]:
    """The annotated images at one resolution, with patient and split; and what is worth saying about them."""
    found = folder.pairs(asked.data)
    said = []
    if left := [pair.image.name for pair in found if pair.annotation is None]:
        said.append(
            f"{len(left)} images without annotation are left out: {', '.join(left[:5])}{' …' * (len(left) > 5)}"
        )
    if len(found) - len(left) < 2:
        count = len(found) - len(left)
        raise ValueError(f"{asked.data}: {count} annotated images, expected at least two, one of them to validate on")
    reader = folder.Reader(
        sam, weights_checksum(sam), asked.work / "masks", asked.spacing, asked.radius, asked.merge_classes
    )
    cases = _of_classes(list(reader.cases(found)), asked)
    coarsest = max(case.spacing for case in cases)
    if min(case.spacing for case in cases) < coarsest * 0.99:
        said.append(f"images are of different resolutions: the finer ones are resampled to {coarsest:g} µm/px")
    cases, more = split.assign([resampled(case, coarsest) for case in cases], asked.table, asked.seed)
    return cases, [*said, *more]


def _of_classes(cases: list[Case], asked: Request) -> list[Case]:
    """The cases with the classes that were asked for; a class that one image alone shows is an error."""
    shown = folder.class_images(cases)
    wanted = [name.strip() for name in asked.classes.split(",") if name.strip()] or list(shown)
    if unknown := [name for name in wanted if name not in shown]:
        known = f"the classes are {', '.join(sorted(shown))}" if shown else "the annotations name no classes"
        raise ValueError(f"{asked.data}: no nucleus of class {unknown[0]!r}; {known}")
    if alone := [name for name in wanted if len(shown[name]) < 2]:
        raise ValueError(
            f"{asked.data}: class {alone[0]!r} is in one image only ({shown[alone[0]][0]}), expected two or more, one "
            "to validate on; annotate another, choose others with --classes A,B, or train without (--merge-classes)"
        )
    if not any(case.instances.any() for case in cases):
        raise ValueError(f"{asked.data}: the annotations hold no nucleus, expected at least one")
    return [_narrowed(case, wanted) for case in cases]


def _narrowed(case: Case, wanted: Sequence[str]) -> Case:
    """The case without the nuclei of other classes."""
    if not case.classes:
        return case
    classes = {label: name for label, name in case.classes.items() if name in wanted}
    kept = np.isin(case.instances, list(classes))
    return replace(case, instances=np.where(kept, case.instances, 0).astype(np.uint16), classes=classes)


def resampled(case: Case, spacing: float) -> Case:
    """The case at another resolution: pixels averaged, labels of the nearest pixel. The same one within 1 %."""
    if abs(case.spacing / spacing - 1) < 0.01:
        return replace(case, spacing=spacing)
    shape = tuple(max(1, round(side * case.spacing / spacing)) for side in case.instances.shape)
    image = resize(case.image, shape, anti_aliasing=True, preserve_range=True)
    labels = resize(case.instances, shape, order=0, anti_aliasing=False, preserve_range=True)
    return replace(case, image=np.rint(image).astype(np.uint8), instances=labels.astype(np.uint16), spacing=spacing)


def overview(cases: Sequence[Case]) -> Iterator[str]:
    """One line a split: images, patients, nuclei by class."""
    for part in ("train", "val", "test"):
        own = [case for case in cases if case.split == part]
        if own:
            counts = {n: sum(len(np.unique(c.of_class(n).instances)) - 1 for c in own) for n in training.classes(cases)}
            nuclei = ", ".join(f"{count} {name}" for name, count in counts.items())
            yield f"{part:<6}{len(own)} images of {len({c.patient for c in own})} patients or slides: {nuclei}"


def forecast(sam: Sam, recipe: training.Recipe, cases: Sequence[Case], work: Path, device: str) -> str:
    """Steps, time and memory in advance, from a few steps of the same training in a folder of their own."""
    first, names = work / "class-0", training.classes(cases)
    steps = f"{recipe.train.steps} steps" + (f" for each of {len(names)} classes" if len(names) > 1 else "")
    if (first / "last.ckpt").is_file():
        return f"{steps}, at most; goes on from {first}"
    if recipe.train.steps <= 1 + TIMED:
        return f"{steps}, too few to foretell their time"
    method = training.method(sam, recipe, device)
    own = {s: [c.of_class(names[0]) for c in cases if c.split == s] for s in ("train", "val")}
    with tempfile.TemporaryDirectory() as scratch:  # the training itself begins anew, with its validations
        _advance(method, own["train"], Path(scratch), 1)
        clock = time.monotonic()
        _advance(method, own["train"], Path(scratch), 1 + TIMED)
        a_step = (time.monotonic() - clock) / TIMED
    clock = time.monotonic()
    method.validate(own["val"][:1])
    pixels = [case.instances.size for case in own["val"]]
    a_validation = (time.monotonic() - clock) * sum(pixels) / pixels[0]
    looks = 2 + recipe.train.steps // recipe.train.validate_every if recipe.train.validate_every else 2
    seconds = len(names) * (recipe.train.steps * a_step + looks * a_validation)
    return f"{steps}, at most {_duration(seconds)} on {method.fabric.device}, {peak_memory() / 2**30:.1f} GB of memory"


def _advance(method: NetworkMethod, cases: list[Case], folder: Path, stop: int) -> None:
    settings = method.train.model_copy(update={"validate_every": 0})
    loss, fabric = method.step_loss(), method.fabric
    fit(method.model, method.sampler(cases), loss, settings, folder, None, method.seed, fabric, "timing", stop)


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _recipe(asked: Request, spacing: float) -> training.Recipe:
    given: dict[str, Any] = {"seed": asked.seed, "mocl": CorrectiveSettings() if asked.mocl else None}
    recipe = training.Recipe.of(cast(models.Base, asked.base), spacing, **given)
    if asked.steps is None:
        return recipe
    every = max(1, min(recipe.train.validate_every, asked.steps // 2))
    settings = recipe.train.model_copy(update={"steps": asked.steps, "validate_every": every})
    return recipe.model_copy(update={"train": settings})


def _closing(asked: Request, model: models.Model, found: Comparison) -> Iterator[str]:
    for name, history in model.about.record["training"].items():
        yield f"{name}: kept the weights of step {history['best']} of {history['validations'][-1]['step']}"
    yield from found.warnings()
    cuts = ", ".join(
        f"{name} from {cut:.2f}" for name, cut in zip(model.about.classes, model.about.thresholds, strict=True)
    )
    yield f"written to {asked.out} ({asked.out.stat().st_size / 2**20:.1f} MB), thresholds: {cuts}"
    yield f"next: allinsam segment IMAGE --model {asked.out} --out FOLDER"
