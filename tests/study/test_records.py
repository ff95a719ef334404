"""Run records: complete, plain, written whole."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from allinsam_core.data.case import Case
from study import records


def test_what_is_written_is_plain_json(tmp_path: Path) -> None:
    record = {
        "config_hash": "abc",
        "nan": float("nan"),
        "nested": [{"inf": np.float32("inf"), "x": np.float64(0.5)}, (np.int64(3), np.bool_(True))],
        1: "one",
    }
    path = tmp_path / "new" / "run.json"
    records.write(record, path)
    plain = {"config_hash": "abc", "nan": None, "nested": [{"inf": None, "x": 0.5}, [3, True]], "1": "one"}
    found = records.read(path)
    assert found.pop("sha256") == records.content_checksum(plain)
    assert found == plain
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]


def test_a_failed_write_leaves_the_old_record_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        records.write({"config_hash": "new"}, path)
    assert not path.exists()
    with pytest.raises(TypeError):
        records.write({"config_hash": object()}, path)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"other": 1}', b'{"config_hash": "\xff"}', b"[" * 100_000])
def test_what_is_no_record_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json: .*delete its folder"):
        records.read(path)


def test_a_missing_record_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.json: not a readable run record"):
        records.read(tmp_path / "nowhere.json")


def test_the_data_checksum_follows_names_pixels_labels_and_order() -> None:
    first = Case("a", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16), 0.25, "test")
    image, labels = first.image.copy(), first.instances.copy()
    image[1, 2, 0], labels[3, 3] = 1, 1
    others = [replace(first, name="b"), replace(first, image=image), replace(first, instances=labels)]
    sums = {records.data_checksum([case]) for case in (first, *others)}
    assert len(sums) == 4
    assert records.data_checksum([first, others[0]]) != records.data_checksum([others[0], first])
    turned = replace(first, image=np.asfortranarray(first.image))
    assert records.data_checksum([turned]) == records.data_checksum([first])


def test_the_environment_says_what_ran() -> None:
    found = records.environment("cpu")
    assert found["device"] == "cpu"
    assert found["device_name"]
    assert found["threads"] >= 1
    assert isinstance(found["bfloat16"], bool)
    assert set(found["libraries"]) == set(records.LIBRARIES)
    absent = {name for name, found_version in found["libraries"].items() if found_version == "absent"}
    assert absent <= {"nnunetv2"}  # an extra
    json.dumps(found)


def test_the_commit_is_gits_or_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def git(answers: dict[str, str]) -> None:
        def run(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess(command, 0, stdout=answers[command[3]] + "\n")

        monkeypatch.setattr(subprocess, "run", run)

    git({"status": "", "rev-parse": "abc123"})
    assert records.commit() == "abc123"
    git({"status": " M study/tools/cli.py", "rev-parse": "abc123"})
    assert records.commit() == "abc123+changes"
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError("git")))
    assert re.fullmatch(r"allinsam \d+\.\d+\.\d+ \(not a git checkout\)", records.commit())
