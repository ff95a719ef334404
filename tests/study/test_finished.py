"""A record and its rows belong together: whatever is changed afterwards is found wherever they are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

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


Change = Callable[[Path, Path], None]  # of a run's folder, another's beside it


def lines(change: Callable[[list[str]], list[str]]) -> Change:
    def apply(folder: Path, other: Path) -> None:
        path = folder / "rows.csv"
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return apply


def score(name: str, value: float) -> Change:
    def apply(folder: Path, other: Path) -> None:
        rows = pd.read_csv(folder / "rows.csv")
        rows[name] = rows[name].astype(float)
        rows.loc[0, name] = value
        rows.to_csv(folder / "rows.csv", index=False)

    return apply


def entry(change: Callable[[dict[str, Any]], Any]) -> Change:
    def apply(folder: Path, other: Path) -> None:
        record = json.loads((folder / "run.json").read_text())
        change(record)
        (folder / "run.json").write_text(json.dumps(record))

    return apply


def rows_of_another(folder: Path, other: Path) -> None:
    shutil.copy(other / "rows.csv", folder)


def bytes_of_record(change: Callable[[bytes], bytes]) -> Change:
    def apply(folder: Path, other: Path) -> None:
        (folder / "run.json").write_bytes(change((folder / "run.json").read_bytes()))

    return apply


def renamed(folder: Path, other: Path) -> None:
    folder.rename(folder.with_name(folder.name.replace("-s0-", "-s7-")))


CHANGES: dict[str, Change] = {
    "a line missing": lines(lambda rows: rows[:-1]),
    "a line doubled": lines(lambda rows: [*rows, rows[-1]]),
    "a line replaced by another": lines(lambda rows: [*rows[:-1], rows[1]]),
    "header alone": lines(lambda rows: rows[:1]),
    "no rows at all": lines(lambda rows: []),
    "an edited score": score("dice", 0.123),
    "a Dice of 7.3": score("dice", 7.3),
    "a negative score": score("pq", -0.1),
    "an infinite score": score("auc", float("inf")),
    "half a nucleus": score("n_pred", 2.5),
    "another run's rows": rows_of_another,
    "rows gone": lambda folder, other: (folder / "rows.csv").unlink(),
    "an edited seed": entry(lambda r: r["config"].update(seed=5)),
    "an edited fraction": entry(lambda r: r["config"].update(fraction=1.0)),
    "an edited hash": entry(lambda r: r.update(config_hash="0123456789")),
    "an edited run_id": entry(lambda r: r.update(run_id="otsu-complete-1-s0-0123456789")),
    "an edited commit": entry(lambda r: r.update(commit="0" * 40)),
    "edited seconds": entry(lambda r: r.update(fit_seconds=0.1)),
    "other test images": entry(lambda r: r["data"]["test"].update(images=2)),
    "an edited code hash": entry(lambda r: r.update(code="0" * 64)),
    "checksums taken out": entry(lambda r: (r.pop("sha256"), r.pop("files"))),
    "a record cut short": bytes_of_record(lambda content: content[: len(content) // 2]),
    "a record that is not UTF-8": bytes_of_record(lambda content: content.replace(b"otsu", b"ots\xff", 1)),
    "another folder's name": renamed,
}


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
    "a record cut short", "a record that is not UTF-8", "another run's rows",
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
