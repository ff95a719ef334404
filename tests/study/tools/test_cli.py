"""The command line: what it lists, what it imports, and that both agree with the commands themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from study.tools import cli

HEAVY = ("torch", "numpy", "pandas", "scipy", "skimage", "monai", "papermill", "snakemake", "torchvision", "matplotlib")


def imported(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter has imported after `code`."""
    report = "import sys; print('modules', *{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("modules")[2].split())


def test_help_imports_nothing_that_computes() -> None:
    found = imported("from study.tools.cli import app; app(['--help'], standalone_mode=False)")
    assert "study" in found
    assert not found & {*HEAVY, "allinsam_core"}


def test_the_core_by_itself_imports_nothing_that_computes() -> None:
    assert not imported("import allinsam_core") & set(HEAVY)


def test_segmenting_imports_no_package_that_it_does_not_need() -> None:
    found = imported("import study.tools.segment")
    assert "torch" in found
    assert not found & {"monai", "torchvision", "papermill", "snakemake", "lightning_fabric", "transformers"}


@pytest.mark.parametrize("name", cli.ELSEWHERE)
def test_what_is_listed_is_what_the_command_says(name: str) -> None:
    command = cli.load(name)
    assert " ".join((command.help or "").split("\n\n")[0].split()) == cli.ELSEWHERE[name][1]


def test_a_command_from_elsewhere_is_called_with_its_arguments() -> None:
    refused = CliRunner().invoke(cli.app, ["score", "no_such_file", "neither"])
    assert refused.exit_code == 1
    assert "no_such_file: no such file or folder" in refused.output
    unknown = CliRunner().invoke(cli.app, ["segmen"])
    assert unknown.exit_code == 2
    assert "'segment'" in unknown.output
