"""Run a notebook with papermill, strictly: a parameter that the notebook does not declare is an error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import papermill
import typer
import yaml

app = typer.Typer(help="Run the study's notebooks.", no_args_is_help=True)


class UndeclaredParameter(ValueError):
    """The notebook has no such parameter."""


def run(notebook: Path, output: Path, parameters: dict[str, Any]) -> Path:
    """Execute `notebook` with `parameters` into `output`, which appears only when all cells ran.

    A failed run leaves `<output>.failed.ipynb`, with the error in place, and raises papermill's error.
    Raises UndeclaredParameter, before anything runs, for a name the notebook's parameters cell lacks.
    """
    declared = papermill.inspect_notebook(str(notebook))
    unknown = sorted(set(parameters) - set(declared))
    if unknown:
        raise UndeclaredParameter(
            f"{notebook}: has no parameter {', '.join(unknown)}; it declares {', '.join(declared) or 'none'}"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_suffix(".failed.ipynb")
    papermill.execute_notebook(
        str(notebook), str(unfinished), parameters=parameters, progress_bar=False, log_output=False, cwd=os.getcwd()
    )
    os.replace(unfinished, output)
    return output


@app.callback()
def _group() -> None:
    """Run the study's notebooks."""


@app.command("run")
def command(
    notebook: Path,
    output: Path,
    parameter: Annotated[list[str] | None, typer.Option("-p", help="name=value, as often as needed; YAML")] = None,
) -> None:
    """Execute NOTEBOOK into OUTPUT with the given parameters."""
    pairs = [item.partition("=") for item in parameter or []]
    if bad := [name for name, sign, _ in pairs if not sign]:
        raise typer.BadParameter(f"{bad[0]!r}: write name=value")
    try:
        run(notebook, output, {name: yaml.safe_load(value) for name, _, value in pairs})
    except UndeclaredParameter as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    app()
