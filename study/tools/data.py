"""`allinsam data list | fetch | check | check-inhouse`: a thin door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from allinsam_core.data.errors import DataError
from study.datasets import manifest
from study.molecular import inhouse
from study.root import data_root, download_root
from study.tools import check as checking
from study.tools import fetch as fetching
from study.tools import notices

app = typer.Typer(no_args_is_help=True, help="What the study takes from elsewhere: list, fetch, check.")

Root = Annotated[Path | None, typer.Option(help="Data folder instead of ALLINSAM_DATA or its default.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (DataError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _here(artefact: manifest.Artefact, root: Path | None) -> str | None:
    if artefact.path(root).is_file():
        return "file here"
    return "dataset here" if artefact.dataset and artefact.path(root).parent.is_dir() else None


@app.command("list")
def list_(as_json: Json = False, root: Root = None) -> None:
    """Every artefact with its size, licence, origin and whether it is here."""
    with _plain_errors():
        folder = root or data_root()
        rows = [
            artefact.model_dump() | {"name": name, "source": artefact.source, "here": _here(artefact, root)}
            for name, artefact in manifest.load().artefacts.items()
        ]
    if as_json:
        typer.echo(json.dumps({"root": str(folder), "artefacts": rows}, indent=2))
        return
    typer.echo(f"data folder: {folder}")
    typer.echo(f"checkpoints: {(root or download_root(checkpoint=True)) / 'checkpoints'}")
    for row in rows:
        size = f"{row['bytes'] / 1e6:,.0f} MB" if row["bytes"] else "size unknown"
        terms = row["licence"] + (", non-commercial" if row["non_commercial"] else "")
        typer.echo(f"{row['name']:14} {row['here'] or 'not here':12} {size:13} {terms:32} {row['role']}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="An artefact of `allinsam data list`, or a dataset for all its files.")],
    accept_licence: Annotated[bool, typer.Option(help="You accept the licence of non-commercial data.")] = False,
    offline: Annotated[bool, typer.Option(help="Download nothing; use the file put by hand, or say where.")] = False,
    root: Root = None,
) -> None:
    """Download, verify and unpack."""
    with _plain_errors():
        for path in fetching.fetch(name, root, accept_licence=accept_licence, offline=offline):
            typer.echo(str(path))


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="A dataset or an artefact; all of them if left out.")] = None,
    as_json: Json = False,
    root: Root = None,
) -> None:
    """Count images and nuclei, verify checksums; status 1 when something is off, or nothing is here."""
    with _plain_errors():
        reports = checking.check(name, root)
    if as_json:
        typer.echo(json.dumps([report.model_dump() for report in reports], indent=2))
    else:
        for report in reports:
            _print(report)
    if any(report.status == "problem" for report in reports) or all(report.status == "absent" for report in reports):
        raise typer.Exit(1)


@app.command("check-inhouse")
def check_inhouse(
    folder: Annotated[Path, typer.Argument(help="Your PAS and IF patches, laid out as `bring your own slides` says.")],
) -> None:
    """Say what a folder of your own slides still lacks, one line each; status 1 when it lacks anything."""
    with _plain_errors(), notices.shown():
        problems = inhouse.check(folder)
    for problem in problems:
        typer.echo(problem)
    typer.echo(f"{folder}: {len(problems)} problem(s)" if problems else f"{folder}: ready")
    raise typer.Exit(1 if problems else 0)


def _print(report: checking.Report) -> None:
    typer.echo(f"{report.name}: {report.status} ({report.where})")
    for key, count in report.counts.items():
        expected = "" if count.expected is None else f" of {count.expected}"
        typer.echo(f"  {key.replace('_', ' ')}: {count.found}{expected}")
    for problem in report.problems:
        typer.echo(f"  problem: {problem}")
    for note in report.notes:
        typer.echo(f"  note: {note}")
    if report.status == "absent":
        typer.echo(f"  `allinsam data fetch {report.name}` gets it, or set ALLINSAM_DATA to the folder that has it")
