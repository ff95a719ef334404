"""Which runs stand behind a results page: one folded table a page, so that every number has run ids to go back to."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from study import tables
from study.pages.fragments import Fragments, markdown_table

PAGES = {  # fragment → the folders of results/ whose runs its page shows
    "runs_table1": ("mini/table1",),
    "runs_table2": ("mini", "longer", "threshold", "ablation", "draws", "choice"),
    "runs_table3": ("mini",),
    "runs_noise": ("mini/noise",),
    "runs_smoke": ("smoke",),
    "runs_labels": ("labels", "mini"),
}


def fragments(results: Path) -> Fragments:
    """A fragment per page of `PAGES`."""
    return Fragments(tables={name: _folded(results, folders) for name, folders in PAGES.items()})


def _folded(results: Path, folders: tuple[str, ...]) -> str:
    """All runs of the folders, in a block that opens at a click; a sentence where there is none."""
    found = [tables.run_table(results, folder).assign(folder=folder) for folder in folders]
    runs = pd.concat([table for table in found if len(table)]) if any(map(len, found)) else pd.DataFrame()
    if runs.empty:
        return "No run stands behind this page yet.\n"
    columns = [name for name in runs.columns if name not in ("run", "folder")]
    lines = [
        [f"`{folder}/{run}`", *map(str, values)]
        for folder, run, *values in runs[["folder", "run", *columns]].itertuples(index=False)
    ]
    table = markdown_table(["run, under `results/`", *columns], lines)
    return f"::::{{dropdown}} The {len(runs)} runs behind this page\n\n{table}::::\n"
