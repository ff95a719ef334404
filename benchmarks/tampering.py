"""A finished run changed afterwards in every way that a slip or a wish may change it: does the check say so?

    python benchmarks/tampering.py [RUN OTHER] [--out results/reliability/tampering.csv]

RUN and OTHER are folders of two finished runs of one profile, by default two committed ones. They are copied, RUN is
changed, and `allinsam results check` is asked; the table has a row a change: what was said of it, and what was said if
the checksums had been made anew afterwards. Then only what contradicts itself or the code can be found; "" is nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from allinsam_core.atomic import replacing  # noqa: E402
from study import finished, records  # noqa: E402

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
    "a checksum emptied": entry(lambda r: r.update(sha256="", fit_seconds=0.1)),
    "a record cut short": bytes_of_record(lambda content: content[: len(content) // 2]),
    "a record that is not UTF-8": bytes_of_record(lambda content: content.replace(b"otsu", b"ots\xff", 1)),
    "another folder's name": renamed,
}


def _sign(results: Path) -> None:
    for path in results.rglob(records.FILE):
        with contextlib.suppress(ValueError):  # of a record that cannot be read
            record = json.loads(path.read_bytes().decode())
            files = {each.name: records.file_checksum(each) for each in path.parent.glob("*.csv")}
            records.write({**record, "files": files}, path)


def said_of(change: str, run: Path, other: Path, anew: bool = False) -> str:
    """What the check says when copies of two runs lie in a folder of results and one was changed; "" for nothing.

    anew: its checksums are made again after the change, where there is a record to write them in.
    """
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results"
        copies = [Path(shutil.copytree(each, results / each.parent.name / each.name)) for each in (run, other)]
        CHANGES[change](*copies)
        if anew:
            _sign(results)
        return "; ".join(said for _, said in finished.check(results) if said).replace(f"{scratch}/", "")


def main() -> int:
    """Make every change and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "runs", nargs="*", type=Path, default=sorted((ROOT / "results/mini").glob("[oz]*-complete-0-s0-*"))
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results/reliability/tampering.csv")
    given = parser.parse_args()
    rows = [[change, *(said_of(change, *given.runs, anew) for anew in (False, True))] for change in CHANGES]
    with replacing(given.out) as unfinished:
        pd.DataFrame(rows, columns=["change", "said", "said_anew"]).to_csv(unfinished, index=False)
    found, anew = (sum(bool(row[column]) for row in rows) for column in (1, 2))
    print(f"{found} of {len(rows)} changes found, {anew} with the checksums made anew")
    return int(found < len(rows))


if __name__ == "__main__":
    sys.exit(main())
