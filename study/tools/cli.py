"""`allinsam`: a thin door to the package. Each command lives beside what it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from study.tools.annotate import annotate
from study.tools.book import app as book
from study.tools.data import app as data
from study.tools.errors import PlainGroup
from study.tools.notebook import app as notebook
from study.tools.results import app as results
from study.tools.score import command as score
from study.tools.segment import segment

app = typer.Typer(cls=PlainGroup, no_args_is_help=True, pretty_exceptions_show_locals=False, help=__doc__)
app.add_typer(data, name="data")
app.add_typer(book, name="book")
app.add_typer(notebook, name="notebook")
app.add_typer(results, name="results")
app.command("annotate")(annotate)
app.command("segment")(segment)
app.command("score")(score)


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="mini, vit_b, vit_l or vit_h.")],
    placement: Annotated[str, typer.Option(help="Which blocks are adapted: all, late or none.")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Parameter counts of the adapted SAM: total, trainable, adapter, decoder. Needs no weights."""
    import torch

    from allinsam_core.annotation import sam
    from allinsam_core.learning.adapter import AdaptedSam, parameter_counts

    if name not in sam.MODELS or placement not in ("all", "late", "none"):
        raise typer.BadParameter(f"{name!r}, {placement!r}: expected one of {', '.join(sam.MODELS)}; all, late, none")
    with torch.device("meta"):  # shapes only: the largest SAM would fill 2.5 GB
        model = AdaptedSam(sam.build(name), placement=placement, reduction=sam.REDUCTION[name])  # type: ignore[arg-type]
    counts = parameter_counts(model)
    typer.echo(json.dumps(counts) if as_json else "\n".join(f"{k:<10}{v:>13,}" for k, v in counts.items()))


@app.command()
def run(
    profile: Annotated[
        str, typer.Option(help="A file of study/profiles (smoke, mini, …), or the path of your own YAML file.")
    ] = "smoke",
    method: Annotated[str, typer.Option()] = "allinsam",
    label: Annotated[str, typer.Option(help="complete or weak.")] = "complete",
    fraction: Annotated[float, typer.Option(help="Of the training images.")] = 1.0,
    seed: Annotated[int, typer.Option()] = 0,
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
    profile: Annotated[str, typer.Option(help="smoke or mini.")] = "smoke",
    results: Annotated[Path, typer.Option(help="Rows and run records.")] = Path("results"),
    work: Annotated[Path, typer.Option(help="Checkpoints.")] = Path("work"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Quality against label errors, with and without MOCL: every run of the grid that is not finished."""
    from study import grid
    from study.run import execute_grid

    folders = execute_grid(grid.profile(f"noise/{profile}"), results, work, device=device)
    typer.echo(f"{len(folders)} runs in {folders[0].parent}")


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
    from allinsam_core.data.root import resolved
    from study.minisam.quality import SPLITS, execute

    if unknown := sorted(set(split or ()) - set(SPLITS)):
        raise typer.BadParameter(f"split {unknown[0]!r}: expected {' or '.join(SPLITS)}")
    typer.echo(execute(results, tuple(s for s in SPLITS if split is None or s in split), resolved("work/weak")))


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
