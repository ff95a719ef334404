"""`make rehearse`: run the commands of the page "Run the published setting", one after the other, with stand-ins.

Everything lies below work/rehearsal, records too. Each command is resumable, and so is the whole: killed, the same call
goes on. At the end it says what each command took, and checks what came of them.

    python -m study.rehearsal [--out work/rehearsal/rehearsal.csv]

out: a table of what each command took, and of the memory of training steps as planned and as measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from allinsam_core.atomic import replacing
from study import finished, grid, report
from study.rehearsal import memory, standins
from study.root import CHECKOUT

PAGE = CHECKOUT / "book" / "howto" / "published.md"
HOME = CHECKOUT / "work" / "rehearsal"
PROFILE, STANDS_FOR = "rehearsal", "paper"
# what profile `rehearsal` has beside `paper`: the two smaller SAMs
BEFORE = ("allinsam data fetch sam-vit-b", "allinsam data fetch sam-vit-l")
EVERY = 1.0  # second between two looks at the memory of a command
TOOK = ("seconds", "processor_seconds", "peak_gib")
TABLES = ("table1", "table2", "table3")
SIZES = ("allinsam-b", "allinsam-l", "allinsam")  # whose memory is checked against the plan


class Mirror(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


def commands(page: Path = PAGE) -> list[str]:
    """What the page says to type, line by line: its blocks of bash."""
    found, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```bash"
        elif inside and line.strip():
            found.append(line.partition(" #")[0].strip())
    return found


def rehearsed(command: str) -> str:
    """The same command on stand-ins: it differs by the name of the profile alone."""
    return " ".join(word.replace(STANDS_FOR, PROFILE) for word in command.split(" "))


def environment(home: Path, address: str) -> dict[str, str]:
    """What sends the commands to the stand-ins: variables that a user may set as well."""
    own = {
        "ALLINSAM_MANIFEST": home / "data_manifest.yaml",
        "ALLINSAM_DATA": home / "data",
        "ALLINSAM_CACHE": home / "cache",
        "ALLINSAM_MIRROR": address,
        "HF_HOME": home / "huggingface",
        "HF_HUB_OFFLINE": "1",
        "RESULTS": home / "results",
        "WORK": home / "work",
        "THREADS": "1",  # of a run; as many runs at a time as there are cores, most of their time is not in torch
        "VENV": Path(sys.executable).parents[1],
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    return {**os.environ, **{name: str(value) for name, value in own.items()}}


def perform(lines: Sequence[str], environ: Mapping[str, str], logs: Path) -> Iterator[dict[str, Any]]:
    """Run commands in order, each with a log of its own; says what each took. Stops at the first that fails."""
    logs.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(lines, start=1):
        log, started, peak = logs / f"{number:02}.log", time.monotonic(), 0
        with log.open("w") as out:
            child = subprocess.Popen(["bash", "-c", line], cwd=CHECKOUT, env=environ, stdout=out, stderr=out)
            while not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
                peak = max(peak, held(child.pid))
                time.sleep(EVERY)
            child.returncode, used = os.waitstatus_to_exitcode(ended[1]), ended[2]
        yield {
            "command": line,
            "status": child.returncode,
            "seconds": time.monotonic() - started,
            "processor_seconds": used.ru_utime + used.ru_stime,
            "peak_gib": peak / 2**30,
            "log": str(log),
        }
        if child.returncode != 0:
            return


def held(process: int) -> int:
    """Bytes of memory of a process and of all that it started, pages that several share counted for each."""
    found = 0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(process)
        for each in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                found += each.memory_info().rss
    return found


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server for a folder, as long as it is needed."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def trouble(home: Path) -> list[str]:
    """What should have come of the commands and did not: every run's record, and the tables' notice."""
    found = []
    for name, arm in ((PROFILE, ""), (f"molecular/{PROFILE}", "table1")):
        expected, there = len(grid.profile(name).points()), len(finished.finished(home / "results", PROFILE, arm))
        if expected != there:
            found.append(f"{home / 'results'}: {there} finished runs of profile {name}, expected {expected}")
    for table in TABLES:
        page = home / "work" / PROFILE / f"{table}.ipynb"
        if not page.is_file() or report.REHEARSAL not in page.read_text(encoding="utf-8"):
            found.append(f"{page}: is not there, or does not say that its numbers mean nothing")
    return found


def write(steps: Sequence[Mapping[str, Any]], checks: Sequence[memory.Checked], out: Path) -> None:
    """A line for each command, then one for each training step whose memory was planned; a killed call leaves none."""
    lines = [{name: step[name] for name in ("command", "status", *TOOK)} for step in steps]
    for check in checks:
        sizes = {"peak_gib": check.measured / 2**30, "planned_gib": check.planned / 2**30}
        lines.append({"command": f"a training step of {check.method}", "status": int(not check.fits), **sizes})
    table = pd.DataFrame(lines, columns=["command", "status", *TOOK, "planned_gib"])
    with replacing(out) as unfinished:
        table.round({**dict.fromkeys(TOOK[:2], 0), "peak_gib": 2, "planned_gib": 2}).to_csv(unfinished, index=False)


def main(out: Path = HOME / "rehearsal.csv") -> int:
    """Exit status 0 when every command ended well and all is there that should be."""
    print("stand-ins", flush=True)
    standins.make(HOME / "mirror", HOME)
    steps: list[dict[str, Any]] = []
    with served(HOME / "mirror") as address:
        environ = environment(HOME, address)
        for step in perform([*BEFORE, *map(rehearsed, commands())], environ, HOME / "logs"):
            steps.append(step)
            numbers = "{seconds:6.0f} s, {processor_seconds:6.0f} s of processors, {peak_gib:4.1f} GiB".format(**step)
            print(f"{numbers}  {'ok' if step['status'] == 0 else 'FAILED'}  {step['command']}", flush=True)
    write(steps, [], out)
    if steps[-1]["status"] != 0:
        print(f"{steps[-1]['command']}: ended with status {steps[-1]['status']}; read {steps[-1]['log']}")
        return 1
    os.environ.update({name: environ[name] for name in ("ALLINSAM_MANIFEST", "ALLINSAM_DATA", "ALLINSAM_CACHE")})
    wrong = trouble(HOME)
    checks = []
    for checked in memory.check(PROFILE, SIZES):
        checks.append(checked)
        print(checked, flush=True)
        wrong += [] if checked.fits else [f"{checked}, expected within {memory.WITHIN}"]
    write(steps, checks, out)
    seconds, work = (sum(step[name] for step in steps) for name in ("seconds", "processor_seconds"))
    peak = max(step["peak_gib"] for step in steps)
    print(f"{seconds:6.0f} s, {work:6.0f} s of processors, {peak:4.1f} GiB at most")
    print("\n".join(wrong) or f"rehearsed: {len(steps)} commands, all records and tables are below {HOME}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m study.rehearsal")
    parser.add_argument("--out", type=Path, default=HOME / "rehearsal.csv")
    sys.exit(main(parser.parse_args().out.absolute()))
