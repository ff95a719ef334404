"""The audit's page says what the audit found in the printed tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunPage = Callable[..., Any]


def test_the_page_says_what_the_audit_says(run_page: RunPage) -> None:
    page = run_page("audit")
    assert (page.text("jensen_adj_rows"), page.text("rows")) == ("11", "12")
    assert (page.text("gap_min"), page.text("gap_max")) == ("0.0035", "0.0062")
    assert page.text("label_effect_4") == "−0.0035"
    assert page.text("mesangial_mocl_expert_printed") != page.text("mesangial_mocl_expert_expected")
    assert [row[4] for row in page.rows("table-jensen")[1:]] == ["no"] * 12
    assert len(page.rows("table-averages")) == 1 + 2 * 8
    for key in ("jensen", "columns", "weights"):
        assert page[key].markup.count("<img") == 2


def test_a_missing_record_stops_the_page(tmp_path: Path, run_page: RunPage) -> None:
    with pytest.raises(FileNotFoundError, match=r"column_average\.csv"):
        run_page("audit", results=str(tmp_path))
