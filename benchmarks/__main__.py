"""Every goal of speed and memory, measured in one run on one machine.

    python -m benchmarks [--quick] [--only commands,pixels,…] [--out FILE]

Each row is a ratio: the former way against the present one, in turns, medians, with the difference of their results.
Processor seconds are compared, so that other work on the machine does not count; seconds on the clock stand beside
them. A group's rows are written as soon as it is done; groups that are not named keep the rows that the file has. The
exit status is 1 where two results differ by more than they may.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from allinsam_core.atomic import replacing
from benchmarks.ratio import Row
from study import records

GROUPS = ("commands", "pixels", "networks", "training", "segmentation", "gpu")
OUT = Path(__file__).resolve().parents[1] / "results" / "benchmarks" / "record.json"


def line(row: Row) -> str:
    """A row as text."""
    if row.now is None:
        value = f"not run: {row.note}" if row.difference is None else ""
    else:
        before = "" if row.ratio is None else f"{row.before:10.4g} → "
        value = f"{before}{row.now:.4g} {row.unit}" + ("" if row.ratio is None else f"   {row.ratio:.2f}×")
    goal = "" if row.goal is None else f" (goal {row.goal:g}×)"
    goal += "" if row.limit is None else f" (goal ≤ {row.limit:g} {row.unit})"
    apart = "" if row.difference is None else f"   difference {row.difference:.2g}"
    return f"{row.name:66} {value}{goal}{apart}{'' if row.same else '   RESULTS DIFFER'}"


def measured(group: str, quick: bool) -> dict[str, Any]:
    """The rows of a group, and on what they were measured."""
    rows = import_module(f"benchmarks.{group}").measure(quick)
    for row in rows:
        print(line(row), flush=True)
    full = [{**asdict(row), "ratio": row.ratio, "reached": row.reached, "same": row.same} for row in rows]
    return {
        "rows": full,
        "threads": torch.get_num_threads(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": records.commit(),
        "environment": records.environment(),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the cheap rows, once each: does the command work?")
    parser.add_argument("--only", default=",".join(GROUPS), help=f"some of {', '.join(GROUPS)}")
    parser.add_argument("--out", type=Path, help=f"record; by default {OUT.relative_to(OUT.parents[2])}, none if quick")
    asked = parser.parse_args(arguments)
    names = [name.strip() for name in asked.only.split(",")]
    if unknown := sorted(set(names) - set(GROUPS)):
        parser.error(f"--only {unknown[0]}: expected some of {', '.join(GROUPS)}")
    torch.set_num_threads(1)
    out = asked.out or (None if asked.quick else OUT)
    record = json.loads(out.read_text()) if out and out.is_file() else {}
    alike = True
    for name in names:
        record[name] = measured(name, asked.quick)
        alike &= all(row["same"] for row in record[name]["rows"])
        if out:
            with replacing(out) as unfinished:
                unfinished.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
