# ruff: noqa: E501
"""What a person at a command sees of an error: one sentence, status 2, a traceback only when asked for."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from allinsam_core.data.errors import DataError
from study.tools import notebook
from study.tools.cli import app
from study.tools.errors import PlainCommand, PlainGroup, sentence

ROOT = Path(__file__).parents[3]


class Whole(BaseModel):
    number: int


def invalid() -> Exception:
    with pytest.raises(ValueError, match="number") as error:
        Whole.model_validate({"number": "many"})
    return error.value


ERRORS: list[tuple[Exception, str]] = [
    (DataError("a.png: 3 values, expected 2; export it again"), "a.png: 3 values, expected 2; export it again"),
    (ValueError("rate is 7\nand more"), "rate is 7"),
    (invalid(), "number is 'many', expected a valid integer"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.png"), "x.png: no such file or directory; check that path"),
    (OSError(errno.ENOSPC, "No space left on device"), "writing: no space left on device; free space, then run the same"),
    (MemoryError(), "not enough memory; try smaller images"),
    (KeyError("x"), "KeyError: 'x'; this is a fault of the program: run it again with --debug and report"),
    (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero; this is a fault of the program"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "expected"), ERRORS, ids=lambda value: type(value).__name__)
def test_every_error_becomes_a_sentence(error: Exception, expected: str) -> None:
    told = sentence(error)
    assert told.startswith(expected)
    assert "\n" not in told


def failing() -> tuple[typer.Typer, typer.Typer]:
    """A group and a lone command, both of which fail with an error of our own."""
    group, alone = typer.Typer(cls=PlainGroup), typer.Typer()

    @group.callback()
    def _group() -> None:
        """A group."""

    @group.command()
    @alone.command(cls=PlainCommand)
    def fail(word: str = "") -> None:
        raise DataError(f"no {word}")

    return group, alone


@pytest.mark.parametrize("words", [["fail"], []], ids=["group", "alone"])
def test_a_command_ends_with_the_sentence_and_status_2(words: list[str]) -> None:
    chosen = failing()[0 if words else 1]
    done = CliRunner().invoke(chosen, [*words, "--word", "image"])
    assert (done.exit_code, done.output) == (2, "error: no image\n")
    for debug in (["--debug", *words], [*words, "--debug"]):
        assert isinstance(CliRunner().invoke(chosen, debug).exception, DataError)
    assert "--debug shows where" in CliRunner().invoke(chosen, ["--help"]).output


RUN = ["run", "--device", "cpu", "--method"]
COMMANDS = [
    ([*RUN, "unett"], "profile smoke has no method 'unett'; did you mean 'unet'?"),
    ([*RUN, "unet", "--label", "foo"], "label is 'foo'; expected one of complete, weak"),
    ([*RUN, "unet", "--fraction", "2"], "fraction is 2.0, expected less than or equal to 1"),
    ([*RUN, "unet", "--seed", "-1"], "seed is -1, expected greater than or equal to 0"),
    ([*RUN, "unet", "--settings", "{stepps: 3}"], "settings: unknown name 'stepps'; did you mean 'train.steps'?"),
    ([*RUN, "unet", "--settings", "[3]"], "settings are [3], expected a dictionary"),
    ([*RUN, "unet", "--settings", "{"], "settings, line 1: not valid YAML"),
    ([*RUN, "unet", "--profile", "nowhere.yaml"], "nowhere.yaml: no such file"),
    (["run", "--method", "otsu", "--fraction", "0", "--device", "gpux"], "device 'gpux' is not on this machine"),
    (["noise", "--profile", "smokey"], "there is no profile 'smokey'; did you mean 'smoke'?"),
    (["notebook", "run", "nowhere.ipynb", "out.ipynb"], "nowhere.ipynb: no such notebook"),
    (["segment", "image.tif", "--out", "out", "--device", "tpu"], "device 'tpu' is not on this machine"),
    (["segment", "image.tif", "--out", "out", "--device", "cuda:99"], "device 'cuda:99' is not on this machine"),
    (["segment", "image.tif", "--out", "out", "--device", "auto"], "device 'auto' is not on this machine"),
    (["segment", "image.tif", "--out", "out", "--device", "meta"], "device 'meta' is not on this machine"),
    (["train", "data", "--out", "m.safetensors", "--device", "tpu"], "device 'tpu' is not on this machine"),
    (["notebook", "run", "{root}/notebooks/table3.ipynb", "out.ipynb", "-p", "profil=x"], "has no parameter profil"),
]


@pytest.mark.parametrize(
    ("words", "expected"), COMMANDS, ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else ""
)
def test_no_traceback_at_a_users_door(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [word.replace("{root}", str(ROOT)) for word in words])
    assert done.exit_code == 2
    assert expected in done.output
    assert "Traceback" not in done.output
    assert len(done.output.strip().splitlines()) == 1


NOTEBOOK = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a notebook that can be run"),
        (b"\xff\xfe", "not a notebook that can be run ('utf-8' codec"),
        (b"[]", "not a notebook that can be run"),
        (json.dumps({"nbformat": 3, "worksheets": []}).encode(), "not a notebook that can be run"),
        (json.dumps(NOTEBOOK).encode(), "not a notebook that can be run"),
        (json.dumps({**NOTEBOOK, "cells": [{"cell_type": "strange"}]}).encode(), "not a notebook that can be run"),
        (
            json.dumps({**NOTEBOOK, "metadata": {"kernelspec": {"name": "julia-9", "display_name": "J"}}}).encode(),
            "kernel 'julia-9' is not installed",
        ),
    ],
)
def test_a_file_that_is_no_notebook_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    done = CliRunner().invoke(notebook.app, ["run", str(path), str(tmp_path / "out.ipynb")])
    assert done.exit_code == 2
    assert done.output.startswith(f"error: {path}: {said}")
    assert len(done.output.strip().splitlines()) == 1
    done = CliRunner().invoke(notebook.app, ["pages", "n", "--notebooks", str(tmp_path), "--out", str(tmp_path / "o")])
    assert done.exit_code == 1
    assert f"{path}: {said}" in done.output


def test_a_wrong_split_is_a_wrong_option() -> None:
    done = CliRunner().invoke(app, ["quality", "--split", "tost"])
    assert done.exit_code == 2
    assert "split 'tost': expected train or val" in " ".join(done.output.split())


def test_a_failing_cell_is_told_by_its_last_line(tmp_path: Path) -> None:
    """Through papermill and a kernel: the sentence alone, and where to look."""
    source = "from allinsam_core.data.errors import DataError\nraise DataError('the sentence')"
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {"tags": tags}, "source": text, "outputs": [], "execution_count": None}
        for n, (text, tags) in enumerate((("a = 1", ["parameters"]), (source, [])))
    ]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "fails.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    done = CliRunner().invoke(notebook.app, ["run", str(path), str(tmp_path / "out.ipynb")])
    assert done.exit_code == 2
    assert done.output.startswith("error: the sentence\n")
    assert "out.failed.ipynb" in done.output
    shown = json.loads((tmp_path / "out.failed.ipynb").read_text())
    errors = [o for c in shown["cells"] for o in c.get("outputs", []) if o["output_type"] == "error"]
    assert errors[0]["traceback"] == ["DataError: the sentence"]


def test_the_program_itself_ends_with_status_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "study.tools.results", "check", "--results", "/nowhere"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: /nowhere: no records")
