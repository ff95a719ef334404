"""The strict notebook runner, the notebooks themselves, and the grid that runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import papermill
import pytest
from typer.testing import CliRunner

from allinsam_core.data.errors import DataError
from allinsam_core.learning.method import NetworkMethod
from study import finished, run
from study import grid as grids
from study.config import AnnotatorSettings, RunConfig
from study.grid import Profile
from study.molecular import inhouse
from study.molecular.cohort import MolecularCohort
from study.tools import notebook

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cell(source: str, *tags: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": f"c{abs(hash(source)) % 10**6}",
        "metadata": {"tags": list(tags)},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A notebook with the parameters a and b that fails when b is 0."""
    cells = [cell("a = 1\nb = 2", "parameters"), cell("open('ran', 'w').write(f'{a / b}')")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "small.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_pages_run_together_and_one_that_fails_fails_them_all(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = json.loads(small.read_text())
    broken["cells"][1]["source"] = "raise ValueError('two runs of one cell')"
    small.with_name("broken.ipynb").write_text(json.dumps(broken))
    arguments = ["pages", "small", "broken", "--notebooks", str(tmp_path), "--out", str(tmp_path / "runs")]
    done = CliRunner().invoke(notebook.app, arguments)
    assert done.exit_code == 1
    assert "small: " in done.output
    assert "broken.ipynb: " in done.output
    assert "two runs of one cell" in done.output
    assert (tmp_path / "runs" / "small.ipynb").is_file()
    assert not (tmp_path / "runs" / "broken.ipynb").exists()
    assert CliRunner().invoke(notebook.app, [arguments[0], "small", *arguments[3:]]).exit_code == 0


def test_a_kernel_is_spoken_to_through_private_sockets(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    content = json.loads(small.read_text())
    asked = "from ipykernel.kernelapp import IPKernelApp as app; open('ran', 'w').write(app.instance().transport)"
    content["cells"][1]["source"] = asked
    small.write_text(json.dumps(content))
    notebook.run(small, tmp_path / "o.ipynb", {})
    assert (tmp_path / "ran").read_text() == "ipc"
    assert not list(tmp_path.glob("kernel*"))
    assert "without encryption" not in capfd.readouterr().err


def test_an_undeclared_parameter_is_an_error_before_anything_runs(small: Path, tmp_path: Path) -> None:
    with pytest.raises(notebook.UndeclaredParameter, match=r"small\.ipynb: has no parameter c, d; it declares a, b"):
        notebook.run(small, tmp_path / "out" / "o.ipynb", {"a": 1, "d": 2, "c": 3})
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "ran").exists()


def test_a_notebook_runs_with_its_parameters_and_a_failing_one_leaves_no_output(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out" / "o.ipynb"
    assert notebook.run(small, out, {"a": 6, "b": 4}) == out
    assert (tmp_path / "ran").read_text() == "1.5"
    assert [p.name for p in out.parent.iterdir()] == ["o.ipynb"]
    failing = tmp_path / "out" / "f.ipynb"
    with pytest.raises(papermill.PapermillExecutionError, match="ZeroDivisionError"):
        notebook.run(small, failing, {"b": 0})
    assert not failing.exists()
    assert "ZeroDivisionError" in failing.with_suffix(".failed.ipynb").read_text()


def test_the_command_reads_yaml_values_and_refuses_nonsense(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, given = CliRunner(), {}
    done = runner.invoke(notebook.app, ["run", str(small), "o.ipynb", "-p", "nonsense"])
    assert done.exit_code == 2
    done = runner.invoke(notebook.app, ["run", str(small), "o.ipynb", "-p", "z=1"])
    assert done.exit_code == 2
    assert "has no parameter z" in done.output
    monkeypatch.setattr(notebook, "run", lambda path, out, parameters: given.update(parameters))
    arguments = ["-p", "a=0.04", "-p", "b=unet", "-p", "c=3", "-p", "d=x=y", "-p", "e="]
    assert runner.invoke(notebook.app, ["run", str(small), "o.ipynb", *arguments]).exit_code == 0
    assert given == {"a": 0.04, "b": "unet", "c": 3, "d": "x=y", "e": None}


# ---- the notebooks of the study


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_stripped_and_begin_with_their_parameters(path: Path) -> None:
    cells = code_cells(path)
    tagged = ["parameters" in c["metadata"].get("tags", []) for c in cells]
    assert tagged[0]
    assert sum(tagged) == 1
    assert all(not c["outputs"] and c["execution_count"] is None for c in cells)
    declared = set(papermill.inspect_notebook(str(path)))
    assigned = set(re.findall(r"^(\w+) =", "".join(cells[0]["source"]), re.MULTILINE))
    assert assigned == declared
    text = "".join("".join(c["source"]) for c in cells)
    assert not re.search(r"\bargparse\b|/home/|/work/|/tmp/", text)
    for name in declared:
        assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} is declared and never used"


def run_cells(path: Path, **parameters: object) -> dict[str, Any]:
    """Every code cell in this process, the parameters replaced after their cell as papermill does."""
    cells = code_cells(path)
    space: dict[str, Any] = {}
    for index, one in enumerate(cells):
        exec(compile("".join(one["source"]), f"{path.name}[{index}]", "exec"), space)
        if index == 0:
            assert parameters.keys() <= space.keys()
            space.update(parameters)
    return space


def test_the_experiment_gives_the_rows_that_a_run_gives(
    tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Profile, "run", lambda self, *point, **more: tiny_config)
    path = ROOT / "notebooks" / "experiment.ipynb"
    parameters = {"method": "unet", "results": str(tmp_path / "r"), "work": str(tmp_path / "w"), "device": "cpu"}
    space = run_cells(path, **parameters)
    assert space["record"]["config_hash"] == tiny_config.hash
    assert len(space["rows"]) == 2
    folder = run.execute(tiny_config, tmp_path / "r2", tmp_path / "w2", device="cpu")
    first, second = (finished.read(place / tiny_config.place) for place in (tmp_path / "r", tmp_path / "r2"))
    assert (first.folder / "rows.csv").read_text() == (folder / "rows.csv").read_text()
    assert first.record.keys() == second.record.keys()
    for name in ("config", "code", "data", "training_part", "parameters", "files"):
        assert first.record[name] == second.record[name]
    monkeypatch.setattr(NetworkMethod, "predict", lambda *arguments: pytest.fail("done again"))
    again = run_cells(path, **parameters)  # finished: read, not repeated
    assert again["record"] == space["record"]


def test_the_experiment_makes_its_weak_labels_of_boxes_as_a_run_does(
    tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ellipses = AnnotatorSettings(name="ellipse")
    weak = tiny_config.model_copy(
        update={"label": "weak", "annotator": ellipses, "fraction": 0.5, "threshold_chosen_on": "val"}
    )
    monkeypatch.setattr(Profile, "run", lambda self, *point, **more: weak)
    named = {"label": "weak", "fraction": 0.5, "results": str(tmp_path / "r"), "work": str(tmp_path / "w")}
    space = run_cells(ROOT / "notebooks" / "experiment.ipynb", **named, device="cpu")
    assert np.mean(space["quality"]) < 1  # the truth is gone
    folder = run.execute(weak, tmp_path / "r2", tmp_path / "w2", device="cpu")
    assert (space["folder"] / "rows.csv").read_text() == (folder / "rows.csv").read_text()


def test_table_1_runs_on_a_folder_of_own_slides(
    tiny_grid: Profile, cohort_work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grids, "profile", lambda name: tiny_grid)
    folder = tmp_path / "own"
    own = MolecularCohort(next((cohort_work / "cohorts").iterdir())).patches
    inhouse.write(folder, own)  # as a laboratory would: no exact instances, no account of the simulation
    parameters = {"results": str(tmp_path / "r"), "work": str(tmp_path / "w"), "device": "cpu"}
    path = ROOT / "notebooks" / "molecular.ipynb"
    space = run_cells(path, cohort_folder=str(folder), **parameters)
    assert not space["scores"]["simulated"].any()
    assert all(made.parent.name.startswith("table1-") for made in space["folders"])
    assert len(space["scores"]) == 2 * 4  # two annotators; two test slides with a patch of each type
    (folder / "masks" / "student1" / "podocyte" / f"{own[0].name}.png").unlink()
    with pytest.raises(DataError, match="missing, expected student1's podocyte mask"):
        run_cells(path, cohort_folder=str(folder), **parameters)


# ---- a whole experiment

TINY = """
name: tiny
about: One small U-Net.
axes: {label: [complete], fraction: [1.0], seed: [0]}
common:
  data: {source: simulated, crop: 32, simulated: {train: 2, val: 1, test: 2, size: 64}}
  window: {field: 32, size: 32}
  train: {steps: 3, batch_size: 2, validate_every: 2}
methods:
  unet: {model: {kind: unet, channels: [4, 8]}}
"""


def test_a_notebook_makes_every_run_of_a_profile_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "tiny.yaml").write_text(TINY)
    folders = {"results": str(tmp_path / "r"), "work": str(tmp_path / "w")}
    named = {"profile": str(tmp_path / "tiny.yaml"), **folders, "device": "cpu"}
    space = run_cells(ROOT / "notebooks" / "grid.ipynb", **named)
    assert space["finished"] == [False]
    (one,) = space["runs"]
    made = finished.read(tmp_path / "r" / one.place)
    assert made.record["config_hash"] == one.hash
    assert (tmp_path / "w" / one.place / "experiment.ipynb").is_file()
    shown = space["table"].loc[("unet", "complete", 1.0)]
    assert shown["runs"] == 1
    assert shown["dice"].startswith(f"{made.rows['dice'].mean():.3f} [")
    monkeypatch.setattr(notebook, "run", lambda *arguments: pytest.fail("made again"))
    assert run_cells(ROOT / "notebooks" / "grid.ipynb", **named)["finished"] == [True]


def test_every_experiment_of_the_readme_names_a_notebook_that_makes_it() -> None:
    table = (ROOT / "README.md").read_text().partition("## The experiments")[2].partition("\n## ")[0]
    lines = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert len(lines) > 12
    for command, named, *_ in lines:
        if "make rehearse" in command:  # asks nothing of a method
            continue
        found = re.fullmatch(r"`(\w+\.ipynb) -p (\w+)=(\S+)`", named)
        assert found is not None, named
        assert found[2] in papermill.inspect_notebook(str(ROOT / "notebooks" / found[1]))
        if found[2] == "profile":
            assert re.split("[= ]", command.strip("| `"))[-1] == found[3].removeprefix("noise/")
            kind = "molecular/" if found[1] == "molecular.ipynb" else ""
            assert grids.profile(f"{kind}{found[3]}").kind == ("molecular" if kind else "segmentation")


# ---- the grid


def test_the_grid_is_what_the_profile_says(mini_weights: Path, tmp_path: Path) -> None:
    grid = grids.profile("smoke").grid()
    done_before, without_rows = (tmp_path / "results" / run.place for run in grid[:2])
    for folder, files in ((done_before, ("rows.csv", "run.json")), (without_rows, ("run.json",))):
        folder.mkdir(parents=True)
        for name in files:
            (folder / name).write_text("{}")
    arguments = ["-n", "--cores", "1", "-s", str(ROOT / "workflow" / "Snakefile"), "--directory", str(tmp_path)]
    code = (
        "import sys; from pathlib import Path; from allinsam_core.annotation import sam\n"
        f"sam.SHIPPED['mini'] = Path({str(mini_weights)!r})\n"
        "from snakemake.cli import main\n"
        f"main({[*arguments, '--config', 'profile=smoke']!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    planned = set(re.findall(r"wildcards: place=smoke/(\S+)", told))
    assert planned == {run.run_id for run in grid} - {done_before.name}


def test_the_grid_gives_the_notebook_parameters_it_has() -> None:
    snakefile = (ROOT / "workflow" / "Snakefile").read_text()
    given = set(re.findall(r"-p (\w+)=", snakefile))
    assert given == {"profile", "method", "label", "fraction", "seed", "results", "work"}
    assert given <= set(papermill.inspect_notebook(str(ROOT / "notebooks" / "experiment.ipynb")))
