"""The page of label errors, on runs written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study import records


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Plain training and a better loss on one data set, of two profiles."""
    for profile in ("mini", "smoke"):
        for variant, dice in (("none", 0.5), ("ours", 0.6)):
            config = {"profile": profile, "method": variant, "seed": 0}
            config |= {"data": {"source": "glomerulus"}, "noise": {"rate": 0.4}}
            record = {"run_id": records.run_id(config), "config_hash": records.hash_of(config), "config": config}
            record |= {"simulated": True, "data": {"test": {"images": 2, "sha256": "same"}}, "label_dice": 0.6}
            record |= {"fit_seconds": 10.0, "predict_seconds": 1.0}
            record |= {"environment": {"device_name": "a processor", "threads": 1}}
            rows = pd.DataFrame({"image": ["x", "y"], "patient": ["x", "y"], "dice": [dice, dice + 0.2]})
            records.save(record, tmp_path / profile / "noise" / record["run_id"], rows=rows)
    return tmp_path


def test_cells_and_differences(results: Path, run_page: Callable[..., Any]) -> None:
    page = run_page("label_noise", results=str(results))
    plain, ours = page.rows("cells")[1:]
    place = ["Simulated cohort, podocytes", "0.4"]
    assert plain == [*place, "none", "0.60", "0.600 | [0.500, 0.700]", "2", "1"]
    assert ours[2:5] == ["ours", "0.60", "0.700 | [0.600, 0.800]"]
    assert page.rows("differences")[1:] == [[*place, "ours", "+0.100 | [+0.100, +0.100]", "better", "runs"]]
    link = "runs.html?profile=mini%2Fnoise&amp;method=ours&amp;details=glomerulus+0.4"
    assert link in page["cells"].markup
    assert link in page["differences"].markup
    assert [page.text(key) for key in ("runs", "comparisons", "fit_seconds")] == ["2", "1", "10"]
    assert page["dice"].markup.count("<img") == 2


def test_runs_of_the_smoke_profile_conclude_nothing(results: Path, run_page: Callable[..., Any]) -> None:
    page = run_page("label_noise", results=str(results), profile="smoke")
    assert "cannot tell" in page.text("verdict")
    assert page.rows("differences")[1][-2] == "–"
