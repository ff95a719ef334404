"""The page of speed: goals, verdicts and limits, from records written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from allinsam_core.atomic import replacing
from benchmarks.ratio import Row, not_run
from study import records

RATES = {"fp32": 1e9, "bf16": 1e9, "bytes": 1e9}
ENVIRONMENT = {"device_name": "a processor", "threads": 1, "libraries": {"torch": "2", "numpy": "2"}}


def write(results: Path, group: str, *rows: Row) -> None:
    for row in rows:
        config = {"benchmark": row.name, "group": group}
        about = {"environment": ENVIRONMENT, "commit": "abc", "rates": RATES, "load": 1.5, "measured": row.measured}
        with replacing(results / "benchmarks" / row.key / records.FILE) as path:
            records.write({"config_hash": records.hash_of(config), "config": config, **about}, path)


def test_goals_limits_and_levers(tmp_path: Path, run_page: Callable[..., Any]) -> None:
    counts = {"operations": (2e9, 1e9), "moved": (1e9, 5e8)}
    write(tmp_path, "gpu", not_run("ViT-H", "no GPU here", 8.0))
    write(tmp_path, "networks", Row("encoder", 3.0, 2.0, goal=1.8, difference=1e-6, difference_of="relative", **counts))
    write(tmp_path, "pixels", Row("pixel metrics", 0.06, 0.03, limit=0.03, difference=0.0))
    write(tmp_path, "training", Row("mini: whole run", 4.0, 2.0, goal=2.0, note="validation is 3 %"))
    levers = (Row("mini, step: folded alone", 1.2, 1.0), Row("mini, step: slow alone", 1.0, 2.0))
    write(tmp_path, "levers", *levers)
    page = run_page("speed", results=str(tmp_path))
    encoder, run, pixels, gpu = page.rows("speed")[1:]
    assert encoder == ["encoder", "3 s", "2 s", "1.50×", "≥ 1.8×", "not reached", "1e-06 (relative)"]
    assert run[3:6] == ["2.00×", "≥ 2×", "reached"]
    assert pixels == ["pixel metrics", "60 ms", "30 ms", "2.00×", "≤ 30 ms", "reached", "none"]
    assert gpu[1:6] == ["–", "–", "–", "≥ 8×", "not run: no GPU here"]
    assert (page.text("reached"), page.text("measured")) == ("2", "3")
    # 1e9 operations and 5e8 bytes at 1e9 of each a second: at least 1.5 s, so at most twice as fast as before
    assert page.rows("limits")[1] == ["encoder", "1.0", "0.50", "1.5 s", "2 s", "1.50×", "2.00×"]
    assert page.text("rest") == "step: slow (0.50×)"
    assert page.text("load") == "1.5"
    assert page.text("validation") == "mini: whole run: validation is 3 %"


def test_without_records_it_says_how_to_make_them(tmp_path: Path, run_page: Callable[..., Any]) -> None:
    page = run_page("speed", results=str(tmp_path))
    assert "make benchmark" in page["speed"].markup
    assert page.text("reached") == "not run"


def test_groups_that_were_not_run_are_no_error(tmp_path: Path, run_page: Callable[..., Any]) -> None:
    write(tmp_path, "pixels", Row("pixel metrics", 0.06, 0.03, limit=0.03))
    page = run_page("speed", results=str(tmp_path))
    assert len(page.rows("speed")) == 2
    assert page.text("rest") == "not run"
