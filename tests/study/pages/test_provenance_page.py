"""The runs behind a page, from results written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from study.pages import provenance_page


def test_every_run_of_a_page_is_named_with_its_commit(write_run: Callable[..., Path]) -> None:
    write_run("unet", 1.0, 0, {"x": 0.5})
    results = write_run("unet", 1.0, 3, {"x": 0.5}, profile="longer")
    found = provenance_page.fragments(results).tables
    assert found["runs_table2"].startswith("::::{dropdown} The 2 runs behind this page\n")
    first, longer = (next((results / profile).iterdir()).name for profile in ("mini", "longer"))
    assert f"| `mini/{first}` | 900 | 90.0 | 1.3 | 3072 | cpu | abcdef0123 |" in found["runs_table2"]
    assert f"| `longer/{longer}` |" in found["runs_table2"]
    assert "The 1 runs" in found["runs_labels"]
    assert "No run stands behind this page" in found["runs_noise"]
