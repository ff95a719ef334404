"""`allinsam`: a thin door to the package. Each command lives beside what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.tools.annotate import annotate
from study.tools.book import app as book
from study.tools.data import app as data
from study.tools.describe import describe
from study.tools.notebook import app as notebook
from study.tools.score import command as score
from study.tools.segment import segment
from study.tools.train import train

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False, help=__doc__)
app.add_typer(data, name="data")
app.add_typer(book, name="book")
app.add_typer(notebook, name="notebook")
app.command("annotate")(annotate)
app.command("segment")(segment)
app.command("score")(score)
app.command("describe")(describe)
app.command("train")(train)


@app.command()
def run(
    profile: Annotated[
        str, typer.Option(help="smoke, choice, mini, labels, ablation, draws, longer, threshold or paper.")
    ] = "smoke",
    method: Annotated[str, typer.Option()] = "allinsam",
    label: Annotated[str, typer.Option(help="complete or weak.")] = "complete",
    fraction: Annotated[float, typer.Option(help="Part of the training images.")] = 1.0,
    seed: Annotated[int, typer.Option()] = 0,
    results: Annotated[Path, typer.Option(help="Rows and run records.")] = Path("results"),
    work: Annotated[Path, typer.Option(help="Checkpoints and maps.")] = Path("work"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """One run of the grid, without a notebook."""
    from study import config
    from study.run import execute

    typer.echo(execute(config.profile(profile).run(method, label, fraction, seed), results, work, device=device))


@app.command()
def noise(
    profile: Annotated[str, typer.Option(help="smoke or mini.")] = "smoke",
    results: Annotated[Path, typer.Option(help="Rows and run records.")] = Path("results"),
    work: Annotated[Path, typer.Option(help="Checkpoints.")] = Path("work"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Quality against label errors, with and without MOCL: every run of the grid that is not finished."""
    from study.noise import execute

    typer.echo(f"{len(execute(profile, results, work, device=device))} runs in {results / profile / 'noise'}")


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, weights and the record.")] = Path("work/pretrain"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    steps: Annotated[int | None, typer.Option(help="Steps of each phase, instead of the recipe's.")] = None,
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
    split: Annotated[list[str] | None, typer.Option(help="train or val; both unless told.")] = None,
) -> None:
    """Measure the shipped mini-SAM on MoNuSeg's training and validation images: boxes to masks, and promptless."""
    from study.minisam.quality import SPLITS, execute

    typer.echo(execute(results, tuple(s for s in SPLITS if split is None or s in split), Path("work/weak")))


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
