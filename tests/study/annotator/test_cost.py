"""What a nucleus took, from a log written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from study.annotator import cost


def entry(action: str, key: str | None, seconds: float, clicks: int = 1, kind: str | None = "box") -> str:
    return json.dumps({"action": action, "id": key, "kind": kind, "seconds": seconds, "clicks": clicks, "keys": 0})


def test_a_nucleus_costs_its_drawing_and_every_change(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    lines = [
        entry("draw", "a", 2),
        entry("change", "a", 1),
        entry("draw", "b", 4),
        entry("undo", None, 50, kind=None),
        entry("draw", "c", 3),
        entry("delete", "c", 1, kind=None),
        entry("draw", "o", 20, clicks=15, kind="outline"),
    ]
    log.write_text("\n".join(lines) + "\n")
    drawn = cost.read([log]).set_index("id")
    assert drawn["seconds"].to_dict() == {"a": 3, "b": 4, "c": 4, "o": 20}
    assert drawn.loc["a", "clicks"] == 2
    assert drawn["kept"].to_dict() == {"a": True, "b": True, "c": False, "o": True}
    table = cost.compare(drawn.reset_index())
    assert table.loc["box", ["nuclei", "median", "clicks", "each"]].tolist() == [2, 3.5, 1.5, 5.5]
    assert table.loc["outline", ["nuclei", "median", "clicks", "each"]].tolist() == [1, 20, 15, 20]


def test_a_damaged_log_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(entry("draw", "a", 2) + "\n{}\n")
    with pytest.raises(ValueError, match=r"a\.jsonl: line 2"):
        cost.read([tmp_path / "a.jsonl"])


def test_corners_of_a_square_and_of_a_disc() -> None:
    y, x = np.mgrid[:60, :60]
    labels = np.zeros((60, 60), int)
    labels[2:10, 2:10] = 1
    labels[(y - 35) ** 2 + (x - 35) ** 2 < 15**2] = 2
    square, disc = cost.corners(labels)
    assert square == 4
    assert 8 <= disc <= 16
