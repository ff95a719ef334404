"""The control of the pre-training, from results written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from study import records
from study.pages import control_page

WriteRun = Callable[..., Path]


def looked(results: Path, method: str, seed: int, best: int) -> None:
    (path,) = (results / "mini").glob(f"{method}-complete-1-s{seed}-*/run.json")
    record = records.read(path)
    record["training"]["best"] = best
    records.write(record, path)


def test_the_look_that_chose_the_weights_counts(write_run: WriteRun) -> None:
    write_run("allinsam", 1.0, 0, {"x": 0.8, "y": 0.6})
    results = write_run("allinsam", 1.0, 1, {"x": 0.8, "y": 0.6})
    looked(results, "allinsam", 1, best=5)
    found = control_page.kept(results, "mini", "allinsam")
    assert {seed: look.dice for seed, look in found[1.0].items()} == {0: 0.6, 1: 0.4}
    assert found[1.0][0].seconds == 90


def test_leads_are_paired_on_the_seeds_that_both_have(write_run: WriteRun) -> None:
    write_run("allinsam", 1.0, 0, {"x": 0.8, "y": 0.6})
    write_run("allinsam", 1.0, 1, {"x": 0.1, "y": 0.1})  # no partner
    write_run("allinsam", 0.04, 0, {"x": 0.5, "y": 0.5})
    write_run("scratch", 1.0, 0, {"x": 0.7, "y": 0.4})
    results = write_run("scratch", 0.04, 0, {"x": 0.6, "y": 0.6})
    found = control_page.fragments(results)
    assert found.numbers["control:scratch:1:lead"] == "+0.150"
    assert found.numbers["control:scratch:0.04:lead"] == "−0.100"
    assert found.numbers["control:allinsam:1:val_dice"] == "0.600"
    table = found.tables["control"]
    order = ["| All-in-SAM (mini-SAM) | 100 % |", "| the same network from random weights | 100 % |", "| 4 % |"]
    assert sorted(order, key=table.index) == order
    assert "**+0.150** [+0.100, +0.200]" in table
    assert "mini-SAM, trained whole" not in table  # has no run


@pytest.mark.parametrize("present", ["allinsam", "scratch"])
def test_without_both_sides_the_page_says_so(write_run: WriteRun, present: str) -> None:
    results = write_run(present, 1.0, 0, {"x": 0.8})
    assert "Not run yet" in control_page.fragments(results).tables["control"]
