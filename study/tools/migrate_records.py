"""Give records of earlier versions what binds them: checksums of their tables and of themselves, a hash of their code.

    python -m study.tools.migrate_records [results]

Nothing that a run found is changed. A record that has its checksums is left alone, so running this twice does nothing.
The code of a run is read from the commit that its record names; where git does not have that, it stays unknown.
"""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from study import finished, records
from study.code import ROOT, code_hash, sources
from study.root import resolved
from study.tools.errors import PlainCommand

UNSET = ("corrective", "noise", "threshold")  # fields that earlier records name though they are unset
# where earlier commits have what a run is made of; the first that exists counts
RUNS = {
    "segmentation": ("study.run", "allinsam_core.study.run"),
    "molecular": ("study.molecular.run", "allinsam_core.study.molecular_run"),
}
RIVALS = ("study.rivals", "allinsam_core.baselines")
MODULES = {"ellipse": "boxes"}  # a kind of method → its module, where that has another name


def migrate(path: Path) -> bool:
    """Add what a record lacks; returns whether anything was missing."""
    record = records.read(path)
    if "sha256" in record:
        return False
    config = {name: value for name, value in record.get("config", {}).items() if name not in UNSET or value is not None}
    if records.hash_of(config) == record["config_hash"]:
        record["config"] = config
    record["code"] = code_of(record)
    record["files"] = {file.name: records.file_checksum(file) for file in sorted(path.parent.glob("*.csv"))}
    records.write(record, path)
    return True


def code_of(record: dict[str, Any]) -> str | None:
    """The hash of the code that a run was made of, as its commit has it; None where that cannot be known."""
    config = record.get("config", {})
    kind = config.get("model", {}).get("kind")
    if kind is None:
        return None
    return _code_at(record["commit"], "molecular" if "cell_type" in config else "segmentation", kind)


@cache
def _code_at(commit: str, run: str, kind: str) -> str | None:
    """Of a run with a method of this kind; the modules of other methods, which one file named then, are left out."""
    files = _files(commit)

    def read(path: str) -> bytes | None:
        return _blob(commit, path) if path in files else None

    entry = next((name for name in RUNS[run] if _path(name) in files), None)
    if entry is None:
        return None
    modules = [f"{folder}.{MODULES.get(kind, kind)}" for folder in RIVALS]
    own = sources([name for name in modules if _path(name) in files], read)
    others = {
        path
        for path in files
        if path.startswith(tuple(f"{folder.replace('.', '/')}/" for folder in RIVALS)) and path not in own
    }

    def without_others(path: str) -> bytes | None:
        return None if path in others else read(path)

    return code_hash([entry], without_others)


def _path(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


@cache
def _files(commit: str) -> frozenset[str]:
    """The Python files of a commit; none where git does not know it or files differed from it."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-tree", "-r", "--name-only", commit], capture_output=True, text=True, check=False
    )
    return frozenset(name for name in listed.stdout.splitlines() if name.endswith(".py"))


@cache
def _blob(commit: str, path: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), "show", f"{commit}:{path}"], capture_output=True, check=True).stdout


app = typer.Typer()


@app.command(cls=PlainCommand)
def command(results: Annotated[Path, typer.Argument(help="Folder of rows and run records.")] = Path("results")) -> None:
    """Add checksums to records of earlier versions, then check every record."""
    found = sorted(resolved(results).rglob(records.FILE))
    changed = sum(migrate(path) for path in found)
    wrong = [trouble for _, trouble in finished.check(results) if trouble]
    for trouble in wrong:
        typer.echo(trouble, err=True)
    typer.echo(f"{changed} of {len(found)} records were given checksums; {len(wrong)} are not as they should be")
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    app()
