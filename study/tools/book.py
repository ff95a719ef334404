"""Commands of the study that concern the audit and the book; mounted by `study.tools.cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="The book: the audit's measurements, and checks of the built pages.")


@app.command("check")
def check_command(
    html: Annotated[Path, typer.Argument(help="Folder of built pages.")] = Path("book/_build/html"),
) -> None:
    """Check the built pages: links, images, alternative text, outside requests, tracebacks, weight, widths.

    Also reports how long each page is to read.
    """
    from study.tools import linkcheck, reading, widths

    typer.echo(reading.table(reading.lengths(html)))
    problems = linkcheck.check(html)
    fitting = widths.check(html)
    problems += fitting or []
    if fitting is None:
        typer.echo("widths: not checked, no Chromium; install it or run `playwright install chromium`")
    for problem in problems:
        typer.echo(problem)
    typer.echo(f"{html}: {len(problems)} problem(s)")
    raise typer.Exit(1 if problems else 0)


@app.command("audit-columns")
def audit_columns_command(
    out: Annotated[Path, typer.Option(help="The record.")] = Path("results/audit/column_average.csv"),
) -> None:
    """Measure the column average on MoNuSeg's 14 test truths (reads ALLINSAM_DATA) and write the record."""
    from study.audit.column_average import column_average_demo, write_rows
    from study.datasets.monuseg import load
    from study.root import data_root, dataset_folder

    cases = load(dataset_folder(data_root(), "monuseg"), "test")
    rows = column_average_demo({case.name: case.mask for case in cases})
    write_rows(rows, out)
    typer.echo(f"{len(rows)} rows written to {out}")


@app.command("audit-labels")
def audit_labels_command(
    out: Annotated[Path, typer.Option(help="Where the records go: the study's results folder.")] = Path("results"),
) -> None:
    """Measure label geometry and the five AJIs with mini-SAM's prompt-free predictions on MoNuSeg's test images."""
    from study.audit import label_geometry
    from study.datasets.monuseg import load
    from study.root import data_root, dataset_folder
    from study.tools.segment import nuclei

    cases = load(dataset_folder(data_root(), "monuseg"), "test")
    frames = label_geometry.measure(cases, lambda image: nuclei(image, cases[0].spacing, model="mini")[1])
    for frame, name in zip(frames, (label_geometry.GEOMETRY_RECORD, label_geometry.NAMES_RECORD), strict=True):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        frame.round(6).to_csv(out / name, index=False, lineterminator="\n")
        typer.echo(f"{len(frame)} rows written to {out / name}")


if __name__ == "__main__":
    app()
