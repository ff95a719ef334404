"""`allinsam`: a thin door to the package. Each command lives beside what it does, and is imported when it is called."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from study.numbers import number, whole
from study.tools.errors import PlainGroup

# name: module and function or group, and the first paragraph of its help, so that --help imports none of them
ELSEWHERE = {
    "data": ("study.tools.data:app", "What the study takes from elsewhere: list, fetch, check."),
    "book": ("study.tools.book:app", "The book: the audit's measurements, and checks of the built pages."),
    "results": ("study.tools.results:app", "Committed rows and run records."),
    "notebook": ("study.tools.notebook:app", "Run the study's notebooks."),
    "doctor": (
        "study.tools.doctor:doctor",
        "What is here (Python, torch, cards, memory, data, checkpoints, disk), and what each profile still lacks.",
    ),
    "plan": (
        "study.tools.planning:plan",
        "Parameters, memory, GPU hours, disk, money and energy of a profile's runs, from operations and assumptions.",
    ),
    "annotate": (
        "study.tools.annotate:annotate",
        "Turn boxes into nuclei with SAM: instance map, GeoJSON, ImageJ ROIs, provenance table and a picture.",
    ),
    "segment": (
        "study.tools.segment:segment",
        "Find all nuclei of an image or a whole slide: label image, GeoJSON, table and a picture or quality page.",
    ),
    "train": (
        "study.tools.train:train",
        "Train All-in-SAM on your own annotated images; killed, the same call goes on where it stopped.",
    ),
    "export": (
        "study.tools.export_run:export",
        "The model of a finished run as one file that `segment` takes: weights, classes, resolution, record, licence.",
    ),
    "describe": (
        "study.tools.describe:describe",
        "Parameter counts of an adapted SAM, or a trained model's base, classes, resolution, training and scores.",
    ),
    "score": (
        "study.tools.score:command",
        "Score predictions (label map, mask, class map or probability map; png, tif, npy) against the truth.",
    ),
}


def load(name: str) -> Any:
    """The command of a name in `ELSEWHERE`, importing its module."""
    module, _, attribute = ELSEWHERE[name][0].partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_group(found)
    alone = typer.Typer(add_completion=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)


class Commands(PlainGroup):
    """Lists the commands of `ELSEWHERE` by their help, and loads the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        listed = {name: TyperCommand(name, help=text) for name, (_, text) in ELSEWHERE.items()}
        self.commands = {**listed, **self.commands}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name in ELSEWHERE else command, rest


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_show_locals=False, help=__doc__)


@app.command()
def run(
    profile: Annotated[
        str, typer.Option(help="A file of study/profiles (smoke, mini, …), or the path of your own YAML file.")
    ] = "smoke",
    method: Annotated[str, typer.Option()] = "allinsam",
    label: Annotated[str, typer.Option(help="complete or weak.")] = "complete",
    fraction: Annotated[float, typer.Option(parser=number, help="Of the training images.")] = 1.0,
    seed: Annotated[int, typer.Option(parser=whole)] = 0,
    settings: Annotated[str, typer.Option(help="What you want otherwise, YAML: '{steps: 300, loss: bce}'.")] = "{}",
    results: Annotated[Path, typer.Option(help="Rows and run records; from the repository's root.")] = Path("results"),
    work: Annotated[Path, typer.Option(help="Checkpoints and maps; from the repository's root.")] = Path("work"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """One run of the grid, without a notebook."""
    from study import grid
    from study.run import execute

    config = grid.profile(profile).run(method, label=label, fraction=fraction, seed=seed, settings=settings)
    typer.echo(execute(config, results, work, device=device))


@app.command()
def noise(
    profile: Annotated[str, typer.Option(help="smoke or mini, or the path of your own YAML file.")] = "smoke",
    results: Annotated[Path, typer.Option(help="Rows and run records.")] = Path("results"),
    work: Annotated[Path, typer.Option(help="Checkpoints.")] = Path("work"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Quality against label errors, with and without MOCL: every run of the grid that is not finished."""
    from study import grid
    from study.run import execute_grid

    folders = execute_grid(grid.of_arm("noise", profile, "noise.rate"), results, work, device=device)
    typer.echo(f"{len(folders)} runs in {folders[0].parent}")


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, weights and the record.")] = Path("work/pretrain"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    steps: Annotated[
        int | None, typer.Option(parser=whole, help="Steps of each phase, instead of the recipe's.")
    ] = None,
    earlier: Annotated[Path | None, typer.Option(help="Record of the shipped weights: go on from its phases.")] = None,
) -> None:
    """Pre-train mini-SAM on DSB2018 and simulated tissue (hours on two cores); continues where it stopped."""
    from study.minisam.pretraining import execute
    from study.minisam.recipe import PretrainConfig

    config = PretrainConfig()
    if steps is not None:
        config = config.with_steps(steps)
    typer.echo(execute(config, out, device, earlier))


@app.command()
def quality(
    results: Annotated[Path, typer.Option(help="Where rows and record go.")] = Path("results"),
    split: Annotated[list[str] | None, typer.Option(help="train or val; by default both.")] = None,
    model: Annotated[str, typer.Option(help="mini or mini2, as they ship.")] = "mini",
) -> None:
    """Measure a shipped small SAM on MoNuSeg's training and validation images: boxes to masks, and promptless."""
    from allinsam_core.annotation.sam import SHIPPED
    from study.minisam.quality import SPLITS, execute
    from study.root import resolved

    if model not in SHIPPED:
        raise typer.BadParameter(f"model {model!r}: expected {' or '.join(SHIPPED)}")

    if unknown := sorted(set(split or ()) - set(SPLITS)):
        raise typer.BadParameter(f"split {unknown[0]!r}: expected {' or '.join(SPLITS)}")
    wanted = tuple(s for s in SPLITS if split is None or s in split)
    typer.echo(execute(results, wanted, resolved("work/weak"), model))


@app.command("mask-threshold")
def mask_threshold(results: Annotated[Path, typer.Option(help="Where rows and record go.")] = Path("results")) -> None:
    """Measure what each threshold of mini-SAM's mask logits is worth on MoNuSeg's validation images."""
    from study.minisam.quality import mask_thresholds

    typer.echo(mask_thresholds(results))


@app.command()
def overlap(results: Annotated[Path, typer.Option(help="Where rows and record go.")] = Path("results")) -> None:
    """Show by patch matching that no stained DSB2018 image shows the tissue of a MoNuSeg image."""
    from study.minisam.overlap import execute

    typer.echo(execute(results))


@app.command()
def deepliif(results: Annotated[Path, typer.Option(help="Where rows and record go.")] = Path("results")) -> None:
    """Lay boxes, masks and classes on DeepLIIF's two real tiles, after registering their panels: a demonstration."""
    from study.molecular.deepliif import execute

    typer.echo(execute(results))
