"""The page of DeepLIIF's tiles, on a record written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from study import records

RunPage = Callable[..., Any]
SHIFT = {"largest_px": 2.0, "consistency_95_px": 0.5, "sd_above_chance": 9.0}
CLASS = {"accuracy": 0.9, "f1_positive": 0.75, "f1_negative": 0.8, "read_positive": 9, "positive_nuclei": 8}


def write(results: Path, failed: dict[str, str]) -> None:
    rows = [
        {"part": "registration", "item": "ihc", "shift_px": 1.25, **SHIFT},
        {"part": "registration", "item": "dapi", "shift_px": None if failed else 1.0, **SHIFT},
        {"part": "masks", "item": "mini-SAM on ihc", "dice": 0.8765, "mean_instance_iou": 0.7},
        {"part": "class", "item": "Ki67 as given", **CLASS, "nuclei": 30},
    ]
    if not failed:
        rows += [{"part": "check", "item": i, "correlation": c} for i, c in (("as given", 0.5), ("registered", 0.9))]
    record = {
        "run_id": "deepliif",
        "config_hash": records.hash_of({}),
        "config": {},
        "seconds": 61.2,
        "environment": {"device_name": "a processor"},
        "failed_registrations": {"one": failed},
    }
    records.save(record, results / "deepliif", rows=pd.DataFrame(rows).assign(tile="one"))


def test_every_part_is_a_table(tmp_path: Path, run_page: RunPage) -> None:
    write(tmp_path, {})
    page = run_page("deepliif", results=str(tmp_path))
    assert page.rows("registration")[1] == ["one", "IHC", "1.2", "2.0", "0.5", "9"]
    assert page.rows("masks")[1:] == [["one", "mini-SAM on IHC", "0.876", "0.700"]]
    assert page.rows("class")[1:] == [["one", "Ki67 as given", "0.900", "0.750", "0.800", "9", "8 of 30"]]
    assert [page.text(key) for key in ("tiles", "failures")] == ["1", "none"]
    assert page.text("correlations") == "one 0.50 as published, 0.90 registered"


def test_a_failed_registration_is_said(tmp_path: Path, run_page: RunPage) -> None:
    write(tmp_path, {"dapi": "registration failed: no peak"})
    page = run_page("deepliif", results=str(tmp_path))
    assert page.rows("registration")[2][:3] == ["one", "DAPI", "failed"]
    assert page.text("failures") == "one, DAPI: registration failed: no peak"
    assert page.text("correlations") == "not measured, as a registration failed"


def test_without_a_record_the_page_says_so(tmp_path: Path, run_page: RunPage) -> None:
    assert "allinsam deepliif" in run_page("deepliif", results=str(tmp_path))["masks"].markup
