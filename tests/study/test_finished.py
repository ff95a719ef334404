"""A record and its rows belong together: whatever is changed afterwards is found wherever they are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.tampering import CHANGES, entry, score
from study import finished, records, run
from study.config import RunConfig
from study.finished import SHARES
from study.records import RecordError
from study.results import collect
from study.rivals.otsu import OtsuSettings
from study.tools import migrate_records
from study.tools import results as command

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two runs."""
    place = tmp_path_factory.mktemp("made")
    for seed in (0, 1):
        config = RunConfig(
            profile="smoke",
            method="otsu",
            seed=seed,
            fraction=0,
            model=OtsuSettings(sigma=1.5 + seed),
            data={"source": "simulated", "simulated": {"train": 1, "val": 1, "test": 3, "size": 64}},
        )
        run.execute(config, place / "results", place / "work", device="cpu")
    return place / "results"


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "results"))


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_afterwards_is_refused(change: str, results: Path) -> None:
    assert len(collect(results, "smoke")) == 6
    folder, other = finished.folders(results, "smoke")
    CHANGES[change](folder, other)
    named = folder if folder.exists() else "-s7-"
    with pytest.raises(RecordError, match=rf"{named}.*(delete its folder|migrate_records)"):
        collect(results, "smoke")
    done = CliRunner().invoke(command.app, ["check", "--results", str(results)])
    assert done.exit_code == 1
    assert "1 of 2 records" in done.output.replace("\n", " ")


SIGNED = {name: CHANGES[name] for name in CHANGES if name not in (
    "an edited score", "edited seconds", "an edited commit", "an edited code hash", "rows gone", "checksums taken out",
    "a checksum emptied", "a record cut short", "a record that is not UTF-8", "another run's rows",
)}  # fmt: skip


@pytest.mark.parametrize("change", SIGNED)
def test_even_with_its_checksums_made_anew(change: str, results: Path) -> None:
    """What can be known to be wrong without them: counts, ranges, names that follow from the configuration."""
    folder, other = finished.folders(results, "smoke")
    SIGNED[change](folder, other)
    folder = folder if folder.exists() else folder.with_name(folder.name.replace("-s0-", "-s7-"))
    record = json.loads((folder / "run.json").read_text())
    record["files"] = {"rows.csv": records.file_checksum(folder / "rows.csv")}
    records.write(record, folder / "run.json")
    with pytest.raises(RecordError, match=folder.name):
        collect(results, "smoke")


def test_every_metric_has_a_range() -> None:
    assert {"dice", "aji_kumar", "auc", "f1_instance_50"} <= set(SHARES)
    assert set(finished.COUNTS) == {"n_truth", "n_pred", "true_positives"}


def test_an_undefined_score_is_no_fault(results: Path) -> None:
    folder = finished.folders(results, "smoke")[0]
    score("auc", float("nan"))(folder, folder)
    record = records.read(folder / "run.json")
    records.write({**record, "files": {"rows.csv": records.file_checksum(folder / "rows.csv")}}, folder / "run.json")
    assert collect(results, "smoke")["auc"].isna().tolist() == [True, True, False, False, True, False]


def test_records_of_earlier_versions_are_given_checksums_once(results: Path) -> None:
    folder, _ = finished.folders(results, "smoke")
    before = records.read(folder / "run.json")
    entry(lambda r: (r.pop("sha256"), r.pop("files"), r.pop("code"), r["config"].update(noise=None)))(folder, folder)
    done = CliRunner().invoke(migrate_records.app, [str(results)])
    assert done.exit_code == 0, done.output
    assert "1 of 2 records were given checksums; 0 are not as they should be" in done.output
    after = records.read(folder / "run.json")
    assert after["config"] == before["config"]
    assert after["files"] == before["files"]
    again = CliRunner().invoke(migrate_records.app, [str(results)])
    assert "0 of 2 records" in again.output
    assert collect(results, "smoke")["dice"].notna().all()


def test_the_committed_records_are_as_they_were_written() -> None:
    found = list(finished.check(ROOT / "results"))
    assert len(found) >= 392
    assert [trouble for _, trouble in found if trouble] == []
