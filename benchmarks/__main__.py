"""Every goal of speed and memory, measured in one run on one machine.

    python -m benchmarks [--quick] [--only commands,pixels,…] [--results FOLDER]

A measurement is a ratio: the former way against the present one, in turns, medians, with the difference of their
results. Processor seconds are compared, so that waiting for other work on the machine does not count; seconds on the
clock stand beside them. Other work also empties caches: the record has the load, and a goal in seconds wants a quiet
machine. Each is written as a record, results/benchmarks/NAME/run.json, as soon as its group is done; `allinsam
results check` checks it. --quick: the cheap ones, once each, and no records: does the command work? The exit status is
1 where two results differ by more than they may.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

import torch

from benchmarks import limits
from benchmarks.ratio import Row
from study import records
from study.root import resolved

GROUPS = ("commands", "pixels", "networks", "levers", "training", "segmentation", "slide", "gpu")


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


def measured(group: str, quick: bool, results: Path | None) -> bool:
    """Measure a group, print its rows and write their records; whether all results agree."""
    watch = records.Stopwatch()
    with watch.measure():
        module = import_module(f"benchmarks.{group}")
        rows = module.measure(quick)
        rates = limits.rates()
    code = (module.__name__, *getattr(module, "MODULES", ()))
    for row in rows:
        print(line(row), flush=True)
        if results is not None:
            config = {"benchmark": row.name, "group": group, "goal": row.goal, "limit": row.limit, "unit": row.unit}
            device = "cuda" if group == "gpu" and row.now is not None else "cpu"
            record = records.make(
                row.key, config, data={}, modules=code, watch=watch, device=device,
                rates=rates, load=os.getloadavg()[1], measured=row.measured,
            )  # fmt: skip
            records.save(record, results / "benchmarks" / row.key)
    return all(row.same for row in rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the cheap ones, once each: does the command work?")
    parser.add_argument("--only", default=",".join(GROUPS), help=f"some of {', '.join(GROUPS)}")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of records; none if quick")
    asked = parser.parse_args(arguments)
    names = [name.strip() for name in asked.only.split(",")]
    if unknown := sorted(set(names) - set(GROUPS)):
        parser.error(f"--only {unknown[0]}: expected some of {', '.join(GROUPS)}")
    torch.set_num_threads(1)
    results = None if asked.quick else resolved(asked.results)
    alike = [measured(name, asked.quick, results) for name in names]
    return 0 if all(alike) else 1


if __name__ == "__main__":
    sys.exit(main())
