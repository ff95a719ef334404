"""`allinsam results check`: is every record as it was written?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.tools.errors import PlainGroup, stop

app = typer.Typer(cls=PlainGroup, no_args_is_help=True, help="Committed rows and run records.")


@app.callback()
def _group() -> None:
    """Committed rows and run records."""


@app.command()
def check(results: Annotated[Path, typer.Option(help="Folder of rows and run records.")] = Path("results")) -> None:
    """Check every record against its rows, its configuration and today's code; status 1 when one is not as written."""
    from study import finished
    from study.root import resolved

    found = list(finished.check(results))
    if not found:
        stop(f"{resolved(results)}: no records here; name a folder of results")
    wrong = [trouble for _, trouble in found if trouble]
    for trouble in wrong:
        typer.echo(trouble)
    typer.echo(f"{resolved(results)}: {len(wrong)} of {len(found)} records are not as they were written")
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    app()
