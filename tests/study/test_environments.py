"""The commands in odd surroundings: blank and umlaut in the path, C locale without UTF-8, private files, no git."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.environments import ASCII, Surroundings, attempt


def test_everything_odd_at_once(tmp_path: Path) -> None:
    odd = Surroundings(folder="Größe 1/Mein Präparat", variables=ASCII, umask=0o077, bare=True)
    assert attempt(odd, tmp_path)[:2] == (0, "")
    out = tmp_path / odd.folder / "out"
    written = [path for path in out.rglob("*") if path.is_file() and path.name != "n.ipynb"]
    assert {"rows.csv", "Präparat 1_instances.tif", "done.ipynb"} <= {path.name for path in written}
    assert all(path.stat().st_mode & 0o077 == 0 for path in written)
    (record,) = out.rglob("run.json")
    assert "not a git checkout" in json.loads(record.read_text(encoding="utf-8"))["commit"]
    assert "4 Größen" in (out / "done.ipynb").read_text(encoding="utf-8")
