"""Run a notebook with papermill, strictly: a parameter that the notebook does not declare is an error."""

from __future__ import annotations

import codecs
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import nbformat
import papermill
import typer
from jupyter_client.kernelspec import NoSuchKernel, get_kernel_spec
from papermill.exceptions import PapermillException
from traitlets.config import Config

from allinsam_core.data.errors import PlainError
from study import strict_yaml
from study.names import is_text
from study.numbers import whole, within
from study.tools.errors import PlainGroup, sentence

app = typer.Typer(cls=PlainGroup, help="Run the study's notebooks.", no_args_is_help=True)


class UndeclaredParameter(PlainError):
    """The notebook has no such parameter."""


class UnfitNotebook(PlainError):
    """There is no such notebook, or it cannot be run here."""


class CellFailed(PlainError):
    """A cell of the notebook ended in an error."""


def run(notebook: Path, output: Path, parameters: dict[str, Any]) -> Path:
    """Execute `notebook` with `parameters` into `output`, which appears only when all cells ran.

    A failed run leaves `<output>.failed.ipynb`, with the error in place, and raises papermill's error.
    Raises UnfitNotebook or UndeclaredParameter, before anything runs, for a name the notebook's parameters cell lacks.
    """
    declared = _declared(notebook)
    unknown = sorted(set(parameters) - set(declared))
    if unknown:
        raise UndeclaredParameter(
            f"{notebook}: has no parameter {', '.join(unknown)}; it declares {', '.join(sorted(declared)) or 'none'}"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_suffix(".failed.ipynb")
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii":
        os.environ["PYTHONUTF8"] = "1"  # for the kernel, to which names are given as text
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        source, target = _text(notebook, folder, "input"), _text(unfinished, folder, "output")
        papermill.execute_notebook(
            source,
            target,
            parameters=parameters,
            progress_bar=False,
            log_output=False,
            store_widget_state=False,  # a page shows what an output holds; widgets have a still picture for it
            cwd=os.getcwd(),
            config=_private(Path(folder)),
        )
    os.replace(unfinished, output)
    return output


def _declared(notebook: Path) -> set[str]:
    """The parameters of a notebook that can be run here."""
    if not notebook.is_file():
        raise UnfitNotebook(f"{notebook}: no such notebook; name one of {notebook.parent}")
    try:
        content = nbformat.read(notebook, as_version=4)
        nbformat.validate(content)
        get_kernel_spec(content.metadata.kernelspec.name)
        return set(papermill.inspect_notebook(str(notebook)))
    except NoSuchKernel as error:
        raise UnfitNotebook(
            f"{notebook}: kernel {error.name!r} is not installed; choose python3 in JupyterLab"
        ) from error
    except Exception as error:  # of many types
        found = str(error).strip().partition("\n")[0]
        raise UnfitNotebook(
            f"{notebook}: not a notebook that can be run ({found}); save it again in JupyterLab"
        ) from error


def _text(path: Path, folder: str, name: str) -> str:
    """The path as papermill takes it, which writes it into the notebook: a link in `folder` if it is no text."""
    if is_text(str(path)):
        return str(path)
    link = Path(folder, f"{name}.ipynb")
    link.symlink_to(path.absolute())
    return str(link)


def _private(folder: Path) -> Config:
    """The kernel is spoken to through sockets in a folder of this user's, not through ports, which others can read.

    Windows has no such sockets, and their names may be no longer than about 100 characters.
    """
    name = f"{folder}/kernel"
    if sys.platform == "win32" or len(name.encode()) > 90:
        return Config()
    return Config({"KernelManager": {"transport": "ipc", "ip": name}})


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
    values = {name: strict_yaml.parse(value, f"parameter {name}") for name, _, value in pairs}
    try:
        run(notebook, output, values)
    except papermill.PapermillExecutionError as error:
        unfinished = output.with_suffix(".failed.ipynb")
        raise CellFailed(f"{sentence(error)}\n  (cell {error.exec_count} of {notebook}; see {unfinished})") from error


@app.command("pages")
def pages_command(
    names: list[str],
    notebooks: Annotated[Path, typer.Option(help="Where NAME.ipynb is.")] = Path("notebooks"),
    out: Annotated[Path, typer.Option(help="Where the executed ones go.")] = Path("book/runs"),
    jobs: Annotated[int, typer.Option(parser=within(whole, 1, 99), help="How many at a time.")] = 2,
) -> None:
    """Execute the notebooks that are pages of the book, several at a time, as they are."""

    def execute(name: str) -> str | None:
        started = time.monotonic()
        try:
            run(notebooks / f"{name}.ipynb", out / f"{name}.ipynb", {})
        except (OSError, UnfitNotebook, PapermillException) as error:
            return f"{notebooks / name}.ipynb: {error}"
        typer.echo(f"{name}: {time.monotonic() - started:.0f} s")
        return None

    with ThreadPoolExecutor(jobs) as pool:
        failed = [error for error in pool.map(execute, names) if error]
    for error in failed:
        typer.echo(error, err=True)
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    app()
