"""Notebooks as students run them: Run All in a real JupyterLab, and papermill from the root and from notebooks/."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from study.tools import notebook
from study.tools.widths import CHROMIUM

ROOT = Path(__file__).parents[3]
TAKES_HOURS = {"pretrain"}
EVERY = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem not in TAKES_HOURS)
# names, separated by commas, or "all"; some notebooks train for minutes
NAMED = os.environ.get("ALLINSAM_NOTEBOOKS", "exercises,experiment,table3")
CHOSEN = EVERY if NAMED == "all" else NAMED.split(",")
CHEAP = ("deepliif", "labels", "reliability", "runs")
RUN_ALL = """async name => {
  const {commands, shell} = window.jupyterapp;
  await commands.execute('docmanager:open', {path: `notebooks/${name}.ipynb`});
  const panel = shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await commands.execute('notebook:run-all-cells');
  return panel.content.model.toJSON().cells.filter(cell => cell.cell_type === 'code');
}"""


@pytest.mark.browser
@pytest.mark.timeout(3600)
def test_run_all_in_jupyterlab(tmp_path: Path, serve_lab: Callable[[Path], AbstractContextManager[str]]) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")  # Lab saves what it has run
    (tmp_path / "results").symlink_to(ROOT / "results")
    before = {path.name for path in (tmp_path / "notebooks").iterdir()}
    faults = []
    with sync_api.sync_playwright() as playwright, serve_lab(tmp_path) as lab:
        executable = CHROMIUM or playwright.chromium.executable_path
        if not Path(executable).is_file():
            pytest.skip("no Chromium: install Debian's `chromium` or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(900_000)
        page.goto(f"{lab}lab?token=t")
        page.wait_for_function("window.jupyterapp?.restored")
        for name in CHOSEN:
            cells = page.evaluate(RUN_ALL, name)
            outputs = [output for cell in cells for output in cell["outputs"]]
            faults += [f"{name}: {o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"]
            faults += [f"{name}: red text, {o['text'][:80]}" for o in cells[0]["outputs"] if o.get("name") == "stderr"]
            if any(cell["source"] and not cell["execution_count"] for cell in cells):
                faults.append(f"{name}: a cell was not run")
        browser.close()
    assert faults == []
    assert {path.name for path in (tmp_path / "notebooks").iterdir()} - before <= {".ipynb_checkpoints"}


@pytest.mark.parametrize("folder", [ROOT, ROOT / "notebooks"], ids=["root", "notebooks"])
def test_papermill_finds_the_records_from_either_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    made = notebook.run(ROOT / "notebooks" / "table2_choices.ipynb", tmp_path / "out.ipynb", {})
    outputs = [o for cell in json.loads(made.read_text())["cells"] for o in cell.get("outputs", [])]
    shown = "".join("".join(o["data"].get("text/html", "")) for o in outputs if "data" in o)
    assert "make study PROFILE=choice" in shown  # a table, with what makes it
    assert "Not run yet" not in shown


@pytest.mark.parametrize("name", CHEAP)
def test_cheap_notebooks_find_the_records_from_their_own_folder(
    name: str, run_page: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: a kernel for each would take longer than the notebook."""
    monkeypatch.chdir(ROOT / "notebooks")
    page = run_page(name)
    assert page
    assert [key for key, shown in page.items() if "Not run yet" in shown.markup] == []
