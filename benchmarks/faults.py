"""Long work on a full disk, on a read-only one, without room for temporary files, and by two at once.

    python benchmarks/faults.py [JOB …] [--out results/reliability/faults.csv]

Each job of `kill_jobs` is called in a folder on a small file system of its own (tmpfs, which only root may mount): with
16 KiB of room; read-only; with a full folder of temporary files; and twice at the same time. Where it fails it must end
by itself, in a sentence; called again without the fault it must come to what an undisturbed run comes to. The table has
a row a job and fault: how it ended, its last line, whether that was a sentence, and whether the files are the same.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from allinsam_core.atomic import replacing  # noqa: E402
from benchmarks.kill_jobs import JOBS, Job, outcome  # noqa: E402
from benchmarks.kills import Server, archive, call, environment, load_commands, start  # noqa: E402

COLUMNS = ("job", "fault", "status", "said", "plain", "same")
FAULTS = ("full disk", "read-only disk", "full temporary folder", "two at once")
SMALL, LARGE = "size=16k", "size=256m"


@contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """A file system in memory at `place`."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def may_mount() -> bool:
    """Whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with mounted(Path(scratch, "a"), SMALL):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def remount(place: Path, options: str) -> None:
    """Other options for the file system at `place`."""
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def attempt(job: Job, folder: Path, server: Server, **more: str) -> tuple[int, str]:
    """Call a job: how it ended, and its last line."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    process = start(job.command(folder), environment(folder, server) | more, log, None)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return status, _last(log)


def _last(log: Path) -> str:
    lines = [line for line in re.split(r"[\r\n]+", log.read_text(errors="replace")) if line.strip()]
    return lines[-1].replace(str(log.parent), "") if lines else ""


def twice(job: Job, folder: Path, server: Server) -> tuple[int, str]:
    """Call a job two times at once: the worse status, and the last line of the call that had it."""
    logs = [folder / "log-1", folder / "log-2"]
    processes = [start(job.command(folder), environment(folder, server), log, None) for log in logs]
    found = [
        (os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]), _last(log)) for p, log in zip(processes, logs, strict=True)
    ]
    return max(found)


def suffered(name: str, fault: str, wanted: dict[str, str], work: Path, server: Server) -> dict[str, object]:
    """One line of the table. wanted: what an undisturbed run comes to."""
    job, folder = JOBS[name], work / fault.replace(" ", "-")
    folder.mkdir()
    job.prepare(folder)
    if fault == "two at once":
        status, said = twice(job, folder, server)
        call(job, folder, server)
    elif fault == "full temporary folder":
        with mounted(folder / "tmp", SMALL):
            (folder / "tmp/rest").write_bytes(bytes(4096))
            _fill(folder / "tmp/rest")
            status, said = attempt(job, folder, server, TMPDIR=str(folder / "tmp"))
        call(job, folder, server)
    else:
        with mounted(folder / "out", SMALL):
            remount(folder / "out", "ro" if fault == "read-only disk" else "rw")
            status, said = attempt(job, folder, server)
            remount(folder / "out", f"rw,{LARGE}")
            call(job, folder, server)
            return _line(name, fault, status, said, outcome(folder / "out") == wanted)
    return _line(name, fault, status, said, outcome(folder / "out") == wanted)


def _fill(path: Path) -> None:
    try:
        with path.open("ab") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
    except OSError:
        pass


def _line(name: str, fault: str, status: int, said: str, same: bool) -> dict[str, object]:
    plain = status in (0, 1, 2) and not re.search(r"^(\w+\.)*\w*(Error|Exception|Trouble)\b|fault of the program", said)
    return {"job": name, "fault": fault, "status": status, "said": said if status else "", "plain": plain, "same": same}


def main() -> int:
    """Do the jobs that the table lacks, and write it after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    names = [name for name, job in JOBS.items() if not job.group]
    parser.add_argument("jobs", nargs="*", default=names, help=", ".join(names))
    parser.add_argument("--out", type=Path, default=ROOT / "results/reliability/faults.csv")
    given = parser.parse_args()
    if not may_mount():
        print("faults: no file system may be mounted here; try as root")
        return 2
    rows = pd.read_csv(given.out, keep_default_na=False).to_dict("records") if given.out.is_file() else []
    load_commands()
    for name in given.jobs:
        if name in [row["job"] for row in rows]:
            continue
        with tempfile.TemporaryDirectory() as scratch, Server(archive()).running() as server:
            first = Path(scratch) / "undisturbed"
            first.mkdir()
            JOBS[name].prepare(first)
            call(JOBS[name], first, server)
            wanted = outcome(first / "out")
            for fault in FAULTS:
                rows.append(suffered(name, fault, wanted, Path(scratch), server))
                print(rows[-1], flush=True)
        with replacing(given.out) as unfinished:
            pd.DataFrame(rows, columns=COLUMNS).to_csv(unfinished, index=False)
    return int(not all(row["plain"] and row["same"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
